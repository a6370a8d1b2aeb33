import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { deliveryStore } from '../dist/delivery-store.js';
import { limits } from '../dist/limits.js';
import { queueSource } from '../dist/queue-source.js';
import { readPackage, ShapeTable } from '../dist/value-reader.js';
import { SQLiteQueue, SQLiteQueuePoller } from '../features/sqlite-queue/index.js';
import {
  afterwards,
  deferred,
  idsOf,
  message,
  messages,
  noPython,
  openQueue,
  startNode,
  startOld,
  until,
} from './support/queue.mjs';

const HOUR_MS = 3_600_000;

/** A poller that wakes by the doorbell only, its errors collected; stopped after the test. */
function makePoller(t, options) {
  const handled = [];
  const errors = [];
  const poller = new SQLiteQueuePoller({
    pollInterval: HOUR_MS,
    onMessage: ({ id }) => void handled.push(id),
    ...options,
  });
  poller.on('error', (error, context) => errors.push({ error, ...context }));
  afterwards(t, () => poller.stop({ deadlineMs: 1000 }));
  return { poller, handled, errors };
}

function setUp(t, { retentionHours, ...options } = {}) {
  const queue = openQueue(t, { retentionHours });
  return { queue, ...makePoller(t, { queue, ...options }) };
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

describe('draining', () => {
  test('the documented example', async (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(3));
    const seen = [];
    const poller = new SQLiteQueuePoller({
      queue,
      pollInterval: 1000,
      batchSize: 50,
      onMessage: async (message) => {
        seen.push(message);
      },
    });
    await poller.start();
    assert.equal(poller.isRunning(), true);
    await assert.rejects(poller.start(), { message: 'Poller is already running' });
    await once(poller, 'drained');
    await poller.stop();
    assert.equal(poller.isRunning(), false);
    assert.deepEqual(seen, messages(3));
    assert.equal(queue.stats().processed, 3);
  });

  test('goes on until the queue is empty, in order', async (t) => {
    const { queue, poller, handled, errors } = setUp(t, { batchSize: 7 });
    queue.enqueueMany(messages(1000));
    await poller.start();
    assert.deepEqual(await once(poller, 'drained'), [1000]);
    assert.deepEqual(handled, idsOf(messages(1000)));
    assert.deepEqual(errors, []);
    assert.deepEqual([queue.stats().processed, queue.stats().claimed], [1000, 0]);
  });

  test('poison messages do not block the others and become dead letters', async (t) => {
    const dead = [];
    const seen = [];
    const { queue, poller } = setUp(t, {
      batchSize: 5,
      maxAttempts: 3,
      retryDelayMs: 5,
      pollInterval: 10,
      onMessage: ({ id }) => {
        if (id.startsWith('poison')) throw new Error(`cannot do ${id}`);
        seen.push(id);
      },
    });
    queue.enqueueMany(messages(20, 'poison').map((one) => ({ ...one, timestamp: -1 })));
    queue.enqueueMany(messages(50));
    poller.on('deadLetter', ({ id }, { attempts, error }) =>
      dead.push([id, attempts, error.message]),
    );
    await poller.start();
    await until(() => dead.length === 20);
    await poller.stop();
    assert.deepEqual(seen, idsOf(messages(50)));
    assert.deepEqual(
      dead.map(([, attempts]) => attempts),
      new Array(20).fill(3),
    );
    const letters = queue.deadLetters();
    assert.equal(letters.length, 20);
    for (const { id, error, reason } of letters) {
      assert.deepEqual([error, reason], [`cannot do ${id}`, 'attempts']);
    }
    assert.equal(queue.redrive(), 20);
  });

  test('poison messages that lead to a pause do not block the others either', async (t) => {
    const { queue, poller, handled } = setUp(t, {
      batchSize: 10,
      pollInterval: 20,
      retryDelayMs: 10,
      onMessage: ({ id }) => {
        if (id.startsWith('poison')) throw new Error('no');
        handled.push(id);
      },
      maxAttempts: Number.POSITIVE_INFINITY,
    });
    const good = messages(20, 'good').map((row, at) => ({ ...row, timestamp: 1000 + at }));
    queue.enqueueMany([...messages(150, 'poison'), ...good]);
    await poller.start();
    await until(() => handled.length === 20, 'the good ones to be handled');
    assert.deepEqual(
      handled,
      good.map(({ id }) => id),
      'in their order',
    );
  });

  test('messages of new kinds arrive whole, whoever asks for them', async (t) => {
    const received = [];
    let sentCount = 0;
    const { queue, poller } = setUp(t, { onMessage: (message) => void received.push(message) });
    await poller.start();
    for (let round = 0; round < 20; round++) {
      const payloads = [
        { [`new ${round}`]: [{ [`inner ${round}`]: round + 0.5, text: 'größer' }], flag: true },
        // What only `JSON.parse` is to judge takes all others along.
        ...(round % 3 === 0 ? [JSON.parse('{"__proto__":1,"a":[]}')] : []),
        ...(round % 4 === 0 ? [new Array(30).fill('a text of more than ten letters')] : []),
        [round, -0.5, 1e21, null, ''],
      ];
      const sent = payloads.map((payload, place) =>
        message(`"${round}" \n${place}`, { payload, timestamp: 1_000 * round + place + 1 }),
      );
      queue.enqueueMany(sent);
      // The worker thread and this one number the shapes of what they hand over on their own.
      if (round % 2 === 0) assert.deepEqual(queue.dequeue(), sent);
      sentCount += sent.length;
      await until(() => queue.stats().processed === sentCount);
      assert.deepEqual(received.splice(0), sent);
    }
  });

  test('a claim that could not be read has the next one define all shapes', async () => {
    const asked = [];
    const native = { claimLater: (...terms) => asked.push(terms) };
    const workerShapes = new ShapeTable();
    const source = queueSource(
      {
        native,
        workerShapes,
        work: {
          ask: async (begin) => {
            begin(native, 7);
            return { claims: [], suspects: false };
          },
        },
      },
      { maxAttempts: 0 },
    );
    await source.claim(5, 1_000);
    assert.throws(() => readPackage(workerShapes, new ArrayBuffer(4)), RangeError);
    await source.claim(5, 1_000);
    assert.deepEqual(
      asked.map((terms) => terms.at(-1)),
      [false, true],
    );
  });

  test('corrupt rows are set aside, the others handled', { skip: noPython }, async (t) => {
    const { queue, poller, handled } = setUp(t);
    queue.enqueueMany(messages(5));
    const old = await startOld(t, queue.dbPath);
    await old.sql("UPDATE message_queue SET payload = '{' WHERE message_id = 'm2'");
    await poller.start();
    await once(poller, 'drained');
    assert.deepEqual(handled, ['m0', 'm1', 'm3', 'm4']);
    assert.deepEqual(
      queue.deadLetters().map(({ id }) => id),
      ['m2'],
    );
  });

  test('cleanup follows the first drained poll, with the retention of the queue', {
    skip: noPython,
  }, async (t) => {
    const { queue, poller } = setUp(t, { retentionHours: 2 });
    queue.enqueueMany(messages(3));
    queue.markProcessedMany(['m0', 'm1']);
    const old = await startOld(t, queue.dbPath);
    await old.sql(
      "UPDATE message_queue SET processed_at = processed_at - 9000 WHERE message_id = 'm0'",
    );
    await poller.start();
    await until(async () => (await old.value('SELECT count(*) FROM message_queue')) === 2);
    await poller.stop();
    const left = await old.sql('SELECT message_id FROM message_queue ORDER BY 1');
    assert.deepEqual(left.flat(), ['m1', 'm2']);
  });
});

