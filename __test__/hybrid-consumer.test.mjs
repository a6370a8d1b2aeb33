// The consumer: one handler for both channels, each message once, and what it tells.
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { test } from 'node:test';
import { limits } from '../dist/limits.js';
import { HybridConsumer } from '../features/hybrid/index.js';
import { checkHealth } from '../index.mjs';
import { consumerOf, paths, publisherOf, queueOf } from './support/hybrid.mjs';
import { connected, deferred, until } from './support/socket.mjs';

const message = (id, more) => ({ id, type: 'candle', payload: { id }, timestamp: 1, ...more });
const acknowledged = { ack: true };

test('messages of both channels come to one handler, with what is known of them', async (t) => {
  const where = paths(t);
  const queue = queueOf(t, where);
  queue.enqueue(message('stored'));
  const { consumer, seen, events } = await consumerOf(t, where);
  const { client } = await connected(t, where);
  await client.send(message('sent'), acknowledged);
  await until(() => queue.stats().processed === 1, 'the stored message to be handled');
  assert.deepEqual(seen.sort(), [
    ['sent', 'socket', 1],
    ['stored', 'queue', 1],
  ]);
  assert.deepEqual(events, []);
  const { running, handled, viaSocket, viaQueue, failed, duplicates, inFlight, remembered } =
    consumer.stats();
  assert.deepEqual([running, handled, viaSocket, viaQueue], [true, 2, 1, 1]);
  assert.deepEqual([failed, duplicates, inFlight, remembered], [0, 0, 0, 2]);
  const { server, poller } = consumer.stats();
  assert.deepEqual([server.messagesReceived, poller.handled], [1, 1]);
});

test('a handler of the socket is in no context of who started the consumer or of another message', async (t) => {
  const where = paths(t);
  const storage = new AsyncLocalStorage();
  const stores = [];
  await storage.run('start', () =>
    consumerOf(t, where, async ({ id }) => {
      stores.push(storage.getStore());
      storage.enterWith(id);
      await undefined;
      stores.push(storage.getStore());
    }),
  );
  const { client } = await connected(t, where);
  for (const id of ['a', 'b']) await client.send(message(id), acknowledged);
  assert.deepEqual(stores, [undefined, 'a', undefined, 'b']);
  // In one batch the handlers begin one after the other. Before Node.js 24 what `enterWith` puts there
  // lasts for all of a call from the addon, as it documents; what `run` does ends with it.
  await Promise.all(['c', 'd'].map((id) => client.send(message(id), acknowledged)));
  const left = Number.parseInt(process.versions.node, 10) < 24 ? 'c' : undefined;
  assert.deepEqual(stores.slice(4), [undefined, left, 'c', 'd']);
});

test('a publisher and a consumer: what the handler refuses comes by the queue', async (t) => {
  const where = paths(t);
  const bad = new Error('not yet');
  const failing = new Set(['bad']);
  const { seen, events } = await consumerOf(t, where, ({ id }) => {
    if (failing.delete(id)) throw bad;
  });
  const { publisher } = publisherOf(t, where);
  const receipts = await publisher.publishMany([message('good'), message('bad')]);
  assert.deepEqual(
    receipts.map(({ via, level }) => [via, level]),
    [
      ['socket', 'handled'],
      ['queue', 'durable'],
    ],
  );
  await until(() => seen.length === 3, 'the second try');
  assert.deepEqual(seen.at(-1), ['bad', 'queue', 1]);
  assert.deepEqual(events, [
    ['error', bad, { via: 'socket', phase: 'handle', message: message('bad') }],
  ]);
});

test('a copy in the queue of what came by the socket is done without the handler', async (t) => {
  const where = paths(t);
  const { consumer, seen } = await consumerOf(t, where);
  const { client } = await connected(t, where);
  await client.send(message('a'), acknowledged);
  const duplicate = once(consumer, 'duplicate');
  const queue = queueOf(t, where);
  queue.enqueue(message('a'));
  assert.deepEqual(await duplicate, [message('a'), { via: 'queue', attempt: 1 }]);
  await until(() => queue.stats().processed === 1, 'the copy to be processed');
  await client.send(message('a'), acknowledged);
  assert.deepEqual(seen, [['a', 'socket', 1]]);
  assert.equal(consumer.stats().duplicates, 2);
});

