// The consumer as an async iterator.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { HybridConsumer } from '../features/hybrid/index.js';
import { listened, paths, queueOf, serverOf } from './support/hybrid.mjs';
import { connected, until, within } from './support/socket.mjs';

const message = (id, more) => ({ id, type: 'candle', payload: { id }, timestamp: 1, ...more });
const acknowledged = { ack: true };

/** A consumer that is to be iterated over, and a queue with messages. */
function iterated(t, ids = [], options = {}) {
  const where = paths(t);
  const queue = queueOf(t, where);
  queue.enqueueMany(ids.map((id, n) => message(id, { timestamp: n + 1 })));
  const consumer = new HybridConsumer({ pollInterval: 5, ...where, ...options });
  return { consumer, queue, where, events: listened(t, consumer) };
}

test('gives the messages of both channels, and starts and stops the consumer', async (t) => {
  const { consumer, queue, where } = iterated(t, ['stored']);
  const fields = [];
  for await (const delivery of consumer) {
    const { id, type, payload, timestamp, message: raw, via, attempt } = delivery;
    fields.push({ id, type, payload, timestamp, via, attempt });
    assert.deepEqual(raw, { id, type, payload, timestamp });
    delivery.ack();
    delivery.ack();
    delivery.nack(new Error('too late'));
    if (fields.length === 2) break;
    assert.equal(consumer.isRunning(), true);
    const { client } = await connected(t, where);
    client.send(message('sent'), acknowledged).catch(() => {});
  }
  assert.equal(consumer.isRunning(), false);
  assert.deepEqual(fields, [
    { ...message('stored'), via: 'queue', attempt: 1 },
    { ...message('sent'), via: 'socket', attempt: 1 },
  ]);
  assert.equal(queue.stats().processed, 1);
  assert.deepEqual([consumer.stats().handled, consumer.stats().failed], [2, 0]);
});

test('what is not acknowledged comes again', async (t) => {
  const { consumer, queue, events } = iterated(t, ['a']);
  const attempts = [];
  const error = new Error('not yet');
  for await (const delivery of consumer) {
    attempts.push(delivery.attempt);
    if (delivery.attempt === 3) {
      delivery.ack();
      break;
    }
    if (delivery.attempt === 1) delivery.nack(error);
    else delivery.nack();
    delivery.ack();
  }
  assert.deepEqual(attempts, [1, 2, 3]);
  assert.equal(queue.stats().processed, 1);
  assert.deepEqual(
    events.map(([name, what]) => [name, what.message]),
    [
      ['error', 'not yet'],
      ['error', 'nack() was called'],
    ],
  );
});

for (const ending of ['break', 'throw']) {
  test(`messages that were not settled come again after a ${ending}`, async (t) => {
    const { consumer, queue, where, events } = iterated(t, ['a', 'b', 'c']);
    const error = new Error('on purpose');
    const loop = async () => {
      for await (const delivery of consumer) {
        assert.equal(delivery.id, 'a');
        await until(() => queue.stats().claimed === 3, 'the others to be claimed');
        if (ending === 'throw') throw error;
        break;
      }
    };
    if (ending === 'throw') await assert.rejects(loop(), error);
    else await loop();
    assert.equal(consumer.isRunning(), false);
    const next = new HybridConsumer({ pollInterval: 5, ...where });
    listened(t, next);
    const attempts = new Map();
    for await (const delivery of next) {
      attempts.set(delivery.id, delivery.attempt);
      delivery.ack();
      if (attempts.size === 3) break;
    }
    // Only the one that was handed out has used an attempt.
    assert.deepEqual(Object.fromEntries(attempts), { a: 2, b: 1, c: 1 });
    assert.deepEqual(events, [], 'which is no error');
  });
}

test('leaving the loop is no failure of the messages, however few are allowed', async (t) => {
  const options = { maxAttempts: 1 };
  const { consumer, queue, where, events } = iterated(t, ['a'], options);
  for await (const delivery of consumer) {
    assert.equal(delivery.attempt, 1);
    break;
  }
  assert.deepEqual([queue.stats().dead, queue.stats().pending], [0, 1]);
  const next = new HybridConsumer({ pollInterval: 5, ...where, ...options });
  listened(t, next);
  for await (const delivery of next) {
    assert.deepEqual([delivery.id, delivery.attempt], ['a', 2]);
    delivery.ack();
    break;
  }
  assert.deepEqual([queue.stats().processed, events], [1, []]);
});

