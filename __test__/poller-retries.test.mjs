import assert from 'node:assert/strict';
import { describe, mock, test } from 'node:test';
import {
  advance,
  calls,
  fakeQueue,
  fakeTimers,
  firsts,
  makePoller,
  message,
  messages,
  settle,
} from './support/poller.mjs';

fakeTimers();

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
      for (let second = 1; second <= 40; second += 1) {
        const before = queue.dequeue.mock.callCount();
        await advance(1000);
        if (queue.dequeue.mock.callCount() > before) asked.push(second);
      }
      assert.deepEqual(asked, [1, 3, 7, 12, 17, 22, 27, 32, 37]);
      assert.equal(errors.length, 10);
      assert.ok(errors.every(({ phase }) => phase === 'claim'));
      broken = false;
      await advance(2000, 1000);
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
    const queue = fakeQueue(messages(102));
    let down = true;
    const onMessage = mock.fn(async () => {
      if (down) throw new Error('down');
    });
    const { poller } = makePoller({ queue, onMessage });
    await poller.start();
    await settle();
    const tries = [onMessage.mock.callCount()];
    // The two that were never tried come first. Their pauses are short, and do not double.
    for (const pauseMs of [1000, 500, 500, 2000, 4000, 5000, 5000]) {
      await advance(pauseMs - 1);
      assert.equal(onMessage.mock.callCount(), tries.at(-1), `pauses for ${pauseMs} ms`);
      await advance(1);
      tries.push(onMessage.mock.callCount());
    }
    assert.deepEqual(tries, [100, 101, 102, 103, 104, 105, 106, 107]);
    assert.deepEqual(
      firsts(onMessage).map(({ id }) => id),
      [...messages(102), ...messages(5)].map(({ id }) => id),
      'no message is tried again before all others were',
    );
    down = false;
    await advance(5000);
    await settle(50);
    await advance(300_000, 10_000);
    assert.deepEqual(queue.rows, []);
  });

  test('an outage costs no message more than a few attempts', async () => {
    const queue = fakeQueue(messages(400));
    const tries = new Map();
    const onMessage = mock.fn(({ id }) => {
      tries.set(id, (tries.get(id) ?? 0) + 1);
      throw new Error('down');
    });
    const { poller } = makePoller({ queue, onMessage });
    await poller.start();
    await settle();
    await advance(60_000, 500);
    assert.equal(onMessage.mock.callCount(), 100 + 119, 'one in half a second');
    await advance(3_540_000, 2500);
    assert.equal(tries.size, 400);
    assert.equal(Math.max(...tries.values()), 3, 'after an hour');
  });

  for (const [name, answer] of [
    ['at once', (rows) => rows],
    ['by promises', (rows) => Promise.resolve(rows)],
  ]) {
    test(`poison messages above the bound do not stop others for long, in a queue that answers ${name}`, async () => {
      const queue = fakeQueue([...messages(150, 'poison'), ...messages(20, 'good')]);
      const { dequeue } = queue;
      queue.dequeue = (limit) => answer(dequeue(limit));
      const onMessage = ({ id }) => {
        if (id.startsWith('poison')) throw new Error(id);
      };
      const { poller } = makePoller({ queue, onMessage });
      await poller.start();
      await settle();
      await advance(60_000, 500);
      assert.deepEqual(
        calls(queue.markProcessed),
        messages(20, 'good').map(({ id }) => [id]),
      );
      assert.equal(queue.rows.length, 150);
    });
  }

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
