import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { describe, mock, test } from 'node:test';
import { limits } from '../dist/limits.js';
import { SQLiteQueuePoller } from '../dist/poller.js';
import {
  advance,
  calls,
  deferred,
  fakeQueue,
  fakeTimers,
  firsts,
  makePoller,
  message,
  messages,
  pollers,
  settle,
} from './support/poller.mjs';

fakeTimers();

describe('polling a duck-typed queue', () => {
  test('asks once per interval, inside the timer, for exactly batchSize', async () => {
    const queue = fakeQueue();
    const { poller } = makePoller({ queue, onMessage() {}, batchSize: 7, pollInterval: 200 });
    await poller.start();
    for (let polls = 1; polls <= 5; polls += 1) {
      assert.deepEqual(calls(queue.dequeue), Array(polls).fill([7]));
      mock.timers.tick(199);
      assert.equal(queue.dequeue.mock.callCount(), polls);
      mock.timers.tick(1);
    }
  });

  test('handles in order, one after the other, and marks each before the next', async () => {
    const log = [];
    const queue = fakeQueue(messages(3));
    queue.markProcessed = (id) => log.push(`mark ${id}`);
    const { poller } = makePoller({
      queue,
      onMessage: async ({ id }) => {
        log.push(`begin ${id}`);
        await settle(1);
        log.push(`end ${id}`);
      },
    });
    await poller.start();
    await settle();
    const expected = ['m1', 'm2', 'm3'].flatMap((id) => [`begin ${id}`, `end ${id}`, `mark ${id}`]);
    assert.deepEqual(log, expected);
  });

  test('marks one microtask after the handler resolved, as a plain await would', async () => {
    const queue = fakeQueue([message('a')]);
    const handled = deferred();
    const { poller } = makePoller({ queue, onMessage: () => handled.promise });
    await poller.start();
    handled.resolve();
    await undefined;
    assert.deepEqual(calls(queue.markProcessed), [['a']]);
  });

  for (const result of [undefined, null, 'rows', 7, {}, { length: 3 }, [null, undefined, 3]]) {
    test(`takes ${JSON.stringify(result)} for no messages, at once or by a promise`, async () => {
      const onMessage = mock.fn();
      const queue = fakeQueue();
      const results = [result, Promise.resolve(result), [message('a')]];
      queue.dequeue = mock.fn(() => results.shift());
      const { poller, errors } = makePoller({ queue, onMessage });
      await poller.start();
      await settle();
      await advance(3000, 1000);
      assert.deepEqual(firsts(onMessage), [message('a')]);
      assert.deepEqual(errors, []);
    });
  }

  test('mocks that return undefined from every method do not disturb it', async () => {
    const queue = { dequeue: mock.fn(), markProcessed: mock.fn(), cleanup: mock.fn() };
    const { poller, errors } = makePoller({ queue, onMessage() {} });
    await poller.start();
    await advance(5000, 1000);
    assert.equal(queue.dequeue.mock.callCount(), 6);
    assert.deepEqual(errors, []);
    await poller.stop();
  });

  test('drains a queue that answers with promises', async () => {
    const queue = fakeQueue(messages(5));
    const { dequeue, markProcessed } = queue;
    queue.dequeue = async (limit) => {
      await settle(1);
      return dequeue(limit);
    };
    queue.markProcessed = async (id) => {
      await settle(1);
      markProcessed(id);
    };
    const onMessage = mock.fn();
    const { poller } = makePoller({ queue, onMessage, batchSize: 2 });
    await poller.start();
    await settle(60);
    assert.deepEqual(firsts(onMessage), messages(5));
    assert.deepEqual(calls(dequeue), [[2], [2], [2]]);
  });

  test('drains until empty, without waiting for the interval', async () => {
    const queue = fakeQueue(messages(230));
    const onMessage = mock.fn();
    const drained = mock.fn();
    const { poller } = makePoller({ queue, onMessage });
    poller.on('drained', drained);
    await poller.start();
    await settle();
    assert.deepEqual(firsts(onMessage), messages(230));
    assert.deepEqual(calls(queue.dequeue), Array(5).fill([50]));
    assert.deepEqual(calls(drained), [[230]]);
    await advance(2000, 1000);
    assert.deepEqual(calls(drained), [[230]], 'polls that find nothing are not announced');
  });

  test('a full batch that always returns is handled once per interval', async () => {
    const queue = { dequeue: mock.fn(() => messages(2)), markProcessed: mock.fn(), cleanup() {} };
    const onMessage = mock.fn();
    const { poller } = makePoller({ queue, onMessage, batchSize: 2 });
    await poller.start();
    await settle();
    assert.equal(onMessage.mock.callCount(), 2);
    await advance(1000);
    assert.equal(onMessage.mock.callCount(), 4);
    assert.equal(queue.markProcessed.mock.callCount(), 4);
  });

  test('messages of one batch that share an id are all handled', async () => {
    const queue = fakeQueue();
    queue.dequeue = mock.fn(() =>
      queue.dequeue.mock.callCount() === 0 ? [1, 1, 1].map(() => message('a')) : [],
    );
    const onMessage = mock.fn();
    const { poller } = makePoller({ queue, onMessage });
    await poller.start();
    await settle();
    assert.equal(onMessage.mock.callCount(), 3);
  });

  test('work without end leaves the event loop its turns while the clock stands still', async () => {
    for (const batchSize of [1, 50, 50_000]) {
      let made = 0;
      const queue = {
        dequeue: (limit) => messages(limit, `${made++}-`),
        markProcessed() {},
        cleanup() {},
      };
      const onMessage = mock.fn();
      const { poller } = makePoller({ queue, onMessage, batchSize });
      await poller.start();
      await settle(3);
      const handled = onMessage.mock.callCount();
      assert.ok(handled >= limits.turnMessagesMax, `${handled} handled`);
      await poller.stop();
    }
  });

  test('handles up to `concurrency` at once, started in order', async () => {
    const queue = fakeQueue(messages(5));
    const started = new Map();
    const { poller } = makePoller({
      queue,
      concurrency: 2,
      onMessage: ({ id }) => {
        started.set(id, deferred());
        return started.get(id).promise;
      },
    });
    await poller.start();
    assert.deepEqual([...started.keys()], ['m1', 'm2']);
    started.get('m2').resolve();
    await settle();
    assert.deepEqual([...started.keys()], ['m1', 'm2', 'm3']);
    assert.deepEqual(calls(queue.markProcessed), [['m2']]);
    for (const id of ['m3', 'm1']) started.get(id).resolve();
    await settle();
    for (const id of ['m4', 'm5']) started.get(id).resolve();
    await settle();
    assert.deepEqual(queue.rows, []);
  });

  test('an interval beyond what a timer can count is cut, not fired at once', async () => {
    const delays = [];
    const { setTimeout } = globalThis;
    mock.method(globalThis, 'setTimeout', (fire, delay) => {
      delays.push(delay);
      return setTimeout(fire, delay);
    });
    const { poller } = makePoller({ queue: fakeQueue(), onMessage() {}, pollInterval: 2 ** 40 });
    await poller.start();
    assert.deepEqual(delays, [2 ** 31 - 1]);
  });
});

