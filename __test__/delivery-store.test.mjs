import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deliveryStore } from '../dist/delivery-store.js';
import { idsOf, message, messages, noPython, openQueue, startOld } from './support/queue.mjs';

const HOUR_S = 3600;
const recordOf = ({ id, type, payload, timestamp }) =>
  JSON.stringify({ id, type, payload, timestamp });

function openStore(t, options) {
  const queue = openQueue(t, options);
  return { queue, store: queue[deliveryStore] };
}

test('the key is registered, and every queue has one store', (t) => {
  assert.equal(deliveryStore, Symbol.for('@flowtrace/ipc/delivery-store/1'));
  const { queue, store } = openStore(t);
  assert.equal(queue[deliveryStore], store);
});

describe('store', () => {
  test('one promise per record, each with its own outcome', async (t) => {
    const { queue, store } = openStore(t);
    queue.enqueueMany([message('old'), message('other', { payload: 1 })]);
    const later = message('old', { timestamp: 9 });
    const records = [message('a'), later, message('other'), message('b')].map(recordOf);
    const broken = '{"id":"","type":"t","payload":1,"timestamp":1}';
    const promises = store.store([...records, broken]);
    assert.equal(promises.length, 5);
    const outcomes = await Promise.allSettled(promises);
    assert.deepEqual(
      outcomes.map(({ reason }) => reason?.code),
      [undefined, undefined, 'ERR_IPC_ID_CONFLICT', undefined, 'ERR_IPC_INVALID_MESSAGE'],
    );
    assert.deepEqual(idsOf(queue.dequeue()), ['old', 'other', 'a', 'b']);
    assert.deepEqual(store.store([]), []);
  });

  test('all of a call share one commit, however many there are', async (t) => {
    const { queue, store } = openStore(t);
    const before = queue.stats().walBytes;
    await Promise.all(store.store(messages(3000).map(recordOf)));
    assert.equal(queue.stats().pending, 3000);
    // Each of three thousand commits would write a page of its own at least.
    const pages = (queue.stats().walBytes - before) / 4096;
    assert.ok(pages < 1500, `${pages} pages`);
  });

  test('keeps the order with enqueueAsync', async (t) => {
    const { queue, store } = openStore(t);
    await Promise.all([
      queue.enqueueAsync(message('a')),
      ...store.store([message('b')].map(recordOf)),
      queue.enqueueAsync(message('c')),
    ]);
    assert.deepEqual(idsOf(queue.dequeue()), ['a', 'b', 'c']);
  });

  test('rejects after close', async (t) => {
    const { queue, store } = openStore(t);
    const before = store.store([recordOf(message('a'))]);
    queue.close();
    await Promise.all(before);
    const outcomes = await Promise.allSettled(store.store(messages(2).map(recordOf)));
    for (const { reason } of outcomes) assert.equal(reason.code, 'ERR_IPC_QUEUE_CLOSED');
    for (const use of [
      () => store.storeNow([recordOf(message('b'))]),
      () => store.handledAmong(['a']),
      () => store.newestPending(),
    ]) {
      assert.throws(use, { code: 'ERR_IPC_QUEUE_CLOSED' });
    }
    await assert.rejects(store.markHandled(['a']), { code: 'ERR_IPC_QUEUE_CLOSED' });
  });

  test('storeNow: all or none, idempotently', (t) => {
    const { queue, store } = openStore(t);
    store.storeNow(messages(2).map(recordOf));
    store.storeNow(messages(3).map((one) => recordOf({ ...one, timestamp: 9 })));
    store.storeNow([]);
    const conflict = [message('new'), message('m0', { payload: 0 })].map(recordOf);
    assert.throws(() => store.storeNow(conflict), { code: 'ERR_IPC_ID_CONFLICT' });
    assert.deepEqual(idsOf(queue.dequeue()), ['m0', 'm1', 'm2']);
  });
});

describe('what was handled elsewhere', () => {
  test('markHandled settles what was stored before it, and makes claims stale', async (t) => {
    const { queue, store } = openStore(t);
    queue.enqueue(message('claimed'));
    const [claim] = queue.claim();
    const stored = store.store([recordOf(message('spilled'))]);
    await store.markHandled(['spilled', 'claimed', 'unknown', '\ud800']);
    await Promise.all(stored);
    assert.deepEqual(queue.dequeue(), []);
    assert.equal(queue.complete(claim), false);
    assert.equal(queue.stats().processed, 2);
    assert.deepEqual(store.handledAmong(['unknown']), [], 'it remembers nothing');
    await store.markHandled([]);
  });

  test('rememberHandled knows ids without a message, and marks those with one', async (t) => {
    const { queue, store } = openStore(t);
    queue.enqueueMany(messages(2));
    await store.rememberHandled(['m0', 'socket', 'é"\\', '\udc00']);
    const asked = ['socket', 'm1', 'm0', 'é"\\', '\udc00', 'x'];
    assert.deepEqual(store.handledAmong(asked), ['socket', 'm0', 'é"\\']);
    assert.deepEqual(store.pendingAmong(asked), ['m1']);
    assert.deepEqual(idsOf(queue.dequeue()), ['m1']);
    assert.deepEqual(store.handledAmong([]), []);
  });

  test('a copy that is stored later is known as handled while it is pending', async (t) => {
    const { store } = openStore(t);
    await store.rememberHandled(['a']);
    await Promise.all(store.store([recordOf(message('a'))]));
    assert.deepEqual(store.handledAmong(['a']), ['a']);
    assert.deepEqual(store.pendingAmong(['a']), ['a']);
  });

  test('cleanup forgets them after the retention', { skip: noPython }, async (t) => {
    const { queue, store } = openStore(t);
    const ids = messages(2500).map(({ id }) => id);
    await store.rememberHandled([...ids, 'young']);
    const old = await startOld(t, queue.dbPath);
    await old.sql(
      `UPDATE message_handled SET handled_at = handled_at - ? WHERE message_id <> 'young'`,
      24 * HOUR_S + 2,
    );
    assert.equal(queue.cleanup(25), 0);
    assert.equal(store.handledAmong(ids).length, ids.length);
    assert.equal(queue.cleanup(), 0, 'messages alone are counted');
    assert.deepEqual(store.handledAmong([...ids, 'young']), ['young']);
  });
});

test('numbers tell what was there before', (t) => {
  const { queue, store } = openStore(t);
  assert.equal(store.newestPending(), 0);
  assert.equal(store.hasPendingUpTo(Number.MAX_SAFE_INTEGER), false);
  queue.enqueueMany(messages(3));
  const number = store.newestPending();
  assert.ok(number > 0);
  queue.enqueue(message('later', { timestamp: 0 }));
  queue.markProcessedMany(['m0', 'm2']);
  assert.equal(store.hasPendingUpTo(number), true);
  queue.markProcessed('m1');
  assert.equal(store.hasPendingUpTo(number), false);
  assert.ok(store.newestPending() > number);
});

test('a file of a build that did not know handled ids opens, and keeps its rows', {
  skip: noPython,
}, async (t) => {
  const first = openQueue(t);
  const { dbPath } = first;
  first.enqueue(message('a'));
  first.close();
  const old = await startOld(t, dbPath);
  await old.sql('DROP TABLE message_handled');
  const { queue, store } = openStore(t, { dbPath });
  await store.rememberHandled(['b']);
  assert.deepEqual(store.handledAmong(['a', 'b']), ['b']);
  assert.deepEqual(idsOf(queue.dequeue()), ['a']);
});