test('at most concurrency messages are not settled', async (t) => {
  const { consumer, where } = iterated(t, [], { concurrency: 4 });
  const iterator = consumer[Symbol.asyncIterator]();
  const first = iterator.next();
  await once(consumer, 'listening');
  const { client } = await connected(t, where);
  const sent = Array.from({ length: 8 }, (_, n) => client.send(message(`m${n}`), acknowledged));
  const held = [(await first).value];
  for (let n = 1; n < 4; n++) held.push((await iterator.next()).value);
  const fifth = iterator.next();
  await until(() => consumer.stats().waiting === 4, 'the rest to wait');
  assert.equal(consumer.stats().inFlight, 4);
  held[2].ack();
  held.push((await fifth).value);
  assert.equal(held[4].id, 'm4');
  for (let n = 5; n < 8; n++) {
    held[n - 1].ack();
    held.push((await iterator.next()).value);
  }
  for (const delivery of held) delivery.ack();
  await Promise.all(sent);
  await iterator.return();
});

test('stop() ends the loop, after what was handed out is settled', async (t) => {
  const { consumer, queue } = iterated(t, ['a', 'b']);
  const closed = once(consumer, 'close');
  const ids = [];
  for await (const delivery of consumer) {
    ids.push(delivery.id);
    void consumer.stop({ deadlineMs: 60_000 });
    delivery.ack();
  }
  await within(closed, 'the end of the stop');
  assert.deepEqual(ids, ['a']);
  assert.deepEqual([queue.stats().processed, queue.stats().pending], [1, 1]);
});

test('stop() ends a loop that waits for messages', async (t) => {
  const { consumer } = iterated(t);
  const listening = once(consumer, 'listening');
  const loop = (async () => {
    for await (const { id } of consumer) assert.fail(`there is ${id}`);
  })();
  await listening;
  await consumer.stop();
  await within(loop, 'the loop to end');
});

test('what is held at the deadline of stop() comes again', async (t) => {
  const { consumer, queue } = iterated(t, ['a']);
  const iterator = consumer[Symbol.asyncIterator]();
  const { value } = await iterator.next();
  await consumer.stop({ deadlineMs: 5 });
  value.ack();
  assert.deepEqual(await iterator.next(), { done: true, value: undefined });
  assert.equal(queue.claim()[0].message.id, 'a');
});

test('one way or the other, and one loop at a time', async (t) => {
  const { consumer, where } = iterated(t);
  await assert.rejects(consumer.start(), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  const withHandler = new HybridConsumer({ ...where, onMessage() {} });
  assert.throws(() => withHandler[Symbol.asyncIterator](), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  const first = consumer[Symbol.asyncIterator]();
  const waiting = first.next();
  const second = consumer[Symbol.asyncIterator]();
  await assert.rejects(second.next(), { code: 'ERR_IPC_ALREADY_RUNNING' });
  assert.deepEqual(await second.next(), { done: true, value: undefined });
  await second.return();
  assert.equal(consumer.isRunning(), true, 'the end of the second is not that of the first');
  await first.return();
  assert.deepEqual(await waiting, { done: true, value: undefined });
  // The consumer can be iterated over again.
  const third = consumer[Symbol.asyncIterator]();
  void third.next();
  await once(consumer, 'listening');
  await first.return();
  assert.equal(consumer.isRunning(), true);
  await third.return();
});

test('a start that fails is the end of the loop', async (t) => {
  const { consumer, where } = iterated(t);
  const { server } = await serverOf(t, where);
  const loop = async () => {
    for await (const _ of consumer) assert.fail();
  };
  await assert.rejects(loop(), { code: 'EADDRINUSE' });
  await server.stop();
  const iterator = consumer[Symbol.asyncIterator]();
  void iterator.next();
  await once(consumer, 'listening');
  await iterator.return();
});
