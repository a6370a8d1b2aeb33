import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { limits } from '../dist/limits.js';
import {
  idsOf,
  message,
  messages,
  noPython,
  openQueue,
  startNode,
  startOld,
  until,
} from './support/queue.mjs';

const invalidArgument = { name: 'IpcError', code: 'ERR_IPC_INVALID_ARGUMENT' };

/** Two queue objects on one file, which count as two consumers. */
function twoQueues(t) {
  const a = openQueue(t);
  const b = openQueue(t, { dbPath: a.dbPath });
  return { a, b };
}

describe('claims', () => {
  test('go to one consumer, the oldest first', (t) => {
    const { a, b } = twoQueues(t);
    a.enqueueMany(messages(5));
    const first = a.claim({ limit: 2 });
    assert.deepEqual(idsOf(first), ['m0', 'm1']);
    assert.deepEqual(idsOf(b.claim()), ['m2', 'm3', 'm4']);
    assert.deepEqual([a.claim(), b.claim()], [[], []]);
    assert.deepEqual(
      first.map(({ attempt, message: { payload } }) => [attempt, payload]),
      [
        [1, { id: 'm0' }],
        [1, { id: 'm1' }],
      ],
    );
    assert.equal(a.complete(first[0]), true);
    assert.equal(a.complete(first[0]), false);
    assert.equal(a.release(first[1]), true);
    assert.equal(a.release(first[1]), false);
    const [again] = b.claim();
    assert.deepEqual([again.message.id, again.attempt], ['m1', 1], 'a release does not count');
    assert.ok(again.token > first[1].token);
    assert.equal(a.stats().processed, 1);
  });

  test('of a message whose id is empty are settled like any other', {
    skip: noPython,
  }, async (t) => {
    const queue = openQueue(t);
    const old = await startOld(t, queue.dbPath);
    const insert = `INSERT INTO message_queue (message_id, type, payload, timestamp)
                    VALUES ('', 't', '1', 1)`;
    await old.sql(insert);
    const claim = () => queue.claim()[0];
    assert.equal(queue.extend(claim(), 60_000), true);
    assert.equal(queue.stats().claimed, 1);
    assert.equal(queue.markProcessedMany(['']), 1);
    queue.cleanup(0);
    await old.sql(insert);
    assert.equal(queue.release(claim()), true);
    assert.deepEqual(queue.fail(claim(), 'no', { maxAttempts: 1 }), { outcome: 'dead' });
    assert.equal(queue.redrive(['']), 1);
    assert.deepEqual(queue.fail(claim(), 'no', { maxAttempts: 1 }), { outcome: 'dead' });
    assert.equal(queue.purgeDeadLetters(['']), 1);
    await old.sql(insert);
    assert.equal(queue.complete(claim()), true);
    assert.deepEqual(queue.completeMany([{ token: 1, message: { id: '' } }]), [false]);
  });

  test('50 by default; arguments are checked', (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(60));
    const claims = queue.claim();
    assert.equal(claims.length, 50);
    assert.equal(queue.claim({}).length, 10);
    for (const options of [
      { limit: 0 },
      { limit: 1.5 },
      { limit: '5' },
      { leaseMs: -1 },
      { leaseMs: Number.NaN },
    ]) {
      assert.throws(() => queue.claim(options), invalidArgument);
    }
    for (const claim of [undefined, null, 'm0', {}, { token: 1 }, { message: message('m0') }]) {
      for (const settle of ['complete', 'release', 'extend', 'fail']) {
        assert.throws(() => queue[settle](claim, 60_000), invalidArgument);
      }
    }
    assert.throws(() => queue.extend(claims[0], -1), invalidArgument);
    for (const options of [{ maxAttempts: 0 }, { retryDelayMs: -1 }, { maxRetryDelayMs: 'x' }]) {
      assert.throws(() => queue.fail(claims[0], 'x', options), invalidArgument);
    }
    for (const options of [null, 5, 'x', true]) {
      assert.throws(() => queue.claim(options), invalidArgument);
      assert.throws(() => queue.fail(claims[0], 'x', options), invalidArgument);
      assert.throws(() => queue.deadLetters(options), invalidArgument);
      assert.throws(() => queue.stats(options), invalidArgument);
      assert.throws(() => queue.enqueue(message('new'), options), invalidArgument);
    }
    const holes = new Array(2);
    for (const many of [
      'completeMany',
      'enqueueMany',
      'markProcessedMany',
      'redrive',
      'purgeDeadLetters',
    ]) {
      for (const wrong of [holes, null, 5, {}]) {
        assert.throws(() => queue[many](wrong), {
          name: 'IpcError',
          code:
            many === 'enqueueMany' && wrong === holes ? /^ERR_IPC_INVALID_/ : invalidArgument.code,
        });
      }
    }
  });

  test('that ran out go to the next one, and their tokens are stale', async (t) => {
    const { a, b } = twoQueues(t);
    a.enqueueMany(messages(4));
    const stale = a.claim({ leaseMs: 1 });
    const held = await until(() => {
      const claims = b.claim();
      return claims.length === 4 && claims;
    });
    assert.deepEqual(
      held.map(({ attempt }) => attempt),
      [2, 2, 2, 2],
    );
    assert.equal(a.extend(stale[0]), false);
    assert.equal(a.complete(stale[1]), false);
    assert.equal(a.release(stale[2]), false);
    assert.deepEqual(a.fail(stale[3], new Error('late')), { outcome: 'stale' });
    assert.deepEqual(
      held.map((claim) => b.complete(claim)),
      [true, true, true, true],
    );
    assert.equal(a.stats().processed, 4);
  });

  test('that ran out are still ours until somebody takes them', async (t) => {
    const { a, b } = twoQueues(t);
    a.enqueueMany(messages(2));
    const [first, second] = a.claim({ leaseMs: 1 });
    await until(() => a.stats().claimed === 0);
    assert.equal(a.complete(first), true);
    assert.equal(a.extend(second, 60_000), true);
    assert.deepEqual(b.claim(), []);
  });

  test('that are cut short again and again are claimed alone, and end as dead letters', async (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(2));
    for (let attempt = 1; attempt <= 2 + limits.cutShortAloneMax; attempt++) {
      const claims = queue.claim({ leaseMs: 1, maxAttempts: 2 });
      assert.deepEqual(
        claims.map((claim) => [claim.message.id, claim.attempt]),
        attempt <= 2
          ? [
              ['m0', attempt],
              ['m1', attempt],
            ]
          : [['m0', attempt]],
      );
      await until(() => queue.stats().claimed === 0);
    }
    const [other] = queue.claim({ maxAttempts: 2 });
    assert.deepEqual([other.message.id, other.attempt], ['m1', 3]);
    assert.equal(queue.complete(other), true);
    assert.deepEqual(queue.claim({ maxAttempts: 2 }), []);
    const letters = queue.deadLetters();
    assert.deepEqual(
      letters.map(({ id, attempts, reason, error }) => [id, attempts, reason, error]),
      [['m0', 2 + limits.cutShortAloneMax, 'attempts', 'its deliveries were cut short']],
    );
    queue.redrive();
    for (let attempt = 1; attempt <= 12; attempt++) {
      const [claim] = queue.claim({ leaseMs: 1, maxAttempts: Number.POSITIVE_INFINITY });
      assert.equal(claim.attempt, attempt);
      await until(() => queue.stats().claimed === 0);
    }
    assert.throws(() => queue.claim({ maxAttempts: 0 }), invalidArgument);
  });

  test('are extended', async (t) => {
    const { a, b } = twoQueues(t);
    a.enqueueMany(messages(2));
    const [extended] = a.claim({ leaseMs: 30 });
    assert.equal(a.extend(extended, 3_600_000), true);
    const taken = await until(() => {
      const claims = b.claim();
      return claims.length > 0 && claims;
    });
    assert.deepEqual(idsOf(taken), ['m1']);
    assert.equal(a.complete(extended), true);
  });

  test('of a closed queue come back at once', (t) => {
    const { a, b } = twoQueues(t);
    a.enqueueMany(messages(3));
    a.claim({ leaseMs: 3_600_000 });
    assert.deepEqual(b.claim(), []);
    a.close();
    assert.equal(b.claim().length, 3);
  });

  test('of a queue that another process closed come back at once', async (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(3));
    const child = startNode(t, 'queue-claimer.mjs', ['close', queue.dbPath, 2]);
    assert.deepEqual(await child.says(), ['m0', 'm1']);
    assert.equal(await child.says(), 'closed');
    assert.deepEqual(idsOf(queue.claim()), ['m0', 'm1', 'm2']);
  });

  test('of a process that was killed come back at once', async (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(3));
    const child = startNode(t, 'queue-claimer.mjs', ['hold', queue.dbPath, 2]);
    assert.deepEqual(await child.says(), ['m0', 'm1']);
    assert.deepEqual(idsOf(queue.claim()), ['m2']);
    assert.equal(queue.stats().claimed, 3);
    assert.equal((await child.kill('SIGKILL')).signal, 'SIGKILL');
    assert.equal(queue.stats().claimed, 1);
    assert.deepEqual(
      queue.claim().map((claim) => [claim.message.id, claim.attempt]),
      [
        ['m0', 2],
        ['m1', 2],
      ],
    );
  });

  test('of a worker thread that was terminated come back at once, here and elsewhere', async (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(4));
    const url = new URL('./fixtures/queue-claimer.mjs', import.meta.url);
    const worker = new Worker(url, { workerData: ['hold', queue.dbPath, 3] });
    assert.deepEqual((await once(worker, 'message'))[0], ['m0', 'm1', 'm2']);
    assert.deepEqual(idsOf(queue.claim({ limit: 1 })), ['m3']);
    await worker.terminate();
    assert.deepEqual(idsOf(queue.claim({ limit: 1 })), ['m0']);
    const child = startNode(t, 'queue-claimer.mjs', ['hold', queue.dbPath, 9]);
    assert.deepEqual(await child.says(), ['m1', 'm2']);
  });

  test('of several processes: every message is done by one of them', async (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(600));
    const children = Array.from({ length: 3 }, () =>
      startNode(t, 'queue-claimer.mjs', ['drain', queue.dbPath]),
    );
    for (const child of children) await child.says();
    for (const child of children) child.tell('go');
    const done = (await Promise.all(children.map((child) => child.says()))).flat();
    assert.equal(done.length, 600);
    assert.equal(new Set(done).size, 600);
    assert.equal(queue.stats().processed, 600);
  });
});

