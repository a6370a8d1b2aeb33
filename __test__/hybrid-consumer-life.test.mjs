// The consumer's starts and ends: what a failed start leaves, what a stop waits for and gives up.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { HybridConsumer } from '../features/hybrid/index.js';
import {
  consumerOf,
  listened,
  paths,
  publisherOf,
  queueOf,
  serverOf,
  timed,
} from './support/hybrid.mjs';
import { noPython, startOld } from './support/queue.mjs';
import { child, connected, deferred, until, within } from './support/socket.mjs';

const message = (id, more) => ({ id, type: 'candle', payload: { id }, timestamp: 1, ...more });
const acknowledged = { ack: true };
const never = () => new Promise(() => {});

test('starts once, and again after a stop', async (t) => {
  const where = paths(t);
  const { consumer, seen } = await consumerOf(t, where);
  await assert.rejects(consumer.start(), { code: 'ERR_IPC_ALREADY_RUNNING' });
  assert.equal(consumer.isRunning(), true);
  const closed = once(consumer, 'close');
  await Promise.all([consumer.stop(), consumer.stop()]);
  await closed;
  assert.deepEqual([consumer.isRunning(), consumer.queue], [false, undefined]);
  await consumer.stop();
  queueOf(t, where).enqueue(message('a'));
  const listening = once(consumer, 'listening');
  await consumer.start();
  await listening;
  await until(() => seen.length === 1, 'the message');
  // What was handled in the first life is remembered in the second.
  await consumer.stop();
  await consumer.start();
  const { client } = await connected(t, where);
  await client.send(message('a'), acknowledged);
  assert.deepEqual([seen.length, consumer.stats().duplicates], [1, 1]);
});

test('two starts at once: one of them rejects', async (t) => {
  const consumer = new HybridConsumer({ ...paths(t), onMessage() {} });
  listened(t, consumer);
  const outcomes = await Promise.allSettled([consumer.start(), consumer.start()]);
  assert.deepEqual(
    outcomes.map(({ reason }) => reason?.code),
    [undefined, 'ERR_IPC_ALREADY_RUNNING'],
  );
  assert.equal(consumer.isRunning(), true);
});

test('a stop during the start ends it, and a start during the stop follows it', async (t) => {
  const where = paths(t);
  const consumer = new HybridConsumer({ ...where, onMessage() {} });
  listened(t, consumer);
  const started = consumer.start();
  await consumer.stop();
  await started;
  assert.equal(consumer.isRunning(), false);
  assert.equal(consumer.stats().server.listening, false);
  await consumer.start();
  const stopping = consumer.stop();
  await consumer.start();
  await stopping;
  assert.equal(consumer.isRunning(), true);
  assert.equal(consumer.stats().server.listening, true);
});

test('a start that fails leaves nothing behind', async (t) => {
  const where = paths(t);
  const { server } = await serverOf(t, where);
  const consumer = new HybridConsumer({ ...where, onMessage() {} });
  listened(t, consumer);
  await assert.rejects(consumer.start(), { code: 'EADDRINUSE' });
  assert.deepEqual([consumer.isRunning(), consumer.queue], [false, undefined]);
  await server.stop();
  await consumer.start();
  await consumer.stop();

  const noFile = new HybridConsumer({ ...where, dbPath: `${where.dbPath}.d`, onMessage() {} });
  listened(t, noFile);
  mkdirSync(`${where.dbPath}.d`);
  await assert.rejects(noFile.start(), { code: 'EISDIR' });
  // The path of the socket is free.
  await consumer.start();
});

test('stop() waits for handlers and acknowledges what they did', async (t) => {
  const where = paths(t);
  const gate = deferred();
  queueOf(t, where).enqueue(message('stored'));
  const { consumer, seen } = await consumerOf(t, where, () => gate.promise);
  const { client } = await connected(t, where);
  const sent = client.send(message('sent'), acknowledged);
  await until(() => seen.length === 2, 'both handlers to start');
  const stopped = consumer.stop();
  assert.equal(consumer.isRunning(), false);
  gate.resolve();
  assert.equal((await sent).level, 'handled');
  await stopped;
  assert.equal(queueOf(t, where).stats().processed, 1);
});

test('stop() gives messages of the queue back that wait for a handler, untried', async (t) => {
  const where = paths(t);
  const gate = deferred();
  const queue = queueOf(t, where);
  queue.enqueueMany(['a', 'b', 'c'].map((id, n) => message(id, { timestamp: n + 1 })));
  // A concurrency of 2, one of which is taken by the socket.
  const { consumer, seen } = await consumerOf(t, where, () => gate.promise, { concurrency: 2 });
  const { client } = await connected(t, where);
  const sent = client.send(message('sent'), acknowledged);
  await until(() => seen.length === 2 && consumer.stats().waiting >= 1, 'messages to wait');
  const stopped = consumer.stop();
  gate.resolve();
  await stopped;
  await sent;
  const rest = queue.claim();
  assert.ok(rest.length > 0);
  assert.ok(rest.every(({ attempt }) => attempt === 1));
  assert.deepEqual(
    new Set([...seen.map(([id]) => id), ...rest.map((claim) => claim.message.id)]),
    new Set(['a', 'b', 'c', 'sent']),
  );
});

