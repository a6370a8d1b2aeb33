import assert from 'node:assert/strict';
import { describe, mock, test } from 'node:test';
import { limits } from '../dist/limits.js';
import {
  advance,
  calls,
  deferred,
  fakeTimers,
  firsts,
  idsOf,
  isSettled,
  makePoller,
  message,
  messages,
  ownQueue,
  settle,
} from './support/poller.mjs';

fakeTimers();

describe("polling the package's own queue", () => {
  test('claims with leases and settles batches, ahead of the next batch', async () => {
    const own = ownQueue(messages(120));
    const onMessage = mock.fn();
    const { poller, errors } = makePoller({ queue: own.queue, onMessage, retryDelayMs: 30 });
    await poller.start();
    await settle(60);
    assert.deepEqual(firsts(onMessage), messages(120));
    assert.deepEqual(calls(own.source.claim), Array(3).fill([50, limits.leaseMs]));
    const settled = firsts(own.source.settle).flatMap(({ completed }) => idsOf(completed));
    assert.deepEqual(
      settled,
      messages(120).map(({ id }) => id),
    );
    assert.ok(own.source.settle.mock.callCount() <= 3);
    assert.equal(own.claimed.size, 0);
    assert.deepEqual(calls(own.port.open), [
      [{ maxAttempts: 10, retryDelayMs: 30, retryDelayMsMax: limits.retryDelayMsMax }],
    ]);
    assert.equal(own.queue.dequeue.mock.callCount(), 0);
    assert.deepEqual(errors, []);
  });

  test('is polled through its methods when one of them was replaced', async () => {
    for (const name of ['dequeue', 'markProcessed', 'cleanup']) {
      const own = ownQueue();
      const replaced = mock.fn(() => undefined);
      own.queue[name] = replaced;
      const { poller } = makePoller({ queue: own.queue, onMessage() {} });
      await poller.start();
      await settle();
      assert.equal(own.port.open.mock.callCount(), 0);
      assert.equal(own.queue.dequeue.mock.callCount(), 1);
    }
  });

  test('a handled message is settled soon, also while the next handler runs', async () => {
    const own = ownQueue(messages(2));
    const running = deferred();
    const { poller } = makePoller({
      queue: own.queue,
      onMessage: ({ id }) => (id === 'm1' ? undefined : running.promise),
    });
    await poller.start();
    await settle();
    assert.equal(own.source.settle.mock.callCount(), 0);
    await advance(limits.settleDelayMs);
    assert.deepEqual(idsOf(firsts(own.source.settle)[0].completed), ['m1']);
    running.resolve();
    await settle();
    assert.equal(own.claimed.size, 0);
  });

  test('extends what it holds at a third of the lease, until it is settled', async () => {
    const own = ownQueue(messages(3));
    const running = deferred();
    const { poller } = makePoller({
      queue: own.queue,
      leaseMs: 3000,
      onMessage: () => running.promise,
    });
    await poller.start();
    await settle();
    await advance(3500, 500);
    assert.deepEqual(
      calls(own.source.extend).map(([claims, leaseMs]) => [idsOf(claims), leaseMs]),
      Array(3).fill([['m1', 'm2', 'm3'], 3000]),
    );
    running.resolve();
    await settle();
    await advance(9000, 1000);
    assert.equal(own.source.extend.mock.callCount(), 3);
  });

  test('does not start what it lost, and reports what it lost while it was handled', async () => {
    const own = ownQueue(messages(3));
    const running = deferred();
    const onMessage = mock.fn(() => running.promise);
    const { poller, errors } = makePoller({ queue: own.queue, leaseMs: 3000, onMessage });
    await poller.start();
    await settle();
    for (const { token, message } of own.claimed.values()) {
      if (message.id !== 'm3') own.claimed.delete(token);
    }
    await advance(1000);
    running.resolve();
    await settle();
    assert.deepEqual(
      firsts(onMessage).map(({ id }) => id),
      ['m1', 'm3'],
    );
    assert.deepEqual(
      errors.map(({ error, phase, message }) => [error.code, phase, message.id]),
      [['ERR_IPC_STALE_CLAIM', 'settle', 'm1']],
    );
  });

  test('a failed extension is reported and tried again', async () => {
    const own = ownQueue(messages(1));
    own.source.extend.mock.mockImplementation(() => {
      throw new Error('busy');
    });
    const running = deferred();
    const { poller, errors } = makePoller({
      queue: own.queue,
      leaseMs: 300,
      onMessage: () => running.promise,
    });
    await poller.start();
    await settle();
    await advance(200, 100);
    assert.deepEqual(
      errors.map(({ phase }) => phase),
      ['extend', 'extend'],
    );
    running.resolve();
    await settle();
    assert.equal(own.claimed.size, 0);
  });

  test('polls as soon as the doorbell rings, once for many rings', async () => {
    const own = ownQueue();
    const onMessage = mock.fn();
    const { poller } = makePoller({ queue: own.queue, onMessage });
    await poller.start();
    await settle();
    own.pending.push(message('a'));
    for (let rings = 0; rings < 10; rings += 1) own.source.ring();
    await settle();
    assert.deepEqual(firsts(onMessage), [message('a')]);
    // The first of the rings woke the poller, the others were one more poll together.
    assert.equal(own.source.claim.mock.callCount(), 3);
    await advance(999);
    assert.equal(own.source.claim.mock.callCount(), 3);
    await advance(1);
    assert.equal(own.source.claim.mock.callCount(), 4);
    await poller.stop();
    assert.equal(own.source.muted, true);
    own.source.ring();
    await settle();
    assert.equal(own.source.claim.mock.callCount(), 4);
  });

  test('the doorbell does not cut the wait after a failure', async () => {
    const own = ownQueue();
    const { claim } = own.source;
    own.source.claim = mock.fn(() => Promise.reject(new Error('SQLITE_BUSY')));
    const { poller } = makePoller({ queue: own.queue, onMessage() {} });
    await poller.start();
    await settle();
    own.source.claim = claim;
    own.source.ring();
    await settle();
    assert.equal(claim.mock.callCount(), 0);
    await advance(1000);
    assert.equal(claim.mock.callCount(), 1);
  });

  test('a doorbell that cannot be hung leaves the interval', async () => {
    const own = ownQueue(messages(1));
    own.source.onDoorbell = () => {
      throw new Error('no inotify');
    };
    const onMessage = mock.fn();
    const { poller, errors } = makePoller({ queue: own.queue, onMessage });
    await poller.start();
    await settle();
    assert.equal(onMessage.mock.callCount(), 1);
    assert.equal(errors.length, 1);
    await poller.stop();
  });

  test('stop releases at once what was not started, the batch claimed ahead included', async () => {
    const own = ownQueue(messages(5));
    const running = deferred();
    const { poller } = makePoller({
      queue: own.queue,
      batchSize: 2,
      onMessage: () => running.promise,
    });
    await poller.start();
    await settle();
    assert.equal(own.claimed.size, 4);
    const stopped = poller.stop();
    await settle();
    assert.deepEqual(own.pending.map(({ id }) => id).sort(), ['m2', 'm3', 'm4', 'm5']);
    running.resolve();
    await stopped;
    assert.equal(own.claimed.size, 0);
    assert.equal(own.pending.length, 4);
  });

  test('what was released too late is no error', async () => {
    const own = ownQueue(messages(2));
    const running = deferred();
    const { poller, errors } = makePoller({ queue: own.queue, onMessage: () => running.promise });
    await poller.start();
    await settle();
    for (const { token, message } of own.claimed.values()) {
      if (message.id === 'm2') own.claimed.delete(token);
    }
    const stopped = poller.stop();
    running.resolve();
    await stopped;
    assert.deepEqual(errors, []);
  });

  test('stop while a batch is being claimed ahead releases it before it resolves', async () => {
    const own = ownQueue(messages(3));
    const { claim } = own.source;
    const slow = deferred();
    const running = deferred();
    own.source.claim = mock.fn(async (limit) => {
      if (own.source.claim.mock.callCount() > 0) await slow.promise;
      return claim(limit);
    });
    const { poller } = makePoller({
      queue: own.queue,
      batchSize: 2,
      onMessage: () => running.promise,
    });
    await poller.start();
    await settle();
    const stopped = poller.stop();
    running.resolve();
    assert.equal(await isSettled(stopped), false);
    slow.resolve();
    await stopped;
    assert.equal(own.claimed.size, 0);
    assert.deepEqual(own.pending.map(({ id }) => id).sort(), ['m2', 'm3']);
  });

  test('what the source gives up is announced with the last error', async () => {
    const own = ownQueue([message('poison')]);
    const dead = mock.fn();
    let failures = 0;
    const { poller } = makePoller({
      queue: own.queue,
      onMessage: () => Promise.reject(new Error(`failure ${++failures}`)),
    });
    poller.on('deadLetter', dead);
    await poller.start();
    await advance(5000, 1000);
    assert.equal(dead.mock.callCount(), 1);
    const [[{ id }, { attempts, error }]] = calls(dead);
    assert.deepEqual([id, attempts, error.message], ['poison', 3, 'failure 3']);
    const failed = firsts(own.source.settle).flatMap(({ failed }) => failed);
    assert.deepEqual(
      failed.map(({ error }) => error),
      ['failure 1', 'failure 2', 'failure 3'],
    );
  });

  test('outcomes that cannot be settled are kept and settled later, before more is claimed', async () => {
    const own = ownQueue(messages(4));
    const { settle: settleClaims } = own.source;
    let broken = true;
    own.source.settle = mock.fn(async (settled) => {
      if (broken) throw new Error('SQLITE_BUSY');
      return settleClaims(settled);
    });
    const onMessage = mock.fn();
    const { poller, errors } = makePoller({ queue: own.queue, batchSize: 4, onMessage });
    await poller.start();
    await settle();
    await advance(7000, 1000);
    assert.equal(onMessage.mock.callCount(), 4, 'handled once');
    assert.deepEqual(
      errors.map(({ phase }) => phase),
      ['settle', 'settle', 'settle', 'settle'],
    );
    broken = false;
    await advance(8000, 1000);
    assert.equal(own.claimed.size, 0);
    assert.equal(onMessage.mock.callCount(), 4);
    await poller.stop();
  });

  test('a source that fails to settle does not keep stop from resolving', async () => {
    const own = ownQueue(messages(1));
    own.source.settle = () => Promise.reject(new Error('ERR_IPC_QUEUE_CLOSED'));
    const { poller, errors } = makePoller({ queue: own.queue, onMessage() {} });
    await poller.start();
    await settle();
    await poller.stop();
    assert.ok(errors.every(({ phase }) => phase === 'settle'));
  });

  test('cleanup runs beside the loop, and stop waits for it', async () => {
    const own = ownQueue();
    const cleaning = deferred();
    own.source.cleanup = mock.fn(() => cleaning.promise);
    const onMessage = mock.fn();
    const { poller } = makePoller({ queue: own.queue, onMessage, retentionHours: 3 });
    await poller.start();
    await settle();
    own.pending.push(message('a'));
    await advance(1000);
    assert.equal(onMessage.mock.callCount(), 1);
    assert.deepEqual(calls(own.source.cleanup), [[3]]);
    let stopped = false;
    const stopping = poller.stop().then(() => {
      stopped = true;
    });
    await settle();
    assert.equal(stopped, false);
    cleaning.resolve(1);
    await stopping;
  });

  test('a pause releases the rest of the batch and what was claimed ahead', async () => {
    const own = ownQueue(messages(300), { maxAttempts: 10 });
    const onMessage = mock.fn(() => Promise.reject(new Error('down')));
    const { poller } = makePoller({ queue: own.queue, batchSize: 30, onMessage });
    await poller.start();
    await settle(100);
    assert.equal(onMessage.mock.callCount(), 100);
    assert.equal(own.claimed.size, 0);
    assert.equal(own.pending.length, 300);
    await advance(1000);
    assert.equal(onMessage.mock.callCount(), 101);
    assert.deepEqual(calls(own.source.claim).at(-1), [1, limits.leaseMs]);
  });
});