test('a copy that comes during the handler has the outcome of the first', async (t) => {
  const where = paths(t);
  const attempts = [];
  const { consumer, seen } = await consumerOf(t, where, () => {
    attempts.push(deferred());
    return attempts.at(-1).promise;
  });
  const { client } = await connected(t, where);
  const queue = queueOf(t, where);
  const first = assert.rejects(client.send(message('a'), acknowledged), {
    code: 'ERR_IPC_REFUSED',
  });
  await until(() => attempts.length === 1, 'the handler to start');
  queue.enqueue(message('a'));
  await until(() => queue.stats().claimed === 1, 'the copy to be claimed');
  const second = assert.rejects(client.send(message('a'), acknowledged), {
    code: 'ERR_IPC_REFUSED',
  });
  await until(() => consumer.stats().server.messagesReceived === 2, 'the second copy');
  attempts[0].reject(new Error('no'));
  await Promise.all([first, second]);
  // The copy in the queue goes back, and is the one that is tried again.
  await until(() => attempts.length === 2, 'the second try');
  const third = client.send(message('a'), acknowledged);
  attempts[1].resolve();
  assert.equal((await third).level, 'handled');
  await until(() => queue.stats().processed === 1, 'the row to be processed');
  assert.deepEqual(
    seen.map(([id, via]) => [id, via]),
    [
      ['a', 'socket'],
      ['a', 'queue'],
    ],
  );
});

test('concurrency is shared by the channels', async (t) => {
  const where = paths(t);
  const gates = [];
  const queue = queueOf(t, where);
  queue.enqueueMany(['q0', 'q1', 'q2', 'q3'].map((id) => message(id)));
  const handler = () => {
    gates.push(deferred());
    return gates.at(-1).promise;
  };
  const { consumer, seen } = await consumerOf(t, where, handler, { concurrency: 3 });
  const { client } = await connected(t, where);
  const sent = ['s0', 's1', 's2', 's3'].map((id) => client.send(message(id), acknowledged));
  await until(
    () => consumer.stats().inFlight === 3 && consumer.stats().waiting >= 4,
    'messages of both to wait',
  );
  assert.equal(gates.length, 3);
  for (let handled = 1; handled <= 8; handled++) {
    await until(() => gates.length >= handled, 'the next one');
    assert.ok(consumer.stats().inFlight <= 3);
    gates[handled - 1].resolve();
  }
  await Promise.all(sent);
  await until(() => queue.stats().processed === 4, 'the queue to be drained');
  assert.deepEqual([consumer.stats().viaSocket, consumer.stats().viaQueue], [4, 4]);
  assert.equal(seen.length, 8);
});

test('a handler that never ends takes one place of the queue and no more', async (t) => {
  const where = paths(t);
  const queue = queueOf(t, where);
  const ids = Array.from({ length: 200 }, (_, n) => `m${n}`);
  queue.enqueueMany([message('hangs'), ...ids.map((id) => message(id))]);
  const never = deferred();
  const { consumer, seen, events } = await consumerOf(t, where, ({ id }) =>
    id === 'hangs' ? never.promise : undefined,
  );
  await until(() => queue.stats().processed === 200, 'the others');
  queue.enqueue(message('later'));
  await until(() => queue.stats().processed === 201, 'what came later');
  assert.deepEqual([consumer.stats().inFlight, queue.stats().claimed], [1, 1]);
  assert.deepEqual([seen.length, events.length], [202, 0]);
  never.resolve();
});