describe('waking', () => {
  test('within milliseconds of an enqueue here, however long the interval', async (t) => {
    const { queue, poller, handled } = setUp(t);
    await poller.start();
    await once(poller, 'drained');
    const waits = [];
    for (let index = 0; index < 20; index += 1) {
      const begun = performance.now();
      if (index % 2 === 0) queue.enqueue(message(`m${index}`));
      else await queue.enqueueAsync(message(`m${index}`));
      await until(() => handled.length === index + 1);
      waits.push(performance.now() - begun);
    }
    assert.ok(median(waits) < 100, `${waits.map(Math.round)} ms`);
  });

  test('within milliseconds of an enqueue by another process', async (t) => {
    const arrivals = [];
    const { queue, poller } = setUp(t, { onMessage: () => void arrivals.push(Date.now()) });
    await poller.start();
    await once(poller, 'drained');
    const child = startNode(t, 'queue-poller.mjs', ['producer', queue.dbPath]);
    await child.says();
    const waits = [];
    for (let index = 0; index < 20; index += 1) {
      const { storedAt } = await child.ask(message(`m${index}`));
      await until(() => arrivals.length === index + 1);
      waits.push(arrivals[index] - storedAt);
    }
    assert.ok(median(waits) < 100, `${waits} ms`);
    assert.ok(Math.max(...waits) < 2000, `${waits} ms`);
  });

  test('of an enqueue by an old process', { skip: noPython }, async (t) => {
    const { queue, poller, handled } = setUp(t);
    await poller.start();
    await once(poller, 'drained');
    const old = await startOld(t, queue.dbPath);
    for (let index = 0; index < 5; index += 1) {
      await old.sql(
        "INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES (?, 't', '1', 1)",
        `m${index}`,
      );
      await until(() => handled.length === index + 1);
    }
  });

  test('also after the log was emptied and another queue was closed', async (t) => {
    const { queue, poller, handled } = setUp(t);
    await poller.start();
    await once(poller, 'drained');
    for (let index = 0; index < 5; index += 1) {
      queue.compact();
      const other = openQueue(t, { dbPath: queue.dbPath });
      other.enqueue(message(`m${index}`));
      other.close();
      await until(() => handled.length === index + 1);
    }
  });

  test('a poller with nothing to do costs nothing', async (t) => {
    const { queue, poller } = setUp(t, { pollInterval: 1000 });
    queue.enqueueMany(messages(100));
    await poller.start();
    await once(poller, 'drained');
    await new Promise((resolve) => setTimeout(resolve, 200));
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 200_000, `${user + system} µs of CPU in two seconds`);
  });
});

