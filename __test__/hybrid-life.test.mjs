// The end of a publisher's process or thread: what keeps it alive, and what is left behind.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../dist/limits.js';
import { paths, serverOf, stored } from './support/hybrid.mjs';
import { noPython, startOld } from './support/queue.mjs';
import { child } from './support/socket.mjs';

const ids = (messages) => messages.map(({ id }) => id).sort();

/** Runs the fixture against a consumer that handles the first message only. */
async function run(t, place, state, ending) {
  const where = paths(t);
  const { seen } = await serverOf(t, where, ({ id }) =>
    id === 'first' ? undefined : new Promise(() => {}),
  );
  const args = [place, state, ending, where.socketPath, where.dbPath];
  const running = child(t, 'hybrid-life.mjs', args);
  const { code, signal, stderr } = await running.exit;
  return { code, signal, stderr, lines: running.lines, seen, stored: () => ids(stored(where)) };
}

test('at exit a commit under way is waited for, and the rest is stored after it', {
  skip: noPython,
}, async (t) => {
  const where = paths(t);
  const args = ['main', 'storing', 'exit', where.socketPath, where.dbPath];
  const running = child(t, 'hybrid-life.mjs', args);
  await running.line('open');
  const old = await startOld(t, where.dbPath);
  await old.sql('BEGIN IMMEDIATE');
  running.process.stdin.write('go\n');
  await running.line('ready');
  // Longer than anybody waits for a lock on the main thread.
  await new Promise((resolve) => setTimeout(resolve, limits.busyTimeoutMs * 3));
  await old.sql('ROLLBACK');
  const { code, stderr } = await running.exit;
  assert.deepEqual([code, stderr], [7, '']);
  assert.deepEqual(ids(stored(where)), ['a', 'b', 'c']);
});

for (const place of ['main', 'worker']) {
  for (const ending of ['exit', 'throw']) {
    test(`messages under way are stored when the ${place} thread ends by ${ending}`, async (t) => {
      const end = await run(t, place, 'pending', ending);
      assert.equal(end.signal, null, end.stderr);
      assert.deepEqual(end.lines.slice(0, 2), ['accepted first socket', 'ready']);
      assert.deepEqual(end.stored(), ['a', 'b', 'c']);
    });
  }

  test(`the ${place} thread stays alive until messages under way are stored`, async (t) => {
    const end = await run(t, place, 'pending', 'natural');
    assert.deepEqual([end.code, end.stderr], [0, '']);
    assert.deepEqual(end.lines.slice(2).sort(), [
      'accepted a queue',
      'accepted b queue',
      'accepted c queue',
    ]);
    assert.deepEqual(end.stored(), ['a', 'b', 'c']);
  });

  for (const state of ['new', 'used']) {
    test(`a ${state} publisher without messages lets the ${place} thread end`, async (t) => {
      const end = await run(t, place, state, 'natural');
      assert.deepEqual([end.code, end.stderr], [0, '']);
      assert.deepEqual(end.stored(), []);
    });
  }
}
