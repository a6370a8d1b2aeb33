import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, mock, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SQLiteQueuePoller } from '../dist/poller.js';
import {
  advance,
  calls,
  deferred,
  fakeQueue,
  fakeTimers,
  firsts,
  isSettled,
  makePoller,
  message,
  messages,
  settle,
} from './support/poller.mjs';

const POLLER_PATH = fileURLToPath(new URL('../dist/poller.js', import.meta.url));

fakeTimers();

describe('options', () => {
  const queue = { dequeue() {}, markProcessed() {}, cleanup() {} };
  const onMessage = () => {};
  const { dequeue, ...withoutDequeue } = queue;
  const { markProcessed, ...withoutMarkProcessed } = queue;
  const { cleanup, ...withoutCleanup } = queue;
  const cases = [
    ['no options', undefined],
    ['null', null],
    ['no queue', { onMessage }],
    ['a queue without dequeue', { queue: withoutDequeue, onMessage }],
    ['a queue without markProcessed', { queue: withoutMarkProcessed, onMessage }],
    ['a queue without cleanup', { queue: withoutCleanup, onMessage }],
    ['a handler that is no function', { queue, onMessage: 'handler' }],
    ['a null handler', { queue, onMessage: null }],
    ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY, '1000', null].flatMap((value) =>
      ['pollInterval', 'retryDelayMs', 'leaseMs', 'cleanupIntervalMs', 'batchSize'].map((name) => [
        `${name} ${value}`,
        { queue, onMessage, [name]: value },
      ]),
    ),
    ['batchSize 1.5', { queue, onMessage, batchSize: 1.5 }],
    ['concurrency 0', { queue, onMessage, concurrency: 0 }],
    ['maxAttempts 0', { queue, onMessage, maxAttempts: 0 }],
    ['retentionHours -1', { queue, onMessage, retentionHours: -1 }],
  ];
  for (const [name, options] of cases) {
    test(`refuses ${name}`, () => {
      assert.throws(() => new SQLiteQueuePoller(options), {
        name: 'IpcError',
        code: 'ERR_IPC_INVALID_ARGUMENT',
      });
    });
  }

  test('maxAttempts may be Infinity, and undefined means the default everywhere', () => {
    new SQLiteQueuePoller({ queue, onMessage, maxAttempts: Number.POSITIVE_INFINITY });
    new SQLiteQueuePoller({ queue, onMessage, pollInterval: undefined, batchSize: undefined });
  });

  test('stop refuses a deadline that is none', async () => {
    const { poller } = makePoller({ queue, onMessage });
    for (const deadlineMs of [-1, Number.NaN, '5']) {
      await assert.rejects(poller.stop({ deadlineMs }), { code: 'ERR_IPC_INVALID_ARGUMENT' });
    }
  });
});

describe('start', () => {
  test('rejects while running', async () => {
    const { poller } = makePoller({ queue: fakeQueue(), onMessage() {} });
    assert.equal(poller.isRunning(), false);
    await poller.start();
    assert.equal(poller.isRunning(), true);
    await assert.rejects(poller.start(), {
      message: 'Poller is already running',
      code: 'ERR_IPC_ALREADY_RUNNING',
    });
    await poller.stop();
    assert.equal(poller.isRunning(), false);
  });

  test('rejects without a handler, which may be set later and replaced', async () => {
    const queue = fakeQueue([message('a')]);
    const { poller } = makePoller({ queue });
    await assert.rejects(poller.start(), {
      message: 'onMessage handler must be set before starting the poller',
    });
    assert.throws(() => poller.setOnMessage(undefined), { code: 'ERR_IPC_INVALID_ARGUMENT' });
    const first = mock.fn();
    const second = mock.fn();
    poller.setOnMessage(first);
    await poller.start();
    await settle();
    poller.setOnMessage(second);
    queue.rows.push(message('b'));
    await advance(1000);
    assert.deepEqual([firsts(first), firsts(second)], [[message('a')], [message('b')]]);
  });

  test('polls at once and does not wait for the batch', async () => {
    const queue = fakeQueue([message('a')]);
    const { poller } = makePoller({ queue, onMessage: () => new Promise(() => {}) });
    const started = poller.start();
    assert.deepEqual(calls(queue.dequeue), [[50]]);
    await started;
  });
});

