import assert from 'node:assert/strict';
import { describe, mock, test } from 'node:test';
import { limits } from '../dist/limits.js';
import {
  advance,
  calls,
  deferred,
  fakeQueue,
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

  describe('when the process was stopped for longer than a lease', () => {
    /** A poller that was stopped while the first of its messages was handled. */
    async function resumed(options) {
      const own = ownQueue(messages(6));
      const handling = deferred();
      const seen = [];
      const { errors, poller } = makePoller({
        queue: own.queue,
        onMessage: ({ id }) => {
          seen.push(id);
          return id === 'm1' ? handling.promise : undefined;
        },
        ...options,
      });
      let stoppedMs = 0;
      for (const clock of [performance, Date]) {
        const now = clock.now.bind(clock);
        mock.method(clock, 'now', () => now() + stoppedMs);
      }
      await poller.start();
      await settle();
      stoppedMs = limits.leaseMs;
      const lose = (...ids) => {
        for (const { token, message } of own.claimed.values()) {
          if (ids.includes(message.id)) own.claimed.delete(token);
        }
      };
      const goOn = async () => {
        handling.resolve();
        await settle(40);
      };
      return { own, seen, errors, lose, goOn };
    }

    for (const batchSize of [2, 3, 50]) {
      test(`starts no handler of a message that somebody else has, ${batchSize} at a time`, async () => {
        const { own, seen, errors, lose, goOn } = await resumed({ batchSize });
        lose('m2', 'm3');
        const { extend } = own.source;
        const answered = deferred();
        own.source.extend = mock.fn(async (...args) => {
          await answered.promise;
          return extend(...args);
        });
        await goOn();
        assert.deepEqual(seen, ['m1'], 'waits for the answer');
        answered.resolve();
        await settle(40);
        assert.deepEqual(seen, ['m1', 'm4', 'm5', 'm6']);
        assert.equal(own.source.extend.mock.callCount(), 1, 'asked once for all of them');
        assert.deepEqual(errors, []);
      });
    }

    test('gives back what it cannot ask for', async () => {
      const { own, seen, errors, goOn } = await resumed();
      own.source.extend = mock.fn(() => Promise.reject(new Error('SQLITE_BUSY')));
      await goOn();
      await advance(limits.settleDelayMs);
      assert.deepEqual(seen[0], 'm1');
      assert.deepEqual(
        firsts(own.source.settle).flatMap(({ released }) => idsOf(released)),
        ['m2', 'm3', 'm4', 'm5', 'm6'],
      );
      assert.deepEqual(
        errors.map(({ phase }) => phase),
        ['extend'],
      );
      await advance(1000);
      assert.deepEqual([...seen].sort(), ['m1', 'm2', 'm3', 'm4', 'm5', 'm6'], 'claimed anew');
    });
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
    const claims = own.source.claim.mock.callCount();
    await advance(1000);
    assert.equal(onMessage.mock.callCount(), 101);
    assert.deepEqual(calls(own.source.claimLeastTried), [[limits.leaseMs]]);
    assert.equal(own.source.claim.mock.callCount(), claims);
  });
});

describe('messages to be delivered alone', () => {
  /** A source in whose answers the messages of these ids have to be claimed alone. */
  function suspecting(own, ids) {
    const { claim } = own.source;
    own.source.claim = mock.fn(async (limit, leaseMs, alone) => {
      const at = own.pending.findIndex(({ id }) => ids.includes(id));
      if (at < 0) return claim(limit, leaseMs);
      if (at === 0 && alone) return claim(1, leaseMs);
      const claims = at === 0 ? [] : await claim(Math.min(limit, at), leaseMs);
      return Object.assign(claims, at < limit ? { isNextAlone: true } : {});
    });
  }

  test('wait for the handlers that run, and others wait for theirs', async () => {
    const own = ownQueue(messages(6));
    suspecting(own, ['m3', 'm4']);
    const doors = new Map(messages(6).map(({ id }) => [id, deferred()]));
    const seen = [];
    const { poller, errors } = makePoller({
      queue: own.queue,
      concurrency: 8,
      onMessage: ({ id }) => {
        seen.push(id);
        return doors.get(id).promise;
      },
    });
    const drained = mock.fn();
    poller.on('drained', drained);
    await poller.start();
    await settle();
    const begun = [];
    for (const id of ['m2', 'm1', 'm3', 'm4', 'm5', 'm6']) {
      begun.push(seen.length);
      doors.get(id).resolve();
      await settle();
    }
    assert.deepEqual(begun, [2, 2, 3, 4, 6, 6]);
    assert.deepEqual(
      seen,
      messages(6).map(({ id }) => id),
    );
    assert.deepEqual([calls(drained), own.claimed.size, errors], [[[6]], 0, []]);
  });

  test('do not wait for handlers that may never end, nor do others for theirs', async () => {
    const own = ownQueue(messages(4));
    suspecting(own, ['m2', 'm3']);
    const seen = [];
    const { poller } = makePoller({
      queue: own.queue,
      concurrency: 8,
      leaseMs: 3_600_000,
      onMessage: ({ id }) => {
        seen.push(id);
        return id === 'm1' || id === 'm3' ? new Promise(() => {}) : undefined;
      },
    });
    await poller.start();
    await settle();
    await advance(limits.quietMs - 1);
    assert.deepEqual(seen, ['m1']);
    await advance(1);
    await settle();
    assert.deepEqual(seen, ['m1', 'm2', 'm3'], 'the second need not wait again');
    await advance(limits.quietMs);
    await settle();
    assert.deepEqual(seen, ['m1', 'm2', 'm3', 'm4']);
    await poller.stop({ deadlineMs: 0 });
  });
});