describe('cleanup', () => {
  test('follows the first drained poll and then comes once per interval', async () => {
    const log = [];
    const queue = fakeQueue(messages(3));
    queue.cleanup = mock.fn(() => log.push('cleanup'));
    const { poller } = makePoller({
      queue,
      batchSize: 2,
      cleanupIntervalMs: 10_000,
      onMessage: ({ id }) => void log.push(id),
    });
    await poller.start();
    await settle();
    assert.deepEqual(log, ['m1', 'm2', 'm3', 'cleanup']);
    await advance(9000, 1000);
    assert.equal(queue.cleanup.mock.callCount(), 1);
    await advance(1000);
    assert.equal(queue.cleanup.mock.callCount(), 2);
    assert.deepEqual(calls(queue.cleanup), [[], []], 'the queue applies its own retention');
  });

  test('is hourly by default and passes on the retention it was given', async () => {
    const queue = fakeQueue();
    const { poller } = makePoller({
      queue,
      onMessage() {},
      pollInterval: 60_000,
      retentionHours: 2,
    });
    await poller.start();
    await advance(59 * 60_000, 60_000);
    assert.deepEqual(calls(queue.cleanup), [[2]]);
    await advance(60_000);
    assert.deepEqual(calls(queue.cleanup), [[2], [2]]);
  });

  test('happens also while the queue is never drained', async () => {
    const queue = fakeQueue();
    let made = 0;
    queue.dequeue = (limit) => messages(limit, `${made++}-`);
    const { poller } = makePoller({
      queue,
      cleanupIntervalMs: 5000,
      onMessage: () => new Promise((resolve) => setTimeout(resolve, 100)),
    });
    await poller.start();
    await advance(11_000, 100);
    assert.equal(queue.cleanup.mock.callCount(), 2);
  });

  test('fails without consequences', async () => {
    for (const failure of [
      () => {
        throw new Error('disk');
      },
      () => Promise.reject(new Error('disk')),
    ]) {
      const queue = fakeQueue();
      queue.cleanup = failure;
      const { poller, errors } = makePoller({ queue, onMessage() {} });
      await poller.start();
      await settle();
      assert.deepEqual(
        errors.map(({ phase }) => phase),
        ['cleanup'],
      );
      const polls = queue.dequeue.mock.callCount();
      await advance(1000);
      assert.equal(queue.dequeue.mock.callCount(), polls + 1);
      await poller.stop();
    }
  });
});