describe('stop', () => {
  /** A poller with one handler that runs until it is told otherwise. */
  async function busy(options) {
    const queue = fakeQueue(messages(3));
    const running = deferred();
    const onMessage = mock.fn(() => running.promise);
    const made = makePoller({ queue, onMessage, ...options });
    await made.poller.start();
    return { ...made, queue, running, onMessage };
  }

  test('does nothing on a poller that does not run', async () => {
    const { poller } = makePoller({ queue: fakeQueue(), onMessage() {} });
    await poller.stop();
    await poller.start();
    await poller.stop();
    await poller.stop();
  });

  test('leaves no timer behind', async () => {
    const pending = new Set();
    const { setTimeout, clearTimeout } = globalThis;
    mock.method(globalThis, 'setTimeout', (fire, delay) => {
      const timer = setTimeout(() => {
        pending.delete(timer);
        fire();
      }, delay);
      pending.add(timer);
      return timer;
    });
    mock.method(globalThis, 'clearTimeout', (timer) => {
      pending.delete(timer);
      clearTimeout(timer);
    });
    const queue = fakeQueue(messages(3));
    const { poller } = makePoller({ queue, onMessage: async () => {} });
    await poller.start();
    await settle();
    assert.equal(pending.size, 1, 'between polls there is one timer');
    await advance(1000);
    assert.equal(pending.size, 1);
    await poller.stop();
    assert.equal(pending.size, 0);
    assert.equal(queue.dequeue.mock.callCount(), 2);
  });

  test('waits for the running handler and starts no other', async () => {
    const { poller, queue, running, onMessage } = await busy();
    const stopped = poller.stop();
    assert.equal(poller.isRunning(), false);
    assert.equal(await isSettled(stopped), false);
    running.resolve();
    await stopped;
    assert.deepEqual(calls(queue.markProcessed), [['m1']]);
    assert.equal(onMessage.mock.callCount(), 1);
    await advance(10_000, 1000);
    assert.equal(queue.dequeue.mock.callCount(), 1);
  });

  test('gives up waiting at the deadline; the handler still counts when it ends', async () => {
    for (const [options, deadlineMs] of [
      [undefined, 5000],
      [{}, 5000],
      [{ deadlineMs: 70 }, 70],
    ]) {
      const { poller, queue, running, onMessage } = await busy();
      const stopped = poller.stop(options);
      await advance(deadlineMs - 1);
      assert.equal(await isSettled(stopped), false);
      await advance(1);
      await stopped;
      assert.deepEqual(calls(queue.markProcessed), []);
      running.resolve();
      await settle();
      assert.deepEqual(calls(queue.markProcessed), [['m1']]);
      assert.equal(onMessage.mock.callCount(), 1);
    }
  });

  test('waits as long as it takes when the deadline is Infinity', async () => {
    const { poller, running } = await busy();
    const stopped = poller.stop({ deadlineMs: Number.POSITIVE_INFINITY });
    await advance(3_600_000);
    assert.equal(await isSettled(stopped), false);
    running.resolve();
    await stopped;
  });

  test('several calls share one outcome', async () => {
    const { poller, running } = await busy();
    const stops = [poller.stop(), poller.stop(), poller.stop({ deadlineMs: 0 })];
    for (const stopped of stops) assert.equal(await isSettled(stopped), false);
    running.resolve();
    await Promise.all(stops);
  });

  test('inside a handler resolves at once, also after the handler awaited something', async () => {
    for (const before of [() => {}, () => settle(1)]) {
      const queue = fakeQueue(messages(3));
      const stoppedInside = mock.fn();
      const { poller } = makePoller({
        queue,
        concurrency: 2,
        onMessage: async () => {
          await before();
          await poller.stop();
          stoppedInside();
        },
      });
      await poller.start();
      await settle();
      assert.equal(stoppedInside.mock.callCount(), 2);
      await poller.stop();
      assert.deepEqual(queue.rows, [message('m3')]);
      await advance(5000, 1000);
      assert.equal(queue.dequeue.mock.callCount(), 1);
    }
  });

  test('inside a handler does not end the wait of those outside', async () => {
    const queue = fakeQueue([message('a')]);
    const running = deferred();
    const { poller } = makePoller({
      queue,
      onMessage: async () => {
        await poller.stop();
        await running.promise;
      },
    });
    await poller.start();
    await settle();
    const stopped = poller.stop();
    assert.equal(await isSettled(stopped), false);
    running.resolve();
    await stopped;
    assert.deepEqual(queue.rows, []);
  });

  test('by what a handler left behind waits for the handlers that run', async () => {
    const queue = fakeQueue(messages(2));
    const goOn = deferred();
    const running = deferred();
    let stopped;
    const { poller } = makePoller({
      queue,
      onMessage: ({ id }) => {
        if (id === 'm2') return running.promise;
        void goOn.promise.then(() => {
          stopped = poller.stop();
        });
      },
    });
    await poller.start();
    await settle();
    goOn.resolve();
    await settle();
    assert.equal(await isSettled(stopped), false);
    running.resolve();
    await stopped;
    assert.deepEqual(queue.rows, []);
  });

  test('then start gives one loop, whose first poll waits for the handler before', async () => {
    const { poller, queue, running, onMessage } = await busy();
    void poller.stop();
    await poller.start();
    assert.equal(poller.isRunning(), true);
    await settle();
    assert.equal(queue.dequeue.mock.callCount(), 1);
    running.resolve();
    await settle();
    assert.deepEqual(
      firsts(onMessage).map(({ id }) => id),
      ['m1', 'm2', 'm3'],
    );
    const polls = queue.dequeue.mock.callCount();
    await advance(3000, 1000);
    assert.equal(queue.dequeue.mock.callCount(), polls + 3);
  });

  test('start and stop in any order leave the last word to the last call', async () => {
    const { poller, queue, running } = await busy();
    void poller.stop();
    await poller.start();
    const stopped = poller.stop();
    running.resolve();
    await stopped;
    assert.equal(poller.isRunning(), false);
    await advance(3000, 1000);
    assert.equal(queue.dequeue.mock.callCount(), 1);
  });

  test('a handler that outlives its poller keeps its message from the next one', async () => {
    const { poller, queue, running, onMessage } = await busy();
    await poller.stop({ deadlineMs: 0 });
    await poller.start();
    assert.deepEqual(
      firsts(onMessage).map(({ id }) => id),
      ['m1', 'm2'],
    );
    running.resolve();
    await settle();
    assert.deepEqual(
      firsts(onMessage).map(({ id }) => id),
      ['m1', 'm2', 'm3'],
    );
    assert.deepEqual(queue.rows, []);
  });

  test('while the queue is still answering hands nothing to the handler', async () => {
    const answer = deferred();
    const queue = { dequeue: () => answer.promise, markProcessed() {}, cleanup() {} };
    const onMessage = mock.fn();
    const { poller } = makePoller({ queue, onMessage });
    await poller.start();
    const stopped = poller.stop();
    answer.resolve(messages(3));
    await stopped;
    assert.equal(onMessage.mock.callCount(), 0);
  });
});

