import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { limits } from '../dist/limits.js';
import { messageSource } from '../dist/message-source.js';
import { SQLiteQueuePoller } from '../dist/poller.js';

const POLLER_PATH = fileURLToPath(new URL('../dist/poller.js', import.meta.url));

/** Lets promises and turns of the event loop happen; no clock is involved. */
async function settle(turns = 20) {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Whether a promise is settled once everything that can happen without a clock has happened. */
async function isSettled(promise) {
  const pending = Symbol('pending');
  await settle();
  return (await Promise.race([promise, Promise.resolve(pending)])) !== pending;
}

/** Advances the faked timers, with everything that they set off, `step` by `step`. */
async function advance(ms, step = ms) {
  for (let passed = 0; passed < ms; passed += step) {
    mock.timers.tick(Math.min(step, ms - passed));
    await settle(5);
  }
}

function message(id, more) {
  return { id, type: 'test', payload: { id }, timestamp: 1, ...more };
}

function messages(count, prefix = 'm') {
  return Array.from({ length: count }, (_, index) => message(`${prefix}${index + 1}`));
}

/** A promise with its handles, as `Promise.withResolvers` of later Node lines. */
function deferred() {
  const handles = {};
  handles.promise = new Promise((resolve, reject) => Object.assign(handles, { resolve, reject }));
  return handles;
}

/** What services inject: a queue in memory that records how it is called. */
function fakeQueue(initial = []) {
  const rows = [...initial];
  return {
    rows,
    dequeue: mock.fn((limit) => rows.slice(0, limit)),
    markProcessed: mock.fn((id) => {
      const index = rows.findIndex((row) => row.id === id);
      if (index >= 0) rows.splice(index, 1);
    }),
    cleanup: mock.fn(() => 0),
  };
}

const calls = (fn) => fn.mock.calls.map(({ arguments: args }) => args);
const firsts = (fn) => calls(fn).map(([first]) => first);

/** A poller whose errors are collected; every one of them is stopped after its test. */
const pollers = [];
function makePoller(options) {
  const poller = new SQLiteQueuePoller(options);
  const errors = [];
  poller.on('error', (error, context) => errors.push({ error, ...context }));
  pollers.push(poller);
  return { poller, errors };
}

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'] }));
afterEach(async () => {
  for (const poller of pollers.splice(0)) void poller.stop({ deadlineMs: 0 });
  await settle(2);
  mock.timers.reset();
  mock.restoreAll();
});

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

describe('retries of a duck-typed queue', () => {
  test('a message whose handler rejects comes again by the next poll', async () => {
    for (const pollInterval of [10, 1000, 30_000]) {
      const queue = fakeQueue([message('a')]);
      const onMessage = mock.fn(async () => {});
      onMessage.mock.mockImplementationOnce(async () => {
        throw new Error('once');
      });
      const { poller, errors } = makePoller({ queue, onMessage, pollInterval });
      await poller.start();
      await settle();
      assert.deepEqual(calls(queue.markProcessed), []);
      assert.equal(onMessage.mock.callCount(), 1);
      await advance(pollInterval);
      assert.equal(onMessage.mock.callCount(), 2);
      assert.deepEqual(calls(queue.markProcessed), [['a']]);
      assert.deepEqual(
        errors.map(({ error, phase, message }) => [error.message, phase, message.id]),
        [['once', 'handle', 'a']],
      );
      await poller.stop();
    }
  });

  test('a handler that throws at once is a handler that rejects', async () => {
    const queue = fakeQueue(messages(2));
    const { poller, errors } = makePoller({
      queue,
      onMessage: ({ id }) => {
        if (id === 'm1') throw new Error('at once');
      },
    });
    await poller.start();
    await settle();
    assert.equal(errors.length, 1);
    assert.deepEqual(calls(queue.markProcessed), [['m2']]);
  });

  const clocks = {
    'with a faked date': () => {},
    'with a real date': () => {
      mock.timers.reset();
      mock.timers.enable({ apis: ['setTimeout'] });
    },
    'with a date that is set back at every poll': () => {
      let date = 1e12;
      mock.method(Date, 'now', () => (date -= 5000));
    },
  };
  for (const [name, install] of Object.entries(clocks)) {
    test(`the wait doubles up to its bound, and a dead letter is announced once, ${name}`, async () => {
      install();
      const queue = fakeQueue([message('poison')]);
      const attemptsAt = [];
      let elapsed = 0;
      const { poller } = makePoller({
        queue,
        maxAttempts: 4,
        onMessage: () => {
          attemptsAt.push(elapsed);
          throw new Error('poison');
        },
      });
      const dead = mock.fn();
      poller.on('deadLetter', dead);
      await poller.start();
      await settle();
      while (elapsed < 1_300_000) {
        elapsed += 1000;
        mock.timers.tick(1000);
        await settle(2);
      }
      const waits = attemptsAt.slice(1).map((at, index) => at - attemptsAt[index]);
      assert.deepEqual(
        waits,
        [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map((seconds) => seconds * 1000),
      );
      assert.equal(dead.mock.callCount(), 1);
      const [[lost, { attempts, error }]] = calls(dead);
      assert.deepEqual([lost.id, attempts, error.message], ['poison', 4, 'poison']);
      assert.deepEqual(calls(queue.markProcessed), [], 'nothing is lost');
    });
  }

  test('a batch of poison messages at the head hides nothing', async () => {
    const poison = messages(3, 'poison');
    const queue = fakeQueue([...poison, ...messages(4, 'good')]);
    const handled = [];
    const { poller } = makePoller({
      queue,
      batchSize: 3,
      onMessage: async ({ id }) => {
        if (id.startsWith('poison')) throw new Error(id);
        handled.push(id);
      },
    });
    await poller.start();
    await settle();
    assert.deepEqual(handled, ['good1', 'good2', 'good3', 'good4']);
    // Three are waiting from the second question on.
    assert.deepEqual(firsts(queue.dequeue), [3, 6, 6]);
    assert.deepEqual(queue.rows, poison);
  });

  test('what somebody else processed is forgotten', async () => {
    const queue = fakeQueue([message('a')]);
    const onMessage = mock.fn(() => {
      throw new Error('no');
    });
    const { poller } = makePoller({ queue, onMessage, pollInterval: 1000, retryDelayMs: 60_000 });
    await poller.start();
    await settle();
    queue.rows.length = 0;
    await advance(1000);
    await advance(1000);
    assert.deepEqual(firsts(queue.dequeue), [50, 51, 50]);
    queue.rows.push(message('a'));
    await advance(1000);
    assert.equal(onMessage.mock.callCount(), 2, 'an id that was used again starts afresh');
  });

  test('a message that cannot be marked is reported, comes again, and hides nothing', async () => {
    for (const refusal of [
      () => {
        throw new Error('locked');
      },
      () => Promise.reject(new Error('locked')),
    ]) {
      const queue = fakeQueue([message('a'), message('b'), message('c')]);
      const mark = queue.markProcessed;
      let refused = false;
      queue.markProcessed = mock.fn((id) => {
        if (id !== 'a' || refused) return mark(id);
        refused = true;
        return refusal();
      });
      const onMessage = mock.fn();
      const { poller, errors } = makePoller({ queue, onMessage, batchSize: 1 });
      const dead = mock.fn();
      poller.on('deadLetter', dead);
      await poller.start();
      await settle();
      assert.deepEqual(
        firsts(onMessage).map(({ id }) => id),
        ['a', 'b', 'c'],
      );
      assert.deepEqual(
        errors.map(({ error, phase, message }) => [error.message, phase, message.id]),
        [['locked', 'settle', 'a']],
      );
      await advance(1000);
      assert.deepEqual(
        firsts(onMessage).map(({ id }) => id),
        ['a', 'b', 'c', 'a'],
      );
      assert.deepEqual(queue.rows, []);
      await poller.stop();
    }
  });
});

test('a message that cannot be marked has used no attempt: its handler succeeded', async () => {
  const queue = fakeQueue([message('a')]);
  queue.markProcessed = () => {
    throw new Error('locked');
  };
  const onMessage = mock.fn();
  const { poller } = makePoller({ queue, onMessage, maxAttempts: 2 });
  const dead = mock.fn();
  poller.on('deadLetter', dead);
  await poller.start();
  await settle();
  await advance(5000, 1000);
  assert.equal(onMessage.mock.callCount(), 6);
  const failing = mock.fn(() => Promise.reject(new Error('no')));
  poller.setOnMessage(failing);
  await advance(1000);
  assert.deepEqual([failing.mock.callCount(), dead.mock.callCount()], [1, 0]);
  await advance(1000);
  assert.deepEqual([failing.mock.callCount(), dead.mock.callCount()], [2, 1]);
});

describe('failures of what everything depends on', () => {
  test('a queue that throws is asked again after waits that double, and the loop lives', async () => {
    for (const failure of [
      () => {
        throw new Error('SQLITE_BUSY');
      },
      () => Promise.reject(new Error('SQLITE_BUSY')),
    ]) {
      const queue = fakeQueue([message('a')]);
      const dequeue = queue.dequeue;
      let broken = true;
      queue.dequeue = mock.fn((limit) => (broken ? failure() : dequeue(limit)));
      const onMessage = mock.fn();
      const { poller, errors } = makePoller({ queue, onMessage });
      await poller.start();
      await settle();
      const asked = [];
      for (let second = 1; second <= 120; second += 1) {
        const before = queue.dequeue.mock.callCount();
        await advance(1000);
        if (queue.dequeue.mock.callCount() > before) asked.push(second);
      }
      assert.deepEqual(asked, [1, 3, 7, 15, 31, 61, 91]);
      assert.equal(errors.length, 8);
      assert.ok(errors.every(({ phase }) => phase === 'claim'));
      broken = false;
      await advance(1000);
      assert.deepEqual(firsts(onMessage), [message('a')]);
      const polls = queue.dequeue.mock.callCount();
      await advance(1000);
      assert.equal(
        queue.dequeue.mock.callCount(),
        polls + 1,
        'the interval is the usual one again',
      );
      await poller.stop();
    }
  });

  test('when every handler fails the poller pauses instead of using up the backlog', async () => {
    const queue = fakeQueue(messages(400));
    let down = true;
    const onMessage = mock.fn(async () => {
      if (down) throw new Error('down');
    });
    const { poller } = makePoller({ queue, onMessage });
    await poller.start();
    await settle();
    const tries = [onMessage.mock.callCount()];
    for (const pauseMs of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
      await advance(pauseMs - 1);
      assert.equal(onMessage.mock.callCount(), tries.at(-1), `pauses for ${pauseMs} ms`);
      await advance(1);
      tries.push(onMessage.mock.callCount());
    }
    assert.deepEqual(tries, [100, 101, 102, 103, 104, 105, 106, 107]);
    down = false;
    await advance(30_000);
    await settle(50);
    await advance(300_000, 10_000);
    assert.deepEqual(queue.rows, []);
  });

  test('one success among the failures shows that handlers work', async () => {
    const queue = fakeQueue(messages(300));
    const onMessage = mock.fn(({ id }) => {
      if (id !== 'm90' && id !== 'm180' && id !== 'm270') throw new Error(id);
    });
    const { poller } = makePoller({ queue, onMessage });
    await poller.start();
    await settle();
    assert.equal(onMessage.mock.callCount(), 300);
  });

  test('poison messages fewer than the bound cause no pause, however often they fail', async () => {
    const queue = fakeQueue(messages(60, 'poison'));
    const { poller } = makePoller({
      queue,
      batchSize: 10,
      onMessage: ({ id }) => {
        if (id.startsWith('poison')) throw new Error(id);
      },
    });
    await poller.start();
    await advance(10_000, 1000);
    queue.rows.push(message('good'));
    await advance(1000);
    assert.deepEqual(calls(queue.markProcessed), [['good']]);
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

/** A queue of our own: its port leads to a source with claims, leases, attempts, a doorbell. */
function ownQueue(initial = [], { maxAttempts = 3 } = {}) {
  const pending = [...initial];
  const claimed = new Map();
  const attempts = new Map();
  const source = {
    leases: true,
    settleCountMax: limits.settleCountMax,
    ring: () => {},
    muted: false,
    claim: mock.fn(async (limit) => {
      await settle(1);
      return pending.splice(0, limit).map((message) => {
        const attempt = (attempts.get(message.id) ?? 0) + 1;
        attempts.set(message.id, attempt);
        const claim = { message, attempt, token: Symbol(message.id) };
        claimed.set(claim.token, claim);
        return claim;
      });
    }),
    settle: mock.fn(async ({ completed, failed, released }) => {
      await settle(1);
      const report = { failed: [], stale: [], unmarked: [] };
      for (const claim of completed) if (!claimed.delete(claim.token)) report.stale.push(claim);
      for (const { claim } of failed) {
        claimed.delete(claim.token);
        const dead = claim.attempt >= maxAttempts;
        if (!dead) pending.push(claim.message);
        report.failed.push({ claim, dead, retryInMs: 0 });
      }
      for (const claim of released) {
        const { token, message } = claim;
        if (claimed.delete(token)) pending.unshift(message);
        else report.stale.push(claim);
        attempts.set(message.id, attempts.get(message.id) - 1);
      }
      return report;
    }),
    extend: mock.fn(async (claims) => claims.filter(({ token }) => !claimed.has(token))),
    cleanup: mock.fn(async () => 0),
    onDoorbell(listener) {
      source.ring = listener;
      return () => {
        source.muted = true;
      };
    },
  };
  const methods = { dequeue: mock.fn(() => []), markProcessed: mock.fn(), cleanup: mock.fn() };
  const port = { ...methods, open: mock.fn(() => source) };
  return { pending, claimed, source, port, queue: { ...methods, [messageSource]: port } };
}

const idsOf = (claims) => claims.map(({ message }) => message.id);

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
