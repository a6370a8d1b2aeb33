import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { SQLiteQueue } from '../features/sqlite-queue/index.js';
import {
  idsOf,
  makeFolder,
  message,
  messages,
  noPython,
  openQueue,
  startOld,
} from './support/queue.mjs';

const invalidArgument = { name: 'IpcError', code: 'ERR_IPC_INVALID_ARGUMENT' };

test('the documented example', (t) => {
  const dbPath = join(makeFolder(t), 'path', 'to', 'queue.db');
  const queue = new SQLiteQueue({ dbPath, retentionHours: 24 });
  const sent = {
    id: 'msg-123',
    type: 'candle:complete',
    payload: { symbol: 'BTCUSDT' },
    timestamp: Date.now(),
  };
  assert.equal(queue.enqueue(sent), undefined);
  assert.deepEqual(queue.dequeue(50), [sent]);
  assert.equal(queue.markProcessed('msg-123'), undefined);
  assert.deepEqual(queue.dequeue(50), []);
  assert.equal(queue.cleanup(24), 0);
  assert.equal(queue.cleanup(0), 1);
  queue.close();
  assert.ok(existsSync(dbPath));
});

describe('options', () => {
  const cases = [
    ['none', undefined],
    ['no path', {}],
    ['an empty path', { dbPath: '' }],
    ['a path that is no string', { dbPath: 5 }],
    ['a path with NUL', { dbPath: 'a\0b' }],
    ...[-1, Number.NaN, '24', null].map((retentionHours) => [
      `retentionHours ${retentionHours}`,
      { retentionHours },
    ]),
    ['durability', { durability: 'extra' }],
    ...[-1, 1.5, Number.NaN, '5', 2 ** 31].map((busyTimeoutMs) => [
      `busyTimeoutMs ${busyTimeoutMs}`,
      { busyTimeoutMs },
    ]),
  ];
  for (const [name, options] of cases) {
    test(`refused: ${name}`, (t) => {
      const folder = makeFolder(t);
      const given = options === undefined ? undefined : { ...options };
      if (given !== undefined && name !== 'no path') given.dbPath ??= join(folder, 'queue.db');
      assert.throws(() => new SQLiteQueue(given), invalidArgument);
      assert.ok(!existsSync(join(folder, 'queue.db')));
    });
  }
});

describe('dequeue', () => {
  test('oldest first, by timestamp and then by arrival; does not claim', (t) => {
    const queue = openQueue(t);
    const timestamps = [5, 3, 5, -1, 4, 3];
    for (const [index, timestamp] of timestamps.entries()) {
      queue.enqueue(message(`m${index}`, { timestamp }));
    }
    const expected = ['m3', 'm1', 'm5', 'm4', 'm0', 'm2'];
    assert.deepEqual(idsOf(queue.dequeue()), expected);
    assert.deepEqual(idsOf(queue.dequeue()), expected);
    assert.deepEqual(idsOf(queue.dequeue(2)), expected.slice(0, 2));
    queue.claim({ limit: 1 });
    assert.deepEqual(idsOf(queue.dequeue()), expected, 'also what somebody claimed');
    queue.markProcessed('m1');
    assert.deepEqual(idsOf(queue.dequeue(3)), ['m3', 'm5', 'm4']);
  });

  test('50 by default; other sizes are whole numbers', (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(60));
    assert.equal(queue.dequeue().length, 50);
    assert.equal(queue.dequeue(undefined).length, 50);
    assert.equal(queue.dequeue(1000).length, 60);
    for (const size of [-1, 1.5, Number.NaN, '5', null]) {
      assert.throws(() => queue.dequeue(size), invalidArgument);
    }
  });
});

