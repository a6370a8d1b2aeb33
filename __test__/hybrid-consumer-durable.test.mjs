// What a restart forgets, and what it does not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deliveryStore } from '../dist/delivery-store.js';
import { consumerOf, paths, queueOf } from './support/hybrid.mjs';
import { noPython, startOld } from './support/queue.mjs';
import { connected, deferred, until } from './support/socket.mjs';

const message = (id, more) => ({ id, type: 'candle', payload: { id }, timestamp: 1, ...more });
const acknowledged = { ack: true };

/** A consumer of its own, as after a restart: nothing of the one before is in its memory. */
async function life(t, where, dedup, use) {
  const { consumer, seen, events } = await consumerOf(t, where, undefined, { dedup });
  const { client } = await connected(t, where);
  await use({ consumer, client, events });
  client.disconnect();
  await consumer.stop();
  return seen;
}

const cases = [
  ['memory', 2],
  ['durable', 1],
];
for (const [dedup, times] of cases) {
  test(`${dedup}: after a restart, a copy of a message of the socket makes ${times} in all`, async (t) => {
    const where = paths(t);
    const seen = [];
    for (let restart = 0; restart < 2; restart++) {
      const use = ({ client }) => client.send(message('a'), acknowledged);
      seen.push(...(await life(t, where, dedup, use)));
    }
    assert.equal(seen.length, times);
  });

  test(`${dedup}: after a restart, a copy in the queue makes ${times} in all`, async (t) => {
    const where = paths(t);
    const seen = await life(t, where, dedup, ({ client }) =>
      client.send(message('a'), acknowledged),
    );
    const queue = queueOf(t, where);
    queue.enqueue(message('a'));
    seen.push(
      ...(await life(t, where, dedup, () =>
        until(() => queue.stats().processed === 1, 'the copy to be processed'),
      )),
    );
    assert.equal(seen.length, times);
  });
}

test('durable: rows that were handled remember themselves', async (t) => {
  const where = paths(t);
  const queue = queueOf(t, where);
  queue.enqueue(message('a'));
  const seen = await life(t, where, 'durable', () =>
    until(() => queue.stats().processed === 1, 'the row to be processed'),
  );
  const use = ({ client }) => client.send(message('a'), acknowledged);
  seen.push(...(await life(t, where, 'durable', use)));
  assert.deepEqual(seen, [['a', 'queue', 1]]);
});

test('durable: a copy that waits in the queue is done when its message is recorded', async (t) => {
  const where = paths(t);
  const queue = queueOf(t, where);
  queue.enqueue(message('a'));
  // Somebody else holds the copy, for example a consumer that hangs.
  const [claim] = queue.claim();
  await life(t, where, 'durable', ({ client }) => client.send(message('a'), acknowledged));
  assert.equal(queue.stats().processed, 1);
  assert.equal(queue.complete(claim), false, 'the claim is stale');
});

test('durable: a row that is not settled yet is known without a window', {
  skip: noPython,
}, async (t) => {
  const where = paths(t);
  const queue = queueOf(t, where);
  const gate = deferred();
  const { consumer, seen } = await consumerOf(t, where, () => gate.promise, {
    dedup: 'durable',
    dedupWindow: 0,
  });
  queue.enqueue(message('a'));
  await until(() => seen.length === 1, 'the row to be handled');
  const old = await startOld(t, where.dbPath);
  await old.sql('BEGIN IMMEDIATE');
  gate.resolve();
  await until(() => consumer.stats().handled === 1, 'the handler to end');
  const { client } = await connected(t, where);
  await client.send(message('a'), acknowledged);
  assert.deepEqual(seen, [['a', 'queue', 1]]);
  await old.sql('ROLLBACK');
  await until(() => queue.stats().processed === 1, 'the row to be settled');
  await client.send(message('a'), acknowledged);
  assert.equal(seen.length, 1);
});

test('durable: failures are not recorded', async (t) => {
  const where = paths(t);
  let fails = true;
  const options = { dedup: 'durable' };
  const handler = () => {
    if (fails) throw new Error('no');
  };
  const { consumer, seen } = await consumerOf(t, where, handler, options);
  const { client } = await connected(t, where);
  await assert.rejects(client.send(message('a'), acknowledged), { code: 'ERR_IPC_REFUSED' });
  fails = false;
  await client.send(message('a'), acknowledged);
  assert.equal(seen.length, 2);
  assert.deepEqual([consumer.stats().handled, consumer.stats().failed], [1, 1]);
});

test('durable: what cannot be recorded is refused, and is recorded when it comes again', async (t) => {
  const where = paths(t);
  const { consumer, seen, events } = await consumerOf(t, where, undefined, { dedup: 'durable' });
  const { client } = await connected(t, where);
  const queue = queueOf(t, where);
  const store = consumer.queue[deliveryStore];
  const record = store.rememberHandled;
  store.rememberHandled = () =>
    Promise.reject(Object.assign(new Error('full'), { code: 'SQLITE_FULL' }));
  const refused = await client.send(message('a'), acknowledged).catch((error) => error);
  // It was handled: nobody may be told that this cannot be.
  assert.deepEqual(
    [refused.code, refused.cause.code, refused.indeterminate],
    ['ERR_IPC_REFUSED', 'ERR_IPC_NOT_RECORDED', true],
  );
  assert.deepEqual(
    events.map(([name, error, { phase, via }]) => [name, error.code, phase, via]),
    [['error', 'SQLITE_FULL', 'dedup', 'socket']],
  );
  assert.deepEqual(queue[deliveryStore].handledAmong(['a']), []);
  store.rememberHandled = record;
  await client.send(message('a'), acknowledged);
  assert.deepEqual(queue[deliveryStore].handledAmong(['a']), ['a']);
  assert.equal(seen.length, 1);
});
