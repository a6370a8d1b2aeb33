import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { IpcError } from '../features/sqlite-queue/index.js';
import { idsOf, message, messages, openQueue } from './support/queue.mjs';
import { randomJson } from './support/random-json.mjs';

const invalidMessage = { name: 'IpcError', code: 'ERR_IPC_INVALID_MESSAGE' };
const invalidArgument = { name: 'IpcError', code: 'ERR_IPC_INVALID_ARGUMENT' };
const duplicate = { name: 'IpcError', code: 'SQLITE_CONSTRAINT_PRIMARYKEY' };

describe('enqueue', () => {
  const ids = [
    undefined,
    null,
    1,
    0,
    Number.NaN,
    1n,
    true,
    '',
    {},
    [],
    Symbol('id'),
    () => {},
    'x'.repeat(64 * 1024 + 1),
    '\ud800',
    'a\udc00b',
  ];
  for (const field of ['id', 'type']) {
    for (const value of ids) {
      const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 9)) : String(value);
      test(`refuses ${field} ${shown || 'array'}`, async (t) => {
        const queue = openQueue(t);
        const wrong = message('a', { [field]: value });
        assert.throws(() => queue.enqueue(wrong), invalidMessage);
        assert.throws(() => queue.enqueueMany([message('b'), wrong]), invalidMessage);
        await assert.rejects(queue.enqueueAsync(wrong), invalidMessage);
        assert.deepEqual(queue.dequeue(), []);
      });
    }
  }

  test('refuses payloads that JSON has no form for', async (t) => {
    const queue = openQueue(t);
    const circular = {};
    circular.self = circular;
    const throwing = {
      toJSON() {
        throw new RangeError('no');
      },
    };
    const cases = [
      [undefined, 'ERR_IPC_INVALID_MESSAGE'],
      [() => {}, 'ERR_IPC_INVALID_MESSAGE'],
      [Symbol('s'), 'ERR_IPC_INVALID_MESSAGE'],
      [circular, 'ERR_IPC_UNSERIALIZABLE'],
      [1n, 'ERR_IPC_UNSERIALIZABLE'],
      [throwing, 'ERR_IPC_UNSERIALIZABLE'],
    ];
    for (const [payload, code] of cases) {
      const wrong = message('a', { payload });
      assert.throws(() => queue.enqueue(wrong), { name: 'IpcError', code });
      assert.throws(() => queue.enqueueMany([wrong]), { name: 'IpcError', code });
      await assert.rejects(queue.enqueueAsync(wrong), { name: 'IpcError', code });
    }
    const { payload, ...without } = message('a');
    assert.throws(() => queue.enqueue(without), invalidMessage);
    assert.deepEqual(queue.dequeue(), []);
  });

  test('refuses what is no message at all', async (t) => {
    const queue = openQueue(t);
    for (const wrong of [undefined, null, 'text', 5]) {
      assert.throws(() => queue.enqueue(wrong), invalidArgument);
      assert.throws(() => queue.enqueueMany([wrong]), invalidArgument);
      await assert.rejects(queue.enqueueAsync(wrong), invalidArgument);
    }
    for (const wrong of [undefined, null, {}, 'ab', message('a')]) {
      assert.throws(() => queue.enqueueMany(wrong), invalidArgument);
    }
  });

  test('keeps timestamps as they are, and refuses what is no finite number', async (t) => {
    const queue = openQueue(t);
    const kept = [-5, -0.25, 0, 0.5, 1.5, 1_700_000_000_000, 1_700_000_000_000.125, 2 ** 53, 1e300];
    for (const [index, timestamp] of kept.entries()) {
      queue.enqueue(message(`m${index}`, { timestamp }));
    }
    const stored = queue.dequeue();
    assert.deepEqual(
      stored.map(({ timestamp }) => timestamp),
      kept,
    );
    const wrong = [
      undefined,
      null,
      '1',
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      1n,
      new Date(),
    ];
    for (const timestamp of wrong) {
      const bad = message('bad', { timestamp });
      assert.throws(() => queue.enqueue(bad), invalidMessage);
      assert.throws(() => queue.enqueueMany([bad]), invalidMessage);
      await assert.rejects(queue.enqueueAsync(bad), invalidMessage);
    }
    assert.equal(queue.stats().pending, kept.length);
  });

  test('a duplicate id throws, whatever became of the first', async (t) => {
    const queue = openQueue(t);
    queue.enqueue(message('a'));
    assert.throws(() => queue.enqueue(message('a', { payload: 'other' })), duplicate);
    assert.throws(() => queue.enqueue(message('a')), IpcError);
    await assert.rejects(queue.enqueueAsync(message('a')), duplicate);
    queue.markProcessed('a');
    assert.throws(() => queue.enqueue(message('a')), duplicate);
    queue.cleanup(0);
    queue.enqueue(message('a', { payload: 'second' }));
    assert.equal(queue.dequeue()[0].payload, 'second');
  });

  test('ids of any text are kept apart', (t) => {
    const queue = openQueue(t);
    const ids = [
      'a',
      'A',
      'a ',
      ' a',
      '1',
      '1.0',
      '01',
      'é',
      'e\u0301',
      '\0',
      'a\0b',
      'a\0c',
      '😀',
      "'; --",
      '\ufffd',
    ];
    for (const id of ids) queue.enqueue(message(id));
    assert.deepEqual(idsOf(queue.dequeue()), ids);
    queue.markProcessed('a\0b');
    assert.equal(queue.markProcessedMany(ids), ids.length - 1);
    assert.deepEqual(queue.dequeue(), []);
  });

  test('enqueueMany stores all or none and names the message that is to blame', (t) => {
    const queue = openQueue(t);
    assert.equal(queue.enqueueMany([]), 0);
    assert.equal(queue.enqueueMany(messages(1000)), 1000);
    const cases = [
      [
        [...messages(3, 'x'), message('m5'), message('x9')],
        'SQLITE_CONSTRAINT_PRIMARYKEY',
        /\b3\b/,
      ],
      [[message('x'), message('y'), message('x')], 'SQLITE_CONSTRAINT_PRIMARYKEY', /\b2\b/],
      [[message('x'), message(7)], 'ERR_IPC_INVALID_MESSAGE', /\b1\b/],
      [[message('x'), message('')], 'ERR_IPC_INVALID_MESSAGE', /\b1\b/],
    ];
    for (const [batch, code, text] of cases) {
      assert.throws(
        () => queue.enqueueMany(batch),
        (error) => {
          assert.equal(error.code, code);
          assert.match(error.message, text);
          return true;
        },
      );
      assert.equal(queue.stats().pending, 1000);
    }
  });

  test('an object with more keys, getters or a prototype is read by its four fields', (t) => {
    const queue = openQueue(t);
    class Message {
      type = 'test';
      timestamp = 5;
      more = 'ignored';
      get id() {
        return 'from a getter';
      }
      get payload() {
        return { toJSON: () => 'from toJSON' };
      }
    }
    queue.enqueue(new Message());
    assert.deepEqual(queue.dequeue(), [
      { id: 'from a getter', type: 'test', payload: 'from toJSON', timestamp: 5 },
    ]);
  });

  test('5,000 random values come back as JSON.parse(JSON.stringify(x))', async (t) => {
    const queue = openQueue(t, { durability: 'normal' });
    const next = randomJson(20261123);
    const payloads = Array.from({ length: 5000 }, () => next());
    const all = payloads.map((payload, index) =>
      message(`m${index}`, { payload, timestamp: index }),
    );
    for (const one of all.slice(0, 500)) queue.enqueue(one);
    queue.enqueueMany(all.slice(500, 3000));
    await Promise.all(all.slice(3000).map((one) => queue.enqueueAsync(one)));
    const stored = queue.dequeue(5000);
    assert.equal(stored.length, 5000);
    for (const [index, { payload }] of stored.entries()) {
      const expected = JSON.parse(JSON.stringify(payloads[index]));
      assert.deepEqual(payload, expected);
      assert.equal(JSON.stringify(payload), JSON.stringify(expected));
    }
    assert.deepEqual(
      queue.claim({ limit: 5000 }).map((claim) => claim.message),
      stored,
    );
  });

  test('odd payloads are stored as JSON.stringify has them, in every way', async (t) => {
    const withJson = (json) => Object.assign(() => 1, { toJSON: () => json });
    let nested = { v: 1 };
    for (let depth = 0; depth < 55; depth++) nested = { child: nested, имя: depth };
    const own = Object.defineProperty({ a: 1 }, '__proto__', { value: 1, enumerable: true });
    const payloads = [
      null,
      0,
      -0,
      'text \ud800',
      [undefined, () => 1, withJson(1)],
      withJson({ f: 7 }),
      { f: withJson(7), date: new Date(0), map: new Map(), boxed: Object('s') },
      new Proxy([1], { get: (list, key) => (key === 'length' ? -1 : list[key]) }),
      nested,
      own,
    ];
    const stored = (way) => payloads.map((payload, n) => message(`${way} ${n}`, { payload }));
    const queue = openQueue(t);
    for (const one of stored('one')) queue.enqueue(one);
    queue.enqueueMany(stored('many'));
    await Promise.all(stored('async').map((one) => queue.enqueueAsync(one)));
    const texts = payloads.map((payload) => JSON.stringify(payload));
    const expected = [...texts, ...texts, ...texts];
    const rows = queue.dequeue();
    assert.deepEqual(
      rows.map(({ payload }) => JSON.stringify(payload)),
      expected,
    );
    assert.deepStrictEqual(
      queue.claim().map((claim) => claim.message),
      rows,
    );
  });

  test('a payload of 20 MB and one nested 1,000 deep', (t) => {
    const queue = openQueue(t);
    let deep = 1;
    for (let level = 0; level < 1000; level += 1) deep = level % 2 ? [deep] : { deep };
    const large = 'é'.repeat(10_000_000);
    queue.enqueue(message('deep', { payload: deep, timestamp: 1 }));
    queue.enqueue(message('large', { payload: large, timestamp: 2 }));
    const [first, second] = queue.dequeue();
    assert.equal(JSON.stringify(first.payload), JSON.stringify(deep));
    assert.ok(second.payload === large);
  });
});