describe('the life of the process', () => {
  /** Runs a script with a poller; resolves with what it printed when it ended by itself. */
  function run(script) {
    const prelude = `
      const { SQLiteQueuePoller } = require(${JSON.stringify(POLLER_PATH)});
      const rows = [{ id: 'a', type: 't', payload: 1, timestamp: 1 }];
      const queue = { dequeue: () => rows.slice(), markProcessed: () => rows.pop(), cleanup: () => 0 };
      // Fires only if something else keeps the process alive, and is not what keeps it alive.
      const watch = () => setTimeout(() => { console.log('alive'); process.exit(); }, 400).unref();
      process.on('exit', () => console.log('exit'));
    `;
    return new Promise((resolve, reject) => {
      execFile(process.execPath, ['-e', prelude + script], { timeout: 20_000 }, (error, stdout) =>
        error ? reject(error) : resolve(stdout.trim().split('\n')),
      );
    });
  }
  const cases = [
    [
      'a running poller keeps it alive between polls',
      `new SQLiteQueuePoller({ queue, onMessage() {}, pollInterval: 100_000 }).start(); watch();`,
      ['alive', 'exit'],
    ],
    [
      'and while a handler waits for something that does not',
      `new SQLiteQueuePoller({ queue, onMessage: () => new Promise(() => {}) }).start(); watch();`,
      ['alive', 'exit'],
    ],
    [
      'a stopped poller does not',
      `const poller = new SQLiteQueuePoller({ queue, onMessage() {} });
       poller.start().then(() => poller.stop()); watch();`,
      ['exit'],
    ],
    [
      'nor one that was never started',
      `new SQLiteQueuePoller({ queue, onMessage() {} }); watch();`,
      ['exit'],
    ],
    [
      'nor one that stopped waiting for a handler',
      `const poller = new SQLiteQueuePoller({ queue, onMessage: () => new Promise(() => {}) });
       poller.start().then(() => poller.stop({ deadlineMs: 1 })).then(watch);`,
      ['exit'],
    ],
    [
      'handlers that fail do not end it',
      `console.error = () => {};
       const poller = new SQLiteQueuePoller({ queue, onMessage() { throw new Error('no'); } });
       poller.start(); watch();`,
      ['alive', 'exit'],
    ],
  ];
  for (const [name, script, expected] of cases) {
    test(name, async () => assert.deepEqual(await run(script), expected));
  }
});