describe('markProcessed and cleanup', () => {
  test('unknown ids are ignored, wrong ones are not', (t) => {
    const queue = openQueue(t);
    queue.enqueue(message('a'));
    queue.markProcessed('nobody');
    assert.equal(queue.markProcessedMany(['nobody', 'a', 'a']), 1);
    assert.equal(queue.markProcessedMany([]), 0);
    for (const id of [undefined, null, 5, {}]) {
      assert.throws(() => queue.markProcessed(id), invalidArgument);
      assert.throws(() => queue.markProcessedMany(['a', id]), invalidArgument);
    }
    assert.throws(() => queue.markProcessedMany('a'), invalidArgument);
  });

  test('an id with half a surrogate pair is nobody, and no other one', (t) => {
    const queue = openQueue(t);
    queue.enqueue(message('\ufffd'));
    queue.markProcessed('\ud800');
    assert.equal(queue.markProcessedMany(['\udc00']), 0);
    assert.deepEqual(idsOf(queue.dequeue()), ['\ufffd']);
  });

  test('cleanup deletes what was processed longer ago than the retention', {
    skip: noPython,
  }, async (t) => {
    const queue = openQueue(t, { retentionHours: 3 });
    queue.enqueueMany(messages(6));
    queue.markProcessedMany(['m1', 'm2', 'm3', 'm4']);
    const old = await startOld(t, queue.dbPath);
    const ago =
      "UPDATE message_queue SET processed_at = strftime('%s','now') - ? WHERE message_id = ?";
    for (const [id, hours] of [
      ['m1', 1],
      ['m2', 2.5],
      ['m3', 4],
      ['m4', 50],
    ]) {
      await old.sql(ago, Math.round(hours * 3600), id);
    }
    const left = () => old.sql('SELECT message_id FROM message_queue ORDER BY 1');
    assert.equal(queue.cleanup(48), 1);
    assert.equal(queue.cleanup(), 1, 'the retention of the queue');
    assert.deepEqual((await left()).flat(), ['m0', 'm1', 'm2', 'm5']);
    assert.equal(queue.cleanup(1.5), 1);
    assert.equal(queue.cleanup(0), 1);
    assert.equal(queue.cleanup(0), 0);
    assert.deepEqual((await left()).flat(), ['m0', 'm5']);
    for (const wrong of [-1, Number.NaN, '24', null]) {
      assert.throws(() => queue.cleanup(wrong), invalidArgument);
    }
    assert.equal(queue.cleanup(Number.POSITIVE_INFINITY), 0);
  });

  test('stats counts, compact gives the space back', (t) => {
    const queue = openQueue(t);
    const payload = 'x'.repeat(10_000);
    queue.enqueueMany(messages(300).map((one) => ({ ...one, payload })));
    const [claim] = queue.claim({ limit: 2 });
    queue.markProcessed('m9');
    assert.equal(queue.fail(claim, new Error('not yet')).outcome, 'retry');
    const { fileBytes, freeBytes, walBytes, ...counters } = queue.stats();
    assert.deepEqual(counters, {
      pending: 298,
      claimed: 1,
      waiting: 1,
      processed: 1,
      dead: 0,
      exact: true,
      oldestPending: 1,
    });
    assert.ok(walBytes > 0 && freeBytes < fileBytes);
    queue.markProcessedMany(idsOf(messages(300)));
    assert.equal(queue.cleanup(0), 300);
    queue.compact();
    const after = queue.stats();
    assert.ok(after.fileBytes < 200_000, String(after.fileBytes));
    assert.deepEqual([after.freeBytes, after.walBytes, after.oldestPending], [0, 0, null]);
  });
});

describe('after close', () => {
  const claim = { message: message('a'), token: 1, attempt: 1 };
  const calls = {
    enqueue: [message('a')],
    enqueueMany: [[message('a')]],
    dequeue: [],
    markProcessed: ['a'],
    markProcessedMany: [['a']],
    cleanup: [],
    claim: [],
    complete: [claim],
    completeMany: [[claim]],
    fail: [claim, new Error('x')],
    release: [claim],
    extend: [claim],
    deadLetters: [],
    redrive: [],
    purgeDeadLetters: [],
    stats: [],
    compact: [],
  };
  const closed = { name: 'IpcError', code: 'ERR_IPC_QUEUE_CLOSED' };

  test('every method throws, and closing again does not', async (t) => {
    const queue = openQueue(t);
    queue.enqueue(message('a'));
    queue.close();
    queue.close();
    queue[Symbol.dispose]();
    const tried = new Set(['constructor', 'close', 'enqueueAsync', ...Object.keys(calls)]);
    const methods = Object.getOwnPropertyNames(SQLiteQueue.prototype);
    assert.deepEqual(
      methods.filter((name) => !tried.has(name)),
      [],
    );
    for (const [name, args] of Object.entries(calls)) {
      assert.throws(() => queue[name](...args), closed, name);
    }
    await assert.rejects(queue.enqueueAsync(message('b')), closed);
  });

  test('the file is whole and has no log beside it; another queue goes on', (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(3));
    const { dbPath } = queue;
    const other = openQueue(t, { dbPath });
    queue[Symbol.dispose]();
    other.enqueue(message('later'));
    assert.equal(other.dequeue().length, 4);
    other.close();
    assert.ok(!existsSync(`${dbPath}-wal`) && !existsSync(`${dbPath}-shm`));
    assert.equal(openQueue(t, { dbPath }).dequeue().length, 4);
  });
});

test('messages are what they are after the stack has run out in the middle of a call', (t) => {
  const queue = openQueue(t);
  const payloads = [{ price: 1.5, qty: 2.5 }, { bid: 3.5, ask: 4.5 }, { a: { bid: 1, ask: 2 } }];
  const take = (payload) => {
    const sent = { id: JSON.stringify(payload), type: 't', payload, timestamp: 1 };
    queue.enqueue(sent);
    return { sent, taken: queue.dequeue(1) };
  };
  const first = take({ first: true });
  assert.deepEqual(first.taken, [first.sent]);
  queue.markProcessed(first.sent.id);
  let reads = 0;
  for (const payload of payloads) {
    const sent = { id: JSON.stringify(payload), type: 't', payload, timestamp: 1 };
    queue.enqueue(sent);
    let isDone = false;
    // At every depth, from the deepest one on, until there is stack enough.
    (function dive() {
      try {
        dive();
      } catch {}
      if (isDone) return;
      try {
        queue.dequeue(1);
        isDone = true;
      } catch {
        reads++;
      }
    })();
    assert.deepEqual(queue.dequeue(1), [sent]);
    queue.markProcessed(sent.id);
  }
  assert.ok(reads > 0);
  for (const payload of payloads.toReversed()) {
    const { sent, taken } = take({ again: payload });
    assert.deepEqual(taken, [sent]);
    queue.markProcessed(sent.id);
  }
});