describe('events', () => {
  test('errors that nobody listens to go to the console', async () => {
    const log = mock.method(console, 'error', () => {});
    const queue = fakeQueue([message('a')]);
    const failure = new Error('boom');
    const poller = new SQLiteQueuePoller({
      queue,
      onMessage: async () => {
        throw failure;
      },
    });
    pollers.push(poller);
    await poller.start();
    await settle();
    assert.deepEqual(calls(log), [['SQLiteQueuePoller: handle failed (message a):', failure]]);
  });

  test('polls that fail in a row are counted until one succeeds', async () => {
    const queue = fakeQueue([message('a')]);
    const { dequeue } = queue;
    let handling;
    const { poller } = makePoller({
      queue,
      pollInterval: 10,
      onMessage() {
        handling = poller.stats().failedPollsInRow;
      },
    });
    const failedPolls = () => poller.stats().failedPollsInRow;
    queue.dequeue = () => {
      throw new Error('disk full');
    };
    assert.equal(failedPolls(), 0);
    await poller.start();
    await settle();
    assert.equal(failedPolls(), 1);
    await advance(10);
    assert.equal(failedPolls(), 2);
    queue.dequeue = dequeue;
    await advance(20);
    assert.equal(handling, 0, 'a long drain is not held to the failure before it');
    assert.equal(failedPolls(), 0);
    assert.equal(poller.stats().queueErrors, 2);
  });

  test('a listener that throws does not end the loop', async () => {
    const log = mock.method(console, 'error', () => {});
    const queue = fakeQueue([message('a')]);
    const { poller } = makePoller({ queue, onMessage() {} });
    poller.on('drained', () => {
      throw new Error('listener');
    });
    await poller.start();
    await settle();
    await advance(1000);
    assert.equal(queue.dequeue.mock.callCount(), 2);
    assert.equal(log.mock.callCount(), 1);
  });

  test('a listener may stop the poller', async () => {
    const queue = fakeQueue([message('a')]);
    const { poller } = makePoller({ queue, onMessage() {} });
    poller.on('drained', () => void poller.stop());
    await poller.start();
    await advance(3000, 1000);
    assert.equal(queue.dequeue.mock.callCount(), 1);
    assert.equal(poller.isRunning(), false);
  });

  test("it is one of Node's emitters, whose error event does not throw", async () => {
    const { poller } = makePoller({ queue: fakeQueue(), onMessage() {} });
    assert.ok(poller instanceof EventEmitter);
    poller.removeAllListeners('error');
    assert.equal(poller.emit('error', new Error('unheard'), { phase: 'claim' }), false);
    const drained = once(poller, 'drained');
    await poller.start();
    assert.deepEqual(await drained, [0]);
  });

  test('what was thrown arrives as it is, whatever it is', async () => {
    const hostile = {
      get message() {
        throw new Error('no text');
      },
    };
    for (const thrown of [undefined, null, 'text', 7, Object.create(null), hostile]) {
      const { poller, errors } = makePoller({
        queue: fakeQueue([message('a')]),
        onMessage: () => Promise.reject(thrown),
      });
      await poller.start();
      await settle();
      assert.deepEqual(errors.length, 1);
      assert.ok(Object.is(errors[0].error, thrown));
      await poller.stop();
    }
  });
});