describe('failures', () => {
  test('come back after a wait that doubles, then die', async (t) => {
    const queue = openQueue(t);
    queue.enqueue(message('poison'));
    const options = { maxAttempts: 4, retryDelayMs: 8, maxRetryDelayMs: 16 };
    const waits = [];
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      const [claim] = await until(() => {
        const claims = queue.claim();
        return claims.length === 1 && claims;
      });
      assert.equal(claim.attempt, attempt);
      const { outcome, retryInMs } = queue.fail(
        claim,
        new TypeError(`failure ${attempt}`),
        options,
      );
      assert.equal(outcome, 'retry');
      waits.push(retryInMs);
    }
    for (const [index, full] of [8, 16, 16].entries()) {
      assert.ok(waits[index] >= full / 2 && waits[index] <= full, `${waits}`);
    }
    const [claim] = await until(() => {
      const claims = queue.claim();
      return claims.length === 1 && claims;
    });
    const before = Date.now();
    assert.deepEqual(queue.fail(claim, new TypeError('the last'), options), { outcome: 'dead' });
    assert.deepEqual([queue.claim(), queue.dequeue()], [[], []]);
    const [letter] = queue.deadLetters();
    const { diedAt, ...rest } = letter;
    assert.deepEqual(rest, {
      id: 'poison',
      message: message('poison'),
      raw: null,
      attempts: 4,
      reason: 'attempts',
      error: 'the last',
    });
    assert.ok(diedAt >= before - 1 && diedAt <= Date.now(), String(diedAt));
    assert.equal(queue.stats().dead, 1);
    assert.equal(queue.cleanup(0), 0, 'dead letters are kept');
  });

  test('whatever was thrown is kept as text', (t) => {
    const queue = openQueue(t);
    const thrown = [
      [new Error('an error'), 'an error'],
      ['a string', 'a string'],
      [undefined, 'undefined'],
      [5, '5'],
      [Symbol('s'), 'Symbol(s)'],
      ['\0 "\n\ud800', '\0 "\n\ufffd'],
    ];
    queue.enqueueMany(messages(thrown.length));
    for (const [index, claim] of queue.claim().entries()) {
      queue.fail(claim, thrown[index][0], { maxAttempts: 1 });
    }
    assert.deepEqual(
      queue.deadLetters().map(({ error }) => error),
      thrown.map(([, text]) => text),
    );
  });

  test('what has no text does not get in the way', (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(2));
    const hostile = [
      Object.create(null),
      {
        toString: () => {
          throw new Error('no');
        },
      },
    ];
    for (const [index, claim] of queue.claim().entries()) {
      assert.equal(queue.fail(claim, hostile[index], { maxAttempts: 1 }).outcome, 'dead');
    }
  });

  test('never die when maxAttempts is Infinity', async (t) => {
    const queue = openQueue(t);
    queue.enqueue(message('a'));
    const options = { maxAttempts: Number.POSITIVE_INFINITY, retryDelayMs: 0 };
    for (let attempt = 1; attempt <= 15; attempt += 1) {
      const [claim] = await until(() => {
        const claims = queue.claim(options);
        return claims.length === 1 && claims;
      });
      assert.equal(queue.fail(claim, 'again', options).outcome, 'retry');
    }
  });
});

