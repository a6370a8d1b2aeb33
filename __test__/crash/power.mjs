// Runs programs on a file system of their own, cuts its power, and copies what a new mount finds to
// `folder`. It has a mount namespace of its own (unshare -m), so that nothing stays mounted.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { say, settings, sleep } from './program.mjs';

const { folder, programs, cutAfterMs } = settings;
const beside = (name) => fileURLToPath(new URL(name, import.meta.url));
const disk = join(folder, 'disk');
const image = join(folder, 'image');
const mount = () => execFileSync('mount', ['-o', 'loop', image, disk]);
const unmount = () => execFileSync('umount', [disk]);

mkdirSync(disk);
execFileSync('truncate', ['-s', '64M', image]);
execFileSync('mkfs.ext4', ['-q', '-F', '-b', '4096', image]);
mount();

const children = [];
for (const { program, settings, waits } of programs) {
  const all = { dbPath: join(disk, 'queue.db'), socketPath: join(folder, 'ipc.sock'), ...settings };
  const child = spawn(process.execPath, [beside(`${program}.mjs`), JSON.stringify(all)], {
    // They end with this process, whatever ends it.
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  children.push({ child, ended: once(child, 'close') });
  await lines.next();
  if (waits) await lines.next();
}
if (cutAfterMs !== undefined) await sleep(cutAfterMs);
const cutAt = Number(execFileSync('python3', [beside('shutdown.py'), disk]));
// A moment in which the programs see a disk that fails.
await sleep(50);
for (const { child } of children) child.kill('SIGKILL');
for (const { ended } of children) await ended;
unmount();

mount();
for (const name of readdirSync(disk).filter((name) => name.startsWith('queue.db'))) {
  // The index of the log is made anew from the log, as it is after a real loss of power.
  if (!name.endsWith('-shm')) copyFileSync(join(disk, name), join(folder, name));
}
unmount();
say({ cutAt });