describe('handlers that take their time', () => {
  /** A handler whose messages wait until they are let through; `seen` has all that began. */
  function waiting(ids) {
    const doors = new Map(ids.map((id) => [id, deferred()]));
    const seen = [];
    const onMessage = ({ id }) => {
      seen.push(id);
      return doors.get(id)?.promise;
    };
    return { doors, seen, onMessage };
  }

  test('keep one place each, and nobody waits for them', async () => {
    const own = ownQueue(messages(120));
    const { doors, seen, onMessage } = waiting(['m1', 'm50']);
    const drained = mock.fn();
    const { poller, errors } = makePoller({
      queue: own.queue,
      batchSize: 10,
      concurrency: 3,
      onMessage,
    });
    poller.on('drained', drained);
    await poller.start();
    await settle(120);
    assert.deepEqual(
      seen,
      messages(120).map(({ id }) => id),
    );
    await advance(limits.settleDelayMs);
    assert.deepEqual(idsOf([...own.claimed.values()]), ['m1', 'm50']);
    assert.ok(own.source.settle.mock.callCount() <= own.source.claim.mock.callCount() + 2);
    assert.equal(drained.mock.callCount(), 0, 'something is still being done');
    // What comes meanwhile is noticed by the doorbell, and without it by the interval.
    own.pending.push(message('rung'));
    own.source.ring();
    await settle();
    own.pending.push(message('polled'));
    await advance(1000);
    assert.deepEqual(seen.slice(120), ['rung', 'polled']);
    for (const door of doors.values()) door.resolve();
    await settle();
    assert.deepEqual(calls(drained), [[122]]);
    assert.equal(own.claimed.size, 0);
    assert.deepEqual(errors, []);
  });

  test('that have all the places stop the claims until one is free', async () => {
    const own = ownQueue(messages(4));
    const { doors, seen, onMessage } = waiting(['m1', 'm2', 'm3', 'm4']);
    makePoller({ queue: own.queue, batchSize: 2, concurrency: 2, onMessage }).poller.start();
    await settle();
    await advance(5000, 1000);
    assert.deepEqual(seen, ['m1', 'm2']);
    assert.equal(own.source.claim.mock.callCount(), 2, 'one batch and the one ahead');
    doors.get('m2').resolve();
    await settle();
    assert.deepEqual(seen, ['m1', 'm2', 'm3']);
  });

  test('are waited for by stop, also between two polls', async () => {
    const own = ownQueue(messages(3));
    const { doors, onMessage } = waiting(['m1']);
    const { poller } = makePoller({ queue: own.queue, concurrency: 2, onMessage });
    await poller.start();
    await settle();
    const stopped = poller.stop();
    assert.equal(await isSettled(stopped), false);
    doors.get('m1').resolve();
    await stopped;
    assert.deepEqual([own.claimed.size, own.pending.length], [0, 0]);
  });

  test('may also be the one that tries whether handlers work again', async () => {
    const own = ownQueue(messages(104), { maxAttempts: 10 });
    const never = deferred();
    const seen = [];
    let isDown = true;
    await started({
      queue: own.queue,
      batchSize: 10,
      concurrency: 3,
      onMessage: ({ id }) => {
        seen.push(id);
        if (seen.length === 1 || seen.length === 102) return never.promise;
        if (isDown) throw new Error('down');
      },
    });
    await settle(120);
    assert.equal(seen.length, 101, 'one that runs, and a hundred failures in a row');
    isDown = false;
    await advance(1000);
    assert.equal(seen.length, 102);
    await advance(999);
    assert.equal(seen.length, 102, 'one is tried at a time');
    await advance(1);
    await settle(120);
    await advance(limits.settleDelayMs);
    assert.deepEqual(idsOf([...own.claimed.values()]), [seen[0], seen[101]]);
    assert.equal(own.pending.length, 0);
  });

  test('what cannot be settled beside them is settled soon, however long the interval', async () => {
    const own = ownQueue(messages(2));
    const { settle: settleClaims } = own.source;
    let broken = true;
    own.source.settle = mock.fn(async (settled) => {
      if (broken) throw new Error('SQLITE_BUSY');
      return settleClaims(settled);
    });
    const { doors, seen, onMessage } = waiting(['m1', 'm2']);
    const { errors } = await started({ queue: own.queue, concurrency: 3, onMessage });
    await settle();
    doors.get('m2').resolve();
    await settle();
    await advance(limits.settleDelayMs);
    assert.deepEqual(
      errors.map(({ phase }) => phase),
      ['settle'],
    );
    broken = false;
    own.pending.push(message('next'));
    await advance(1000);
    await advance(limits.settleDelayMs);
    assert.deepEqual(idsOf([...own.claimed.values()]), ['m1']);
    assert.deepEqual(seen, ['m1', 'm2', 'next']);
  });

  test('of a queue without claims stop nothing either', async () => {
    const queue = fakeQueue(messages(5));
    const { seen, onMessage } = waiting(['m1']);
    await started({ queue, batchSize: 2, concurrency: 2, onMessage });
    await settle();
    assert.deepEqual(seen, ['m1', 'm2', 'm3', 'm4', 'm5']);
    queue.rows.push(message('later'));
    await advance(1000);
    assert.equal(seen.at(-1), 'later');
    assert.deepEqual(
      queue.rows.map(({ id }) => id),
      ['m1'],
    );
  });

  async function started(options) {
    const made = makePoller(options);
    await made.poller.start();
    return made;
  }
});