test('copies in the queue that wait for the ones by the socket take no place', async (t) => {
  const where = paths(t);
  const queue = queueOf(t, where);
  const ids = ['s0', 's1', 's2', 's3', 's4'];
  const doors = new Map(ids.map((id) => [id, deferred()]));
  const { consumer, seen } = await consumerOf(t, where, ({ id }) => doors.get(id)?.promise, {
    concurrency: 2,
  });
  const { client } = await connected(t, where);
  const sent = ids.map((id) => client.send(message(id), acknowledged));
  await until(() => consumer.stats().waiting === 3, 'the messages of the socket to wait');
  queue.enqueueMany([...ids.map((id) => message(id)), message('q', { timestamp: 2 })]);
  await until(() => consumer.stats().waiting === 4, 'the one of the queue to wait with them');
  doors.get('s0').resolve();
  await until(() => seen.length === 3, 'a turn');
  doors.get('s1').resolve();
  await until(() => seen.some(([id]) => id === 'q'), 'the turn of the queue');
  assert.ok(consumer.stats().waiting > 0, 'others of the socket still wait');
  for (const door of doors.values()) door.resolve();
  await Promise.all(sent);
  await until(() => queue.stats().processed === 6, 'all rows to be processed');
  assert.equal(seen.length, 6);
});

test('concurrency 1 keeps the order of each channel', async (t) => {
  const where = paths(t);
  const ids = (prefix) => Array.from({ length: 30 }, (_, n) => `${prefix}${n}`);
  queueOf(t, where).enqueueMany(ids('q').map((id, n) => message(id, { timestamp: n + 1 })));
  let running = 0;
  const handler = async () => {
    running++;
    assert.equal(running, 1);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
  };
  const { seen } = await consumerOf(t, where, handler, { concurrency: 1 });
  const { client } = await connected(t, where);
  await Promise.all(ids('s').map((id) => client.send(message(id), acknowledged)));
  await until(() => seen.length === 60, 'all messages');
  const of = (channel) => seen.filter(([, via]) => via === channel).map(([id]) => id);
  assert.deepEqual([of('socket'), of('queue')], [ids('s'), ids('q')]);
});

test('a dead letter is announced with what the handler threw', async (t) => {
  const where = paths(t);
  const queue = queueOf(t, where);
  queue.enqueue(message('poison'));
  const { events, seen } = await consumerOf(
    t,
    where,
    (_, { attempt }) => {
      throw new Error(`attempt ${attempt}`);
    },
    { maxAttempts: 2, retryDelayMs: 1 },
  );
  await until(() => events.some(([name]) => name === 'deadLetter'), 'the dead letter');
  const [, letter, { attempts, error }] = events.find(([name]) => name === 'deadLetter');
  assert.deepEqual([letter, attempts, error.message], [message('poison'), 2, 'attempt 2']);
  assert.deepEqual(seen, [
    ['poison', 'queue', 1],
    ['poison', 'queue', 2],
  ]);
  assert.equal(queue.deadLetters()[0].error, 'attempt 2');
});

test('what nobody listens to goes to the console', async (t) => {
  const where = paths(t);
  const error = t.mock.method(console, 'error', () => {});
  const consumer = new HybridConsumer({
    ...where,
    onMessage() {
      throw new Error('on purpose');
    },
  });
  t.after(() => consumer.stop());
  await consumer.start();
  const { client } = await connected(t, where);
  await assert.rejects(client.send(message('a'), acknowledged), { code: 'ERR_IPC_REFUSED' });
  assert.equal(error.mock.callCount(), 1);
  assert.match(error.mock.calls[0].arguments[0], /HybridConsumer: handle failed/);
  assert.equal(error.mock.calls[0].arguments[1].message, 'on purpose');
});

test('errors of the socket are told with their channel', async (t) => {
  const where = paths(t);
  const { events, seen } = await consumerOf(t, where, undefined, { validate: true });
  const { client } = await connected(t, where);
  await assert.rejects(client.send({ id: 'a' }, acknowledged), { code: 'ERR_IPC_REFUSED' });
  assert.equal((await client.send(message('b'), acknowledged)).level, 'handled');
  assert.deepEqual(seen, [['b', 'socket', 1]]);
  assert.equal(events.length, 1);
  assert.deepEqual(events[0][2], { via: 'socket', phase: 'connection' });
});