test('what runs at the deadline is given up: stored by the publisher, free for others', async (t) => {
  const where = paths(t);
  const queue = queueOf(t, where);
  queue.enqueue(message('stored'));
  const { consumer, seen, events } = await consumerOf(t, where, never);
  const { publisher } = publisherOf(t, { ...where, spillAfterMs: 60_000 });
  const published = publisher.publish(message('sent'));
  await until(() => seen.length === 2, 'both handlers to start');
  await consumer.stop({ deadlineMs: 10 });
  assert.equal((await published).via, 'queue');
  const claims = queue.claim();
  assert.deepEqual(claims.map((claim) => claim.message.id).sort(), ['sent', 'stored']);
  assert.ok(events.every(([, error]) => error.code === 'ERR_IPC_CONNECTION_LOST'));
});

test('stop() keeps to its deadline and blocks nothing while another process holds the file', {
  skip: noPython,
}, async (t) => {
  const where = paths(t);
  const queue = queueOf(t, where);
  queue.enqueueMany(['done', 'runs'].map((id) => message(id)));
  const gate = deferred();
  const { consumer, seen } = await consumerOf(t, where, ({ id }) =>
    id === 'done' ? gate.promise : never(),
  );
  await until(() => seen.length === 2, 'the handlers');
  const old = await startOld(t, where.dbPath);
  await old.sql('BEGIN IMMEDIATE');
  // Its outcome cannot be recorded now.
  gate.resolve();
  await until(() => consumer.stats().handled === 1, 'the first handler');
  const { tookMs, blockedMs } = await timed(() => consumer.stop({ deadlineMs: 300 }));
  assert.ok(tookMs < 2000, `${tookMs} ms`);
  assert.ok(blockedMs < 1000, `${blockedMs} ms`);
  await old.sql('ROLLBACK');
  // What the thread of the queue had begun it still does, and then gives back what is left.
  await until(() => queue.stats().claimed === 0, 'the claims');
  assert.deepEqual([queue.stats().processed, queue.stats().pending], [1, 1]);
});

test('what was given up is handled after the next start, whatever its first handler does', async (t) => {
  const where = paths(t);
  const gates = new Map();
  const queue = queueOf(t, where);
  queue.enqueueMany([message('hangs'), message('late', { timestamp: 2 })]);
  const { consumer, seen, events } = await consumerOf(t, where, ({ id }) => {
    if (gates.has(id)) return undefined;
    gates.set(id, deferred());
    return gates.get(id).promise;
  });
  await until(() => seen.length === 2, 'both handlers to start');
  await consumer.stop({ deadlineMs: 0 });
  gates.get('late').resolve();
  await until(() => consumer.stats().handled === 1, 'the late handler');
  await consumer.start();
  await until(() => queue.stats().processed === 2, 'both to be processed');
  // The one that was done after all is known, the other one is handled once more.
  assert.deepEqual(
    seen.slice(2).map(([id]) => id),
    ['hangs'],
  );
  assert.equal(consumer.stats().duplicates, 1);
  // That its outcome found the file closed is no news.
  assert.deepEqual(
    events.map(([name]) => name),
    ['duplicate'],
  );
});

for (const via of ['socket', 'queue']) {
  for (const when of ['at once', 'later']) {
    test(`stop() inside a handler of the ${via}, ${when}, does not wait for it`, async (t) => {
      const where = paths(t);
      const { consumer, seen } = await consumerOf(t, where, async () => {
        if (when === 'later') await new Promise((resolve) => setImmediate(resolve));
        await consumer.stop({ deadlineMs: 60_000 });
      });
      const closed = once(consumer, 'close');
      const queue = queueOf(t, where);
      if (via === 'queue') {
        queue.enqueue(message('a'));
      } else {
        const { client } = await connected(t, where);
        const { level } = await within(client.send(message('a'), acknowledged), 'the answer');
        assert.equal(level, 'handled');
      }
      await within(closed, 'the end of the stop');
      assert.equal(seen.length, 1);
      if (via === 'queue') assert.equal(queue.stats().processed, 1, 'its outcome is settled');
      // It is over, and can be started again.
      await consumer.start();
      await consumer.stop();
    });
  }
}

test('deadlineMs is checked', async (t) => {
  const { consumer } = await consumerOf(t, paths(t));
  for (const deadlineMs of [-1, 1.5, 'x', Number.NaN]) {
    await assert.rejects(consumer.stop({ deadlineMs }), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  }
  assert.equal(consumer.isRunning(), true);
});

test('is disposed of by stopping', async (t) => {
  const { consumer } = await consumerOf(t, paths(t));
  await consumer[Symbol.asyncDispose]();
  assert.equal(consumer.isRunning(), false);
});

test('a running consumer keeps the process alive, a stopped one does not', async (t) => {
  const where = paths(t);
  const running = child(t, 'consumer-life.mjs', [where.socketPath, where.dbPath]);
  await running.line('running');
  const { client } = await connected(t, where);
  await client.send(message('a'), acknowledged);
  assert.equal(running.process.exitCode, null);
  await client.send(message('stop'), acknowledged);
  const { code, stderr } = await running.exit;
  assert.deepEqual([code, stderr], [0, '']);
  assert.deepEqual(running.lines, ['running', 'a', 'stop', 'stopped']);
});