describe('dead letters', () => {
  function withDead(t, count) {
    const queue = openQueue(t);
    queue.enqueueMany(messages(count));
    for (const claim of queue.claim({ limit: count })) queue.fail(claim, 'no', { maxAttempts: 1 });
    return queue;
  }

  test('are listed page by page, the oldest message first', (t) => {
    const queue = withDead(t, 60);
    const all = idsOf(messages(60));
    assert.deepEqual(
      queue.deadLetters().map(({ id }) => id),
      all.slice(0, 50),
    );
    assert.deepEqual(
      queue.deadLetters({ offset: 50 }).map(({ id }) => id),
      all.slice(50),
    );
    assert.deepEqual(
      queue.deadLetters({ limit: 2, offset: 5 }).map(({ id }) => id),
      ['m5', 'm6'],
    );
    assert.deepEqual(queue.deadLetters({ offset: 60 }), []);
    for (const options of [{ limit: 0 }, { limit: 'x' }, { offset: -1 }, { offset: 0.5 }]) {
      assert.throws(() => queue.deadLetters(options), invalidArgument);
    }
  });

  test('are redriven with all their attempts', (t) => {
    const queue = withDead(t, 5);
    assert.equal(queue.redrive(['m1', 'm3', 'nobody', '\ud800']), 2);
    assert.deepEqual(
      queue.claim().map(({ message, attempt }) => [message.id, attempt]),
      [
        ['m1', 1],
        ['m3', 1],
      ],
    );
    assert.equal(queue.redrive([]), 0);
    assert.equal(queue.redrive(), 3);
    assert.equal(queue.redrive(), 0);
    assert.equal(queue.stats().pending, 3);
    for (const ids of ['m1', {}, [5]]) {
      assert.throws(() => queue.redrive(ids), invalidArgument);
      assert.throws(() => queue.purgeDeadLetters(ids), invalidArgument);
    }
  });

  test('are purged for good; their ids are free again', (t) => {
    const queue = withDead(t, 5);
    assert.throws(() => queue.enqueue(message('m1')), { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' });
    assert.equal(queue.purgeDeadLetters(['m1', 'nobody']), 1);
    assert.equal(queue.purgeDeadLetters([]), 0);
    queue.enqueue(message('m1'));
    assert.equal(queue.purgeDeadLetters(), 4);
    assert.deepEqual(queue.deadLetters(), []);
    assert.equal(queue.stats().pending, 1, 'what is pending is not touched');
  });

  test('can be marked as processed like any message', (t) => {
    const queue = withDead(t, 2);
    queue.markProcessed('m0');
    assert.deepEqual(
      queue.deadLetters().map(({ id }) => id),
      ['m1'],
    );
    assert.equal(queue.cleanup(0), 1);
  });
});

test('completeMany() settles in one transaction, and says which claims were lost', (t) => {
  const queue = openQueue(t);
  queue.enqueueMany(messages(4));
  const claims = queue.claim({ limit: 4, leaseMs: 60_000 });
  assert.equal(queue.release(claims[1]), true);
  const again = queue.claim({ limit: 1 });
  assert.deepEqual(queue.completeMany(claims), [true, false, true, true]);
  assert.deepEqual(queue.completeMany(again), [true]);
  assert.deepEqual(queue.completeMany(again), [false]);
  assert.deepEqual(queue.completeMany([]), []);
  assert.throws(() => queue.completeMany([{}]), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  assert.throws(() => queue.completeMany('x'), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  assert.deepEqual(queue.dequeue(), []);
});

test('a claimer may name itself, which changes nothing else', { skip: noPython }, async (t) => {
  const queue = openQueue(t);
  queue.enqueueMany(messages(2));
  const [claim] = queue.claim({ limit: 1, owner: 'worker 7/a' });
  const [other] = queue.claim({ limit: 1 });
  const old = await startOld(t, queue.dbPath);
  const owners = await old.sql('SELECT owner FROM message_claim ORDER BY token');
  assert.equal(owners[0][0], `${owners[1][0]}/worker 7/a`);
  assert.deepEqual(queue.claim(), []);
  assert.deepEqual([queue.extend(claim), queue.complete(other)], [true, true]);
  // What a closed queue holds is free for others at once.
  queue.close();
  const next = openQueue(t, { dbPath: queue.dbPath });
  assert.equal(next.claim()[0].message.id, claim.message.id);
  for (const owner of ['', 7, 'x'.repeat(201)]) {
    assert.throws(() => next.claim({ owner }), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  }
});