describe('stopping', () => {
  test('waits for the running handler, marks its message and gives back the rest', async (t) => {
    const started = deferred();
    const gate = deferred();
    const { queue, poller } = setUp(t, {
      onMessage: async () => {
        started.resolve();
        await gate.promise;
      },
    });
    queue.enqueueMany(messages(5));
    await poller.start();
    await started.promise;
    let stopped = false;
    const stopping = poller.stop().then(() => {
      stopped = true;
    });
    const rest = await until(() => {
      const claims = queue.claim({ limit: 9 });
      return claims.length > 0 && claims;
    });
    assert.deepEqual(
      rest.map(({ message, attempt }) => [message.id, attempt]),
      [
        ['m1', 1],
        ['m2', 1],
        ['m3', 1],
        ['m4', 1],
      ],
    );
    assert.equal(stopped, false);
    gate.resolve();
    await stopping;
    assert.equal(queue.stats().processed, 1);
  });

  test('start after stop goes on with one loop', async (t) => {
    const { queue, poller, handled } = setUp(t, { pollInterval: 10 });
    for (let round = 0; round < 5; round += 1) {
      await poller.start();
      const stopping = poller.stop();
      await poller.start();
      await stopping;
      queue.enqueue(message(`m${round}`));
      await until(() => handled.length === round + 1);
      await poller.stop();
    }
    assert.deepEqual(handled, ['m0', 'm1', 'm2', 'm3', 'm4']);
  });

  test('a closed queue is not polled', async (t) => {
    const { queue, poller } = setUp(t);
    queue.close();
    await assert.rejects(poller.start(), { name: 'IpcError', code: 'ERR_IPC_QUEUE_CLOSED' });
    assert.equal(poller.isRunning(), false);
  });

  test('a queue that is closed under a running poller is an error event; the poller can stop', async (t) => {
    const { queue, poller, errors } = setUp(t, { pollInterval: 10 });
    await poller.start();
    await once(poller, 'drained');
    queue.close();
    await until(() => errors.length > 0);
    assert.equal(errors[0].error.code, 'ERR_IPC_QUEUE_CLOSED');
    await poller.stop();
  });
});

describe('leases', () => {
  test('are extended while a handler runs', async (t) => {
    const started = deferred();
    const gate = deferred();
    const { queue, poller, errors } = setUp(t, {
      leaseMs: 150,
      onMessage: async () => {
        started.resolve();
        await gate.promise;
      },
    });
    queue.enqueueMany(messages(2));
    const other = openQueue(t, { dbPath: queue.dbPath });
    await poller.start();
    await started.promise;
    const enough = performance.now() + 800;
    while (performance.now() < enough) {
      assert.deepEqual(other.claim(), []);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    gate.resolve();
    await once(poller, 'drained');
    assert.equal(queue.stats().processed, 2);
    assert.deepEqual(errors, []);
  });

  test('of a poller that was killed end at once', async (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(3));
    const child = startNode(t, 'queue-poller.mjs', ['stuck', queue.dbPath]);
    assert.equal(await child.says(), 'm0');
    assert.deepEqual(queue.claim(), []);
    await child.kill('SIGKILL');
    const { poller, handled } = makePoller(t, { queue });
    await poller.start();
    await once(poller, 'drained');
    assert.deepEqual(handled, ['m0', 'm1', 'm2']);
    await poller.stop();
  });

  test('two pollers in two processes handle 2,000 messages once each', async (t) => {
    const queue = openQueue(t, { durability: 'normal', busyTimeoutMs: 5000 });
    const children = [0, 1].map(() => startNode(t, 'queue-poller.mjs', ['consumer', queue.dbPath]));
    for (const child of children) await child.says();
    queue.enqueueMany(messages(1000));
    for (const child of children) child.tell('start');
    for (const one of messages(1000, 'n')) await queue.enqueueAsync(one);
    await until(() => queue.stats().processed === 2000);
    const said = await Promise.all(children.map((child) => child.ask('stop')));
    assert.deepEqual(
      said.map(({ errors }) => errors),
      [[], []],
    );
    const handled = said.flatMap(({ handled }) => handled);
    assert.equal(handled.length, 2000);
    assert.equal(new Set(handled).size, 2000);
    for (const child of children) assert.equal((await child.ended).code, 0);
  });
});