test('with validate, what breaks the schema reaches no handler by either channel', async (t) => {
  const where = paths(t);
  const queue = queueOf(t, where);
  queue.enqueue(message('stored', { timestamp: -1 }));
  const { consumer, seen, events } = await consumerOf(t, where, undefined, {
    validate: true,
    maxAttempts: 2,
    retryDelayMs: 1,
  });
  const { publisher } = publisherOf(t, where);
  const receipts = await publisher.publishMany([
    message('good'),
    message('bad', { timestamp: -2 }),
    message('odd', { timestamp: 1.5 }),
  ]);
  assert.deepEqual(
    receipts.map(({ via }) => via),
    ['socket', 'queue', 'socket'],
  );
  queue.enqueue(message('good too'));
  await until(() => queue.stats().dead === 2, 'the dead letters');
  await until(() => queue.stats().processed === 1, 'the good one of the queue');
  assert.deepEqual(seen.map(([id]) => id).sort(), ['good', 'good too', 'odd']);
  for (const { id, attempts, error } of queue.deadLetters()) {
    assert.ok(['bad', 'stored'].includes(id));
    assert.equal(attempts, 2);
    assert.match(error, /^The message is invalid: timestamp: \w/);
  }
  const failures = events.filter(([, , more]) => more?.phase === 'handle');
  assert.deepEqual(
    failures.map(([name, error, { via }]) => [name, error.code, via]),
    Array(4).fill(['error', 'ERR_IPC_INVALID_MESSAGE', 'queue']),
  );
  assert.equal(consumer.stats().failed, 4);
});

test('options are checked when it is made, those of its parts too', (t) => {
  const where = paths(t);
  const wrong = [
    [undefined, /config/],
    [{ ...where, onMessage: 'x' }, /onMessage/],
    [{ dbPath: where.dbPath }, /socketPath/],
    [{ socketPath: where.socketPath }, /dbPath/],
    [{ ...where, concurrency: 0 }, /concurrency/],
    [{ ...where, concurrency: 1.5 }, /concurrency/],
    [{ ...where, dedup: 'disk' }, /dedup must be 'memory' or 'durable'/],
    [{ ...where, dedupWindow: -1 }, /dedupWindow/],
    [{ ...where, maxConnections: -1 }, /maxConnections/],
    [{ ...where, allowedUids: [] }, /allowedUids/],
    [{ ...where, pollInterval: 0 }, /pollInterval/],
    [{ ...where, maxAttempts: 0 }, /maxAttempts/],
    [{ ...where, retentionHours: -1 }, /retentionHours/],
  ];
  for (const [config, text] of wrong) {
    assert.throws(() => new HybridConsumer(config), {
      code: 'ERR_IPC_INVALID_ARGUMENT',
      message: text,
    });
  }
  assert.throws(() => new HybridConsumer({ ...where, socketPath: `/tmp/${'x'.repeat(200)}` }), {
    code: 'ERR_IPC_PATH_TOO_LONG',
  });
  assert.ok(limits.consumerConcurrency > 1);
});

test('health of a consumer', async (t) => {
  const where = paths(t);
  const { consumer } = await consumerOf(t, where);
  const { status, server, poller, queue } = checkHealth({ consumer });
  assert.equal(status, 'healthy');
  assert.deepEqual([server.listening, poller.running, queue.pending], [true, true, 0]);
  const { server: serverPart, queue: queuePart, poller: pollerPart } = consumer;
  const parts = { server: serverPart, queue: queuePart, poller: pollerPart };
  assert.deepEqual(checkHealth(parts).reasons, []);
  await consumer.stop();
  const stopped = checkHealth({ consumer });
  assert.equal(stopped.status, 'unhealthy');
  assert.deepEqual(stopped.reasons, ['The consumer is not running']);
});
