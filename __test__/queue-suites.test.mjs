// What the suites of services do with a real queue: fake timers, and files in memory.
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { mock, test } from 'node:test';
import { SQLiteQueue, SQLiteQueuePoller } from '../features/sqlite-queue/index.js';

const message = (id) => ({ id, type: 't', payload: { id }, timestamp: 1 });

async function settle() {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

test('a poller drains a real queue under fake timers', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  t.after(() => mock.timers.reset());
  const queue = new SQLiteQueue({ dbPath: ':memory:' });
  t.after(() => queue.close());
  const seen = [];
  let failures = 1;
  const poller = new SQLiteQueuePoller({
    queue,
    onMessage: ({ id }) => {
      seen.push(id);
      if (id === 'b' && failures-- > 0) throw new Error('of the handler');
    },
  });
  poller.on('error', () => {});
  queue.enqueue(message('a'));
  queue.enqueue(message('b'));
  await poller.start();
  await settle();
  assert.deepEqual(seen, ['a', 'b']);
  assert.equal(queue.stats().processed, 1);
  queue.enqueue(message('c'));
  mock.timers.tick(1000);
  await settle();
  assert.ok(seen.includes('c'));
  await poller.stop();
  assert.equal(queue.stats().claimed, 0);
});

test('a queue on :memory: is private, works in every way, and leaves nothing', async () => {
  const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith('flowtrace-ipc-'));
  const before = new Set(folders());
  const queues = [1, 2].map(() => new SQLiteQueue({ dbPath: ':memory:' }));
  const [first, second] = queues;
  first.enqueue(message('a'));
  await first.enqueueAsync(message('b'));
  assert.equal(first.dequeue().length, 2);
  assert.equal(second.dequeue().length, 0);
  const made = folders().filter((name) => !before.has(name));
  assert.equal(made.length, 2);
  for (const queue of queues) queue.close();
  for (const name of made) assert.equal(existsSync(`${tmpdir()}/${name}`), false);
});

test('ids and numbers that name nothing do nothing', (t) => {
  const queue = new SQLiteQueue({ dbPath: ':memory:' });
  t.after(() => queue.close());
  queue.enqueue(message('a'));
  queue.markProcessed('');
  assert.equal(queue.markProcessedMany(['', 'unknown']), 0);
  assert.deepEqual(queue.dequeue(0), []);
  assert.equal(queue.dequeue(1).length, 1);
});