describe('messages that somebody else settles while their handler runs', () => {
  /** A poller in whose handler `meanwhile` happens, whatever becomes of the handler then. */
  async function drain(t, meanwhile, outcome = () => {}) {
    const dbPath = openQueue(t).dbPath;
    const other = openQueue(t, { dbPath });
    other.enqueue(message('a'));
    const { poller, errors } = makePoller(t, {
      queue: openQueue(t, { dbPath }),
      onMessage: async ({ id }) => {
        await meanwhile(other, id);
        return outcome();
      },
    });
    // `once` would reject with what is told as an error.
    const drained = new Promise((resolve) => poller.once('drained', resolve));
    await poller.start();
    await drained;
    assert.equal(other.stats().processed, 1);
    return errors.map(({ error, phase }) => [error.code ?? error.message, phase]);
  }
  const mark = (queue, id) => queue[deliveryStore].markHandled([id]);

  test('because another copy was handled are no news', async (t) => {
    assert.deepEqual(await drain(t, mark), []);
  });

  test('for that reason, and whose own handler fails, are no more than that', async (t) => {
    const failure = () => Promise.reject(new Error('no'));
    assert.deepEqual(await drain(t, mark, failure), [['no', 'handle']]);
  });

  test('for any other reason are reported', async (t) => {
    const settle = (queue, id) => queue.markProcessed(id);
    assert.deepEqual(await drain(t, settle), [['ERR_IPC_STALE_CLAIM', 'settle']]);
  });
});

describe('consumers that are killed', () => {
  test('by a message lose that one alone, and in bounded time', async (t) => {
    const queue = openQueue(t);
    const others = messages(120).map((one, index) => ({ ...one, timestamp: index }));
    queue.enqueueMany([...others, message('deadly', { timestamp: 29.5 })]);
    let ended = 0;
    for (;;) {
      const child = startNode(t, 'queue-poller.mjs', ['doomed', queue.dbPath]);
      let said = await child.says();
      if (said !== 'drained') {
        const { signal } = await child.ended;
        assert.equal(signal, 'SIGKILL');
        ended += 1;
        if (ended > 2) assert.deepEqual(said, { others: ended === 3 ? 30 : 0 }, `${ended}`);
        continue;
      }
      said = await child.ended;
      assert.equal(said.code, 0);
      break;
    }
    assert.equal(ended, 2 + limits.cutShortAloneMax);
    assert.equal(queue.stats().processed, 120);
    assert.deepEqual(
      queue.deadLetters().map(({ id, error }) => [id, error]),
      [['deadly', 'its deliveries were cut short']],
    );
  });

  test('by others lose nothing', async (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(120));
    for (let kills = 0; kills < limits.attemptsMax + 3; kills += 1) {
      const child = startNode(t, 'queue-poller.mjs', ['stuck', queue.dbPath]);
      assert.equal(await child.says(), 'm0');
      await child.kill('SIGKILL');
    }
    const { poller, handled, errors } = makePoller(t, { queue });
    await poller.start();
    await once(poller, 'drained');
    assert.deepEqual(handled, idsOf(messages(120)));
    assert.deepEqual([queue.stats().dead, errors], [0, []]);
  });
});

describe('queues whose methods were replaced', () => {
  test('are polled through the replacements', async (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(3));
    const calls = [];
    for (const name of ['dequeue', 'markProcessed', 'cleanup']) {
      const genuine = queue[name];
      queue[name] = (...args) => {
        calls.push([name, args[0]]);
        return genuine.apply(queue, args);
      };
    }
    const { poller, handled } = makePoller(t, { queue, batchSize: 2 });
    await poller.start();
    await once(poller, 'drained');
    await poller.stop();
    assert.deepEqual(handled, ['m0', 'm1', 'm2']);
    assert.deepEqual(
      calls.filter(([name]) => name === 'markProcessed').map(([, id]) => id),
      ['m0', 'm1', 'm2'],
    );
    assert.ok(calls.some(([name]) => name === 'dequeue'));
    assert.ok(calls.some(([name]) => name === 'cleanup'));
  });

  test('so are subclasses that override one', async (t) => {
    const marked = [];
    class Recording extends SQLiteQueue {
      markProcessed(id) {
        marked.push(id);
        super.markProcessed(id);
      }
    }
    const queue = new Recording({ dbPath: openQueue(t).dbPath });
    afterwards(t, () => queue.close());
    queue.enqueueMany(messages(3));
    const { poller } = makePoller(t, { queue });
    await poller.start();
    await once(poller, 'drained');
    await poller.stop();
    assert.deepEqual(marked, ['m0', 'm1', 'm2']);
  });
});
