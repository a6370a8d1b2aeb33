import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  idsOf,
  message,
  messages,
  noPython,
  openQueue,
  startOld,
  until,
} from './support/queue.mjs';

const statuses = (results) => results.map(({ status }) => status);
const codes = (results) => results.map(({ reason }) => reason?.code);
const enqueueAll = (queue, all) => Promise.allSettled(all.map((one) => queue.enqueueAsync(one)));

describe('enqueueAsync', () => {
  test('resolves with nothing when the message is stored', async (t) => {
    const queue = openQueue(t);
    assert.equal(await queue.enqueueAsync(message('a')), undefined);
    assert.deepEqual(queue.dequeue(), [message('a')]);
  });

  test('stores in the order of the calls, over ticks and turns', async (t) => {
    const queue = openQueue(t);
    const all = messages(500).map((one) => ({ ...one, timestamp: 1 }));
    const promises = [];
    for (const [index, one] of all.entries()) {
      promises.push(queue.enqueueAsync(one));
      if (index % 50 === 0) await null;
      if (index % 170 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const settled = [];
    for (const [index, promise] of promises.entries()) void promise.then(() => settled.push(index));
    await Promise.all(promises);
    assert.deepEqual(idsOf(queue.dequeue(500)), idsOf(all));
    assert.deepEqual(
      settled,
      [...settled].sort((a, b) => a - b),
      'they resolve in order',
    );
  });

  test('reads the message at once: changing it later changes nothing', async (t) => {
    const queue = openQueue(t);
    const one = message('a', { payload: { n: 1 } });
    const stored = queue.enqueueAsync(one);
    one.id = 'b';
    one.payload.n = 2;
    await stored;
    assert.deepEqual(queue.dequeue(), [message('a', { payload: { n: 1 } })]);
  });

  test('of duplicates the first is stored, each other one is rejected alone', async (t) => {
    const queue = openQueue(t);
    queue.enqueue(message('old'));
    const results = await enqueueAll(
      queue,
      ['a', 'old', 'b', 'a', 'c', 'old'].map((id) => message(id)),
    );
    assert.deepEqual(codes(results), [
      undefined,
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      undefined,
      'SQLITE_CONSTRAINT_PRIMARYKEY',
      undefined,
      'SQLITE_CONSTRAINT_PRIMARYKEY',
    ]);
    for (const { reason } of results) assert.ok(reason === undefined || reason instanceof Error);
    assert.deepEqual(idsOf(queue.dequeue()).sort(), ['a', 'b', 'c', 'old']);
  });

  test('what waits together shares a commit', async (t) => {
    const together = openQueue(t);
    await Promise.all(messages(800).map((one) => together.enqueueAsync(one)));
    const apart = openQueue(t);
    for (const one of messages(100)) apart.enqueue(one);
    // Every commit writes whole pages to the log.
    const { walBytes } = together.stats();
    assert.ok(walBytes < apart.stats().walBytes / 2, `${walBytes} bytes of log for 800 messages`);
  });

  test('close() finishes what was begun; the promises tell', async (t) => {
    const queue = openQueue(t);
    const { dbPath } = queue;
    const pending = [...messages(300), message('m5')].map((one) => queue.enqueueAsync(one));
    queue.close();
    const results = await Promise.allSettled(pending);
    assert.deepEqual(statuses(results.slice(0, 300)), new Array(300).fill('fulfilled'));
    assert.equal(results[300].reason.code, 'SQLITE_CONSTRAINT_PRIMARYKEY');
    assert.equal(openQueue(t, { dbPath }).stats().pending, 300);
  });

  test('close() right after a turn in which the work was handed over', async (t) => {
    const queue = openQueue(t);
    const pending = messages(2000).map((one) => queue.enqueueAsync(one));
    await new Promise((resolve) => setImmediate(resolve));
    queue.close();
    await Promise.all(pending);
    await assert.rejects(queue.enqueueAsync(message('late')), { code: 'ERR_IPC_QUEUE_CLOSED' });
    assert.equal(openQueue(t, { dbPath: queue.dbPath }).stats().pending, 2000);
  });
});

describe('while another process holds the write lock', { skip: noPython }, () => {
  async function locked(t, options) {
    const queue = openQueue(t, options);
    const old = await startOld(t, queue.dbPath);
    await old.sql('BEGIN IMMEDIATE');
    return { queue, unlock: () => old.sql('ROLLBACK') };
  }

  const writes = {
    enqueue: (queue) => queue.enqueue(message('a')),
    enqueueMany: (queue) => queue.enqueueMany(messages(3, 'n')),
    markProcessed: (queue) => queue.markProcessed('m0'),
    claim: (queue) => queue.claim(),
  };
  for (const [name, write] of Object.entries(writes)) {
    test(`${name} throws SQLITE_BUSY after busyTimeoutMs and changes nothing`, async (t) => {
      const queue = openQueue(t);
      queue.enqueueMany(messages(3));
      const old = await startOld(t, queue.dbPath);
      await old.sql('BEGIN IMMEDIATE');
      const begun = performance.now();
      assert.throws(() => write(queue), { name: 'IpcError', code: 'SQLITE_BUSY' });
      const waited = performance.now() - begun;
      assert.ok(waited >= 200 && waited < 3000, `${waited} ms`);
      assert.equal(queue.dequeue().length, 3, 'readers do not wait');
      await old.sql('ROLLBACK');
      write(queue);
    });
  }

  test('busyTimeoutMs 0 does not wait', async (t) => {
    const { queue } = await locked(t, { busyTimeoutMs: 0 });
    const begun = performance.now();
    assert.throws(() => queue.enqueue(message('a')), { code: 'SQLITE_BUSY' });
    assert.ok(performance.now() - begun < 200);
  });

  test('enqueueAsync waits without blocking the event loop', async (t) => {
    const { queue, unlock } = await locked(t);
    let settled = false;
    const stored = queue.enqueueAsync(message('a')).finally(() => {
      settled = true;
    });
    let longest = 0;
    let turns = 0;
    const begun = performance.now();
    for (let last = begun; last - begun < 700; turns += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }
    assert.equal(settled, false);
    assert.ok(longest < 200 && turns > 100, `${turns} turns, the longest ${longest} ms`);
    assert.deepEqual(queue.dequeue(), []);
    await unlock();
    await stored;
    assert.deepEqual(idsOf(queue.dequeue()), ['a']);
  });

  test('enqueueAsync gives up in the end, and works again later', async (t) => {
    const { queue, unlock } = await locked(t);
    const begun = performance.now();
    const results = await enqueueAll(queue, messages(3));
    assert.deepEqual(codes(results), ['SQLITE_BUSY', 'SQLITE_BUSY', 'SQLITE_BUSY']);
    const waited = performance.now() - begun;
    assert.ok(waited > 4000 && waited < 12_000, `${waited} ms`);
    await unlock();
    assert.deepEqual(queue.dequeue(), []);
    assert.deepEqual(
      statuses(await enqueueAll(queue, messages(3))),
      new Array(3).fill('fulfilled'),
    );
  });

  // Whole batches are refused, so that the last bit of room may stay empty.
  const floods = [
    ['messages', 80_000, 1, 65_536 - 1_024],
    ['bytes', 100, 1_000_000, 64],
  ];
  for (const [what, count, size, taken] of floods) {
    test(`too many ${what} at once are refused with ERR_IPC_QUEUE_FULL`, async (t) => {
      const { queue, unlock } = await locked(t, { durability: 'normal' });
      const payload = 'x'.repeat(size);
      const promises = messages(count).map((one) => queue.enqueueAsync({ ...one, payload }));
      const refused = [];
      for (const promise of promises) promise.catch((error) => refused.push(error));
      await until(() => refused.length > 0);
      await unlock();
      const results = await Promise.allSettled(promises);
      const stored = statuses(results).filter((status) => status === 'fulfilled').length;
      assert.ok(stored >= taken && stored < count, `${stored} stored`);
      assert.equal(refused.length, count - stored);
      assert.deepEqual([...new Set(refused.map(({ code }) => code))], ['ERR_IPC_QUEUE_FULL']);
      assert.equal(queue.stats({ exact: true }).pending, stored);
      await queue.enqueueAsync(message('later'));
    });
  }
});
