// Programs under strace(1), which writes down their system calls on the queue's files, and lets
// chosen ones fail.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Why that cannot be done here, or false. */
export const noStrace = (() => {
  const { status, error, stderr } = spawnSync('strace', ['-f', '-qq', '-o', '/dev/null', 'true']);
  if (status === 0) return false;
  return `SKIPPED: strace does not work here: ${error?.message ?? stderr.toString().trim()}`;
})();

/** The command line that writes down calls on the files of a stage's queue, with more options. */
export function strace(stage, calls, options = []) {
  const { dbPath } = stage;
  const files = [dbPath, `${dbPath}-wal`, `${dbPath}-journal`, dirname(dbPath)];
  const paths = files.flatMap((file) => ['-P', file]);
  return [
    'strace',
    '-f',
    '-qq',
    '-o',
    traceOf(stage),
    ...paths,
    '-e',
    `trace=${calls}`,
    ...options,
  ];
}

const traceOf = (stage) => join(stage.folder, 'trace');

/** How often the busiest thread made a call: strace counts for each of them. */
export function callsOf(stage, call) {
  const threads = new Map();
  for (const line of readFileSync(traceOf(stage), 'utf8').split('\n')) {
    const [, thread, name] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    if (name === call) threads.set(thread, (threads.get(thread) ?? 0) + 1);
  }
  return Math.max(...threads.values());
}