describe('validate: true', () => {
  test('refuses what QueueMessageSchema refuses, in every way of storing', async (t) => {
    const queue = openQueue(t, { validate: true });
    const wrong = [
      message('a', { timestamp: 0 }),
      message('a', { timestamp: -1 }),
      message('', {}),
      message('a', { type: '' }),
    ];
    for (const bad of wrong) {
      assert.throws(() => queue.enqueue(bad), invalidMessage);
      assert.throws(() => queue.enqueueMany([message('good'), bad]), invalidMessage);
      await assert.rejects(queue.enqueueAsync(bad), invalidMessage);
    }
    assert.deepEqual(queue.dequeue(), []);
    queue.enqueue(message('a', { timestamp: 0.5 }));
    queue.enqueueMany(messages(2));
    await queue.enqueueAsync(message('b', { payload: null }));
    assert.equal(queue.stats().pending, 4);
  });

  test('one bad message among many at once is refused alone', async (t) => {
    const queue = openQueue(t, { validate: true });
    const results = await Promise.allSettled([
      queue.enqueueAsync(message('a')),
      queue.enqueueAsync(message('b', { timestamp: -1 })),
      queue.enqueueAsync(message('c')),
    ]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.equal(results[1].reason.code, 'ERR_IPC_INVALID_MESSAGE');
    assert.deepEqual(idsOf(queue.dequeue()), ['a', 'c']);
  });
});
