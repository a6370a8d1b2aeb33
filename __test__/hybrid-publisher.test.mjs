// The publisher: which way a message takes, what its promise says, and what never gets lost.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { describe, test } from 'node:test';
import { DeliveryError, HybridPublisher, PublishManyError } from '../features/hybrid/index.js';
import { paths, publisherOf, serverOf, stored, timed } from './support/hybrid.mjs';
import { noPython, startOld } from './support/queue.mjs';
import { deferred, until } from './support/socket.mjs';

const message = (id, more) => ({ id, type: 'candle', payload: { id }, timestamp: 1, ...more });
const ids = (messages) => messages.map(({ id }) => id);

test('a handled message is accepted by the socket, and nothing is written to the disk', async (t) => {
  const where = paths(t);
  const { seen } = await serverOf(t, where);
  const { publisher, events } = publisherOf(t, where);
  await publisher.publish(message('first'));
  const files = () =>
    ['', '-wal'].map((end) => statSync(where.dbPath + end, { throwIfNoEntry: false }));
  const before = files().map((file) => [file?.size, file?.mtimeMs]);
  const receipts = await publisher.publishMany(
    Array.from({ length: 500 }, (_, n) => message(`m${n}`)),
  );
  assert.ok(receipts.every(({ via, level }) => via === 'socket' && level === 'handled'));
  assert.deepEqual(ids(receipts), ids(seen.slice(1)));
  assert.deepEqual(
    files().map((file) => [file?.size, file?.mtimeMs]),
    before,
  );
  assert.deepEqual(events, []);
  assert.deepEqual(seen[1], message('m0'));
  const { mode, pending, viaSocket, viaQueue } = publisher.stats();
  assert.deepEqual([mode, pending, viaSocket, viaQueue], ['socket', 0, 501, 0]);
});

test('a message is read field by field, as JSON.stringify asks for its form', async (t) => {
  const where = paths(t);
  const { seen } = await serverOf(t, where);
  const { publisher } = publisherOf(t, where);
  const changing = {
    id: 'changing',
    get type() {
      this.payload = 'changed';
      return 'candle';
    },
    payload: 'first',
    timestamp: 1,
  };
  const form = message('its own form');
  const forms = new Proxy(message('hidden'), {
    get: (target, key) => (key === 'toJSON' ? () => form : target[key]),
  });
  const copied = { ...message('copied'), timestamp: 2 };
  await publisher.publishMany([changing, forms, copied]);
  assert.deepEqual(seen, [
    { id: 'changing', type: 'candle', payload: 'changed', timestamp: 1 },
    form,
    copied,
  ]);
});

test('what is missing is made, and nothing else is let in', async (t) => {
  const where = paths(t);
  const { seen } = await serverOf(t, where);
  const { publisher } = publisherOf(t, where);
  const before = Date.now();
  const [a, b] = await Promise.all([
    publisher.publish({ type: 'a' }),
    publisher.publish({ type: 'b', payload: undefined, extra: undefined }),
  ]);
  assert.notEqual(a.id, b.id);
  assert.deepEqual(
    seen.map(({ id, type, payload }) => [id, type, payload]),
    [
      [a.id, 'a', null],
      [b.id, 'b', null],
    ],
  );
  assert.ok(seen.every(({ timestamp }) => timestamp >= before && timestamp <= Date.now()));
  class Candle {
    toJSON() {
      return message('json');
    }
  }
  await publisher.publish(new Candle());
  assert.deepEqual(seen[2], message('json'));
  const circular = {};
  circular.self = circular;
  const cases = [
    [null, 'ERR_IPC_INVALID_ARGUMENT', /object/],
    [{}, 'ERR_IPC_INVALID_MESSAGE', /type/],
    [{ type: '' }, 'ERR_IPC_INVALID_MESSAGE', /type/],
    [{ type: 't', id: 7 }, 'ERR_IPC_INVALID_MESSAGE', /id/],
    [{ type: 't', id: '\ud800' }, 'ERR_IPC_INVALID_MESSAGE', /id/],
    [{ type: 't', timestamp: Number.NaN }, 'ERR_IPC_INVALID_MESSAGE', /timestamp/],
    [{ type: 't', timestamp: '1' }, 'ERR_IPC_INVALID_MESSAGE', /timestamp/],
    [{ type: 't', payload: () => {} }, 'ERR_IPC_INVALID_MESSAGE', /payload/],
    [{ type: 't', payload: { toJSON() {} } }, 'ERR_IPC_INVALID_MESSAGE', /payload/],
    [{ type: 't', symbol: 'BTC' }, 'ERR_IPC_INVALID_MESSAGE', /"symbol".*payload/],
    [{ type: 't', payload: 1n }, 'ERR_IPC_UNSERIALIZABLE', /BigInt/],
    [{ type: 't', payload: circular }, 'ERR_IPC_UNSERIALIZABLE', /circular/],
    [{ type: 't', id: 'x'.repeat(70_000) }, 'ERR_IPC_INVALID_MESSAGE', /id/],
  ];
  for (const [bad, code, text] of cases) {
    const error = await publisher.publish(bad).then(assert.fail, (error) => error);
    assert.ok(error instanceof DeliveryError, code);
    assert.deepEqual([error.code, error.indeterminate], [code, false]);
    assert.match(error.message, text);
  }
  assert.equal(seen.length, 3);
  assert.equal(publisher.stats().rejected, cases.length);
});

test('whatever a message or orderKey throws, the error is typed', async (t) => {
  const thrown = [new RangeError('of the caller'), 'text', null, undefined, Object.create(null)];
  for (const what of thrown) {
    const fail = () => {
      throw what;
    };
    const getter = (field) => Object.defineProperty({ type: 't' }, field, { get: fail });
    const cases = [
      [getter('id'), undefined, 'ERR_IPC_UNSERIALIZABLE'],
      [{ ...message('p'), payload: { toJSON: fail } }, undefined, 'ERR_IPC_UNSERIALIZABLE'],
      [{ toJSON: fail }, undefined, 'ERR_IPC_UNSERIALIZABLE'],
      [getter('toJSON'), undefined, 'ERR_IPC_UNSERIALIZABLE'],
      [new Proxy({}, { ownKeys: fail }), undefined, 'ERR_IPC_UNSERIALIZABLE'],
      [message('k'), fail, 'ERR_IPC_INVALID_MESSAGE'],
    ];
    for (const [bad, orderKey, code] of cases) {
      const { publisher } = publisherOf(t, { ...paths(t), orderKey });
      const error = await publisher.publish(bad).then(assert.fail, (error) => error);
      assert.ok(error instanceof DeliveryError);
      assert.deepEqual([error.code, error.indeterminate, error.cause], [code, false, what]);
      await assert.rejects(publisher.publishMany([bad]), { name: 'PublishManyError', code });
      await publisher.close();
    }
  }
});

test('without a consumer messages are durable in the queue, and the socket is used once it is there', async (t) => {
  const where = paths(t);
  const { publisher, events, names } = publisherOf(t, where);
  const receipts = await publisher.publishMany([message('a'), message('b')]);
  assert.ok(receipts.every(({ via, level }) => via === 'queue' && level === 'durable'));
  assert.deepEqual(stored(where), [message('a'), message('b')]);
  assert.deepEqual(events[0], ['failover', 'ENOENT']);
  const recovered = once(publisher, 'recovered');
  const { seen } = await serverOf(t, where);
  const [{ stored: count, outageMs }] = await recovered;
  assert.equal(count, 2);
  assert.ok(outageMs > 0);
  assert.equal((await publisher.publish(message('c'))).via, 'socket');
  assert.deepEqual(ids(seen), ['c']);
  assert.deepEqual(new Set(names()), new Set(['failover', 'backlog', 'recovered']));
  assert.equal(publisher.stats().failovers, 1);
});

test('messages of a consumer that is gone are stored at once', async (t) => {
  const where = paths(t);
  const { server, seen } = await serverOf(t, where, () => new Promise(() => {}));
  const { publisher, events } = publisherOf(t, { ...where, spillAfterMs: 60_000 });
  const published = publisher.publishMany([message('a'), message('b'), message('c')]);
  await until(() => seen.length === 3);
  await server.stop({ deadlineMs: 0 });
  const receipts = await published;
  assert.ok(receipts.every(({ via }) => via === 'queue'));
  assert.deepEqual(ids(stored(where)), ['a', 'b', 'c']);
  assert.deepEqual(events[0], ['failover', 'ERR_IPC_CONNECTION_LOST']);
  assert.equal((await publisher.publish(message('d'))).via, 'queue');
});

test('a consumer that hangs up at once is asked ever less often, until one has answered', async (t) => {
  const where = paths(t);
  // Of the waits, half is random.
  t.mock.method(Math, 'random', () => 0);
  const timers = t.mock.method(globalThis, 'setTimeout');
  const waits = () =>
    timers.mock.calls.map(({ arguments: [, ms] }) => ms).filter((ms) => [25, 50, 100].includes(ms));
  let connections = 0;
  const hangingUp = createServer((socket) => {
    connections++;
    // Not a refusal, which it would be if it came at once.
    setTimeout(() => socket.destroy(), 15);
  });
  hangingUp.listen(where.socketPath);
  await once(hangingUp, 'listening');
  const { publisher } = publisherOf(t, { ...where, spillAfterMs: 60_000 });
  await until(() => connections === 4);
  assert.deepEqual(waits(), [25, 50, 100]);
  await new Promise((resolve) => hangingUp.close(resolve));
  const { server } = await serverOf(t, where);
  await once(publisher, 'recovered');
  await until(async () => (await publisher.publish({ type: 't' })).via === 'socket');
  const before = waits().length;
  await server.stop({ deadlineMs: 0 });
  await until(() => waits().length > before);
  assert.equal(waits()[before], 25);
});

test('a refused message is stored, the others are not', async (t) => {
  const where = paths(t);
  await serverOf(t, where, ({ id }) => {
    if (id === 'bad') throw new Error('no');
  });
  const { publisher, names } = publisherOf(t, where);
  const receipts = await publisher.publishMany(['a', 'bad', 'b'].map((id) => message(id)));
  assert.deepEqual(
    receipts.map(({ via }) => via),
    ['socket', 'queue', 'socket'],
  );
  assert.deepEqual(ids(stored(where)), ['bad']);
  assert.deepEqual(names(), ['backlog']);
});

test('a silent consumer: stored in time, tried again one by one, and late answers are heeded', async (t) => {
  const where = paths(t);
  const gates = new Map();
  const { seen } = await serverOf(t, where, ({ id }) => {
    const gate = deferred();
    gates.set(id, gate);
    return gate.promise;
  });
  const { publisher, events } = publisherOf(t, { ...where, spillAfterMs: 40 });
  const [a, b] = await publisher.publishMany([message('a'), message('b')]);
  assert.deepEqual([a.via, b.via], ['queue', 'queue']);
  assert.ok(
    events.some(([name, code]) => name === 'failover' && code === 'ERR_IPC_NOT_ACKNOWLEDGED'),
  );
  // At most one message at a time asks whether the consumer is back.
  const receipts = await publisher.publishMany(
    Array.from({ length: 50 }, (_, n) => message(`q${n}`)),
  );
  assert.ok(receipts.every(({ via }) => via === 'queue'));
  assert.ok(seen.length <= 3, `${seen.length} messages were sent to a silent consumer`);
  assert.equal(publisher.stats().mode, 'queue');
  const recovered = once(publisher, 'recovered');
  for (const gate of gates.values()) gate.resolve();
  await recovered;
  // What was handled after all need not be handled again.
  await until(() => !ids(stored(where)).includes('a') && !ids(stored(where)).includes('b'));
  assert.ok(publisher.stats().lateAcknowledgements >= 2);
  assert.ok(ids(stored(where)).includes('q49'));
});

test('one message that hangs does not keep the others off the socket', async (t) => {
  const where = paths(t);
  await serverOf(t, where, ({ id }) => (id === 'hang' ? new Promise(() => {}) : undefined));
  const { publisher } = publisherOf(t, { ...where, spillAfterMs: 30 });
  assert.equal((await publisher.publish(message('hang'))).via, 'queue');
  let count = 0;
  await until(async () => (await publisher.publish(message(`m${count++}`))).via === 'socket');
  assert.equal((await publisher.publish(message('after'))).via, 'socket');
});

test('after a silence as many messages are under way as before', async (t) => {
  const where = paths(t);
  let gate = deferred();
  let running = 0;
  let most = 0;
  const { seen } = await serverOf(t, where, async () => {
    running++;
    most = Math.max(most, running);
    await gate.promise;
    running--;
  });
  const { publisher } = publisherOf(t, { ...where, spillAfterMs: 50 });
  // More than the window holds: what was stored meanwhile must not count for ever.
  const long = (id) => message(id, { payload: 'x'.repeat(1_000_000) });
  const silent = await publisher.publishMany(Array.from({ length: 20 }, (_, n) => long(`s${n}`)));
  assert.ok(silent.every(({ via }) => via === 'queue'));
  const recovered = once(publisher, 'recovered');
  gate.resolve();
  await recovered;
  gate = deferred();
  most = 0;
  const before = seen.length;
  const small = publisher.publishMany(Array.from({ length: 10 }, (_, n) => message(`m${n}`)));
  await until(() => seen.length === before + 10);
  assert.equal(most, 10);
  gate.resolve();
  await small;
});

test('there is time to store a message, however the two times are set', async (t) => {
  const where = paths(t);
  await serverOf(t, where, () => new Promise(() => {}));
  const { publisher } = publisherOf(t, { ...where, timeoutMs: 400, spillAfterMs: 60_000 });
  assert.equal((await publisher.publish(message('a'))).via, 'queue');
});

test("durability 'always' stores first, and does not use the socket", async (t) => {
  const where = paths(t);
  const { server, seen } = await serverOf(t, where);
  const { publisher } = publisherOf(t, { ...where, durability: 'always' });
  assert.deepEqual(await publisher.publish(message('a')), {
    id: 'a',
    via: 'queue',
    level: 'durable',
  });
  assert.deepEqual([seen.length, server.stats().accepted], [0, 0]);
  assert.deepEqual(ids(stored(where)), ['a']);
});

test('a message may be published again without the timestamp that was made for it', async (t) => {
  const where = paths(t);
  const { publisher } = publisherOf(t, where);
  const { id } = await publisher.publish({ type: 'order', payload: { n: 1 } });
  const [{ timestamp }] = stored(where);
  await until(() => Date.now() > timestamp);
  const again = { id, type: 'order', payload: { n: 1 } };
  assert.equal((await publisher.publish(again)).via, 'queue');
  const later = { ...again, timestamp: timestamp + 1_000 };
  assert.equal((await publisher.publish(later)).via, 'queue');
  assert.deepEqual(stored(where), [{ ...again, timestamp }], 'the first one stays');
});

test('nothing is accepted that went into a deleted file, and a new one is found', async (t) => {
  const where = paths(t);
  const { publisher } = publisherOf(t, { ...where, durability: 'always', timeoutMs: 300 });
  await publisher.publish(message('before'));
  for (const end of ['', '-wal', '-shm']) rmSync(where.dbPath + end);
  const error = await publisher.publish(message('lost')).then(assert.fail, (error) => error);
  assert.match(error.code, /^SQLITE_(READONLY_DBMOVED|CANTOPEN)$/);
  assert.equal(error.indeterminate, false);
  assert.deepEqual(stored(where), [], 'this makes the file anew');
  assert.equal((await publisher.publish(message('after'))).via, 'queue');
  assert.deepEqual(ids(stored(where)), ['after']);
});

test('publishing a message again is safe, and another message under its id is refused', async (t) => {
  const where = paths(t);
  const { publisher } = publisherOf(t, where);
  for (let round = 0; round < 2; round++) {
    assert.equal((await publisher.publish(message('a'))).via, 'queue');
  }
  const both = await Promise.allSettled([
    publisher.publish(message('a', { payload: 'other' })),
    publisher.publish(message('b')),
  ]);
  assert.deepEqual(
    [both[0].reason.code, both[0].reason.indeterminate, both[0].reason.id],
    ['ERR_IPC_ID_CONFLICT', false, 'a'],
  );
  assert.equal(both[1].value.via, 'queue');
  assert.deepEqual(stored(where), [message('a'), message('b')]);
});

test('publishMany() tells the outcome of every message', async (t) => {
  const { publisher } = publisherOf(t, paths(t));
  const error = await publisher
    .publishMany([message('a'), { type: '' }, message('c')])
    .then(assert.fail, (error) => error);
  assert.ok(error instanceof PublishManyError);
  assert.equal(error.code, 'ERR_IPC_INVALID_MESSAGE');
  assert.deepEqual(
    error.outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  await assert.rejects(publisher.publishMany('x'), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  assert.deepEqual(await publisher.publishMany([]), []);
});

test('a full publisher rejects, or lets messages wait for room', async (t) => {
  const where = paths(t);
  const gate = deferred();
  const { seen } = await serverOf(t, where, () => gate.promise);
  const full = { ...where, maxPending: 2, spillAfterMs: 60_000 };
  const rejecting = publisherOf(t, { ...full, overflow: 'reject' }).publisher;
  const blocking = publisherOf(t, full).publisher;
  const inside = [rejecting, blocking].flatMap((publisher, n) => [
    publisher.publish(message(`${n}a`)),
    publisher.publish(message(`${n}b`)),
  ]);
  await assert.rejects(rejecting.publish(message('no')), {
    code: 'ERR_IPC_BUFFER_FULL',
    indeterminate: false,
  });
  const waiting = ['x', 'y'].map((id) => blocking.publish(message(id)));
  assert.deepEqual([blocking.stats().pending, blocking.stats().waiting], [2, 2]);
  await assert.rejects(blocking.publish(message('no')), { code: 'ERR_IPC_BUFFER_FULL' });
  await until(() => seen.length === 4);
  gate.resolve();
  const receipts = await Promise.all([...inside, ...waiting]);
  assert.ok(receipts.every(({ via }) => via === 'socket'));
  assert.deepEqual(ids(seen.slice(4)), ['x', 'y']);
  assert.deepEqual([blocking.stats().pending, blocking.stats().waiting], [0, 0]);
});

test('the length of the texts is bounded too', async (t) => {
  const where = paths(t);
  const { publisher } = publisherOf(t, { ...where, maxPendingLength: 1_000, overflow: 'reject' });
  const long = message('long', { payload: 'x'.repeat(5_000) });
  // A message that is longer by itself is taken when nothing else is there.
  const first = publisher.publish(long);
  await assert.rejects(publisher.publish(message('short')), { code: 'ERR_IPC_BUFFER_FULL' });
  assert.equal((await first).via, 'queue');
});

test('a message too long for the server takes the queue, and its connection lives on', async (t) => {
  const where = paths(t);
  const { seen } = await serverOf(t, where, () => {}, { maxFrameBytes: 1_000 });
  const { publisher, names } = publisherOf(t, where);
  await publisher.publish(message('a'));
  const long = message('long', { payload: 'x'.repeat(5_000) });
  assert.equal((await publisher.publish(long)).via, 'queue');
  assert.equal((await publisher.publish(message('b'))).via, 'socket');
  assert.deepEqual(ids(seen), ['a', 'b']);
  assert.deepEqual(names(), ['backlog']);
  const small = publisherOf(t, { ...where, maxFrameBytes: 200 }).publisher;
  assert.equal((await small.publish(message('other', { payload: 'ä'.repeat(100) }))).via, 'queue');
});

test('what cannot be stored either is rejected in time, and whether it may have arrived is told', {
  skip: noPython,
}, async (t) => {
  const where = paths(t);
  const { server, seen } = await serverOf(t, where, () => new Promise(() => {}));
  const { publisher } = publisherOf(t, { ...where, spillAfterMs: 30, timeoutMs: 300 });
  const old = await startOld(t, where.dbPath);
  await old.sql('BEGIN IMMEDIATE');
  const sent = publisher.publish(message('sent'));
  sent.catch(() => {});
  await until(() => seen.length === 1);
  await assert.rejects(sent, {
    name: 'DeliveryError',
    code: 'ERR_IPC_PUBLISH_TIMEOUT',
    indeterminate: true,
    id: 'sent',
  });
  await server.stop({ deadlineMs: 0 });
  const storing = publisherOf(t, { ...where, durability: 'always', timeoutMs: 300 }).publisher;
  const underWay = storing.publish(message('under way'));
  underWay.catch(() => {});
  await null;
  // One commit at a time is with the worker thread, which waits for the lock and cannot be called
  // back; what comes after it is not.
  const behind = storing.publish(message('behind'));
  behind.catch(() => {});
  await assert.rejects(underWay, { code: 'ERR_IPC_PUBLISH_TIMEOUT', indeterminate: true });
  await assert.rejects(behind, { code: 'ERR_IPC_PUBLISH_TIMEOUT', indeterminate: false });
  await old.sql('ROLLBACK');
  assert.equal((await publisher.publish(message('sent'))).via, 'queue');
  assert.equal((await storing.publish(message('under way'))).via, 'queue');
  assert.deepEqual(ids(stored(where)).sort(), ['sent', 'under way']);
});

test('close() blocks nothing while another process holds the file', {
  skip: noPython,
}, async (t) => {
  const where = paths(t);
  const { publisher } = publisherOf(t, { ...where, timeoutMs: 500 });
  const old = await startOld(t, where.dbPath);
  await old.sql('BEGIN IMMEDIATE');
  const rejected = assert.rejects(publisher.publish(message('a')), { indeterminate: true });
  const { tookMs, blockedMs } = await timed(() => publisher.close({ deadlineMs: 50 }));
  await rejected;
  assert.ok(tookMs < 3000, `${tookMs} ms`);
  assert.ok(blockedMs < 1000, `${blockedMs} ms`);
  await old.sql('ROLLBACK');
  await until(() => stored(where).length === 1);
});

test('close() waits for acknowledgements, then stores the rest, and ends', async (t) => {
  const where = paths(t);
  const gate = deferred();
  const { seen } = await serverOf(t, where, ({ id }) =>
    id === 'slow' ? gate.promise : new Promise(() => {}),
  );
  const publisher = new HybridPublisher({ ...where, spillAfterMs: 60_000 });
  const slow = publisher.publish(message('slow'));
  const never = publisher.publish(message('never'));
  await until(() => seen.length === 2);
  const closed = publisher.close({ deadlineMs: 50 });
  gate.resolve();
  assert.equal((await slow).via, 'socket');
  assert.equal((await never).via, 'queue');
  await closed;
  assert.equal(publisher.stats().mode, 'closed');
  await assert.rejects(publisher.publish(message('late')), {
    code: 'ERR_IPC_PUBLISHER_CLOSED',
    indeterminate: false,
  });
  await publisher.close();
  assert.deepEqual(ids(stored(where)), ['never']);
});

test('messages of a key follow those that are in the queue', async (t) => {
  const where = paths(t);
  const refuse = new Set(['a1']);
  const { seen } = await serverOf(t, where, ({ id }) => {
    if (refuse.has(id)) throw new Error('not yet');
  });
  const orderKey = ({ payload }) => payload.key;
  const { publisher } = publisherOf(t, { ...where, orderKey });
  const keyed = (id, key) => message(id, { payload: { key } });
  const via = async (id, key) => (await publisher.publish(keyed(id, key))).via;
  assert.equal(await via('a1', 'A'), 'queue');
  assert.equal(await via('a2', 'A'), 'queue');
  assert.equal(await via('b1', 'B'), 'socket');
  assert.equal(await via('n1', undefined), 'socket');
  assert.deepEqual(ids(seen), ['a1', 'b1', 'n1']);
  // A publisher that starts again does not know whose the messages are.
  const second = publisherOf(t, { ...where, orderKey }).publisher;
  assert.equal((await second.publish(keyed('b2', 'B'))).via, 'queue');
  assert.equal((await second.publish(keyed('n2', undefined))).via, 'socket');
  const { SQLiteQueue } = await import('../features/sqlite-queue/index.js');
  const queue = new SQLiteQueue(where);
  t.after(() => queue.close());
  assert.equal(queue.markProcessedMany(['a1', 'a2', 'b2']), 3);
  let count = 3;
  await until(async () => {
    const id = `a${count++}`;
    if ((await via(id, 'A')) === 'socket') return true;
    queue.markProcessed(id);
    return false;
  });
  await until(async () => {
    const id = `c${count++}`;
    if ((await second.publish(keyed(id, 'C'))).via === 'socket') return true;
    queue.markProcessed(id);
    return false;
  });
});

describe('before a message of a key takes the queue, the earlier ones on the socket are stored', () => {
  const orderKey = ({ payload }) => payload.key;
  const keyed = (id, more) => message(id, { payload: { key: id[0], more } });

  /** A publisher whose consumer answers `ready` alone; the first two messages of a key are with it. */
  async function waiting(t, handler, options) {
    const where = paths(t);
    const { seen } = await serverOf(t, where, ({ id }) =>
      id === 'ready' ? undefined : handler(id),
    );
    const { publisher } = publisherOf(t, { ...where, orderKey, spillAfterMs: 60_000, ...options });
    await publisher.publish(keyed('ready'));
    const first = ['a1', 'b1', 'a2'].map((id) => publisher.publish(keyed(id)));
    await until(() => seen.length === 4);
    const end = async (last) => {
      const [a1, b1, a2] = first;
      const receipts = await Promise.all([a1, a2, last]);
      assert.deepEqual(
        receipts.map(({ via }) => via),
        ['queue', 'queue', 'queue'],
      );
      assert.deepEqual(ids(stored(where)), ids(receipts));
      assert.equal(publisher.stats().pending, 1, 'b1 is of another key');
      await publisher.close({ deadlineMs: 0 });
      assert.equal((await b1).via, 'queue');
    };
    return { publisher, end };
  }

  const never = () => new Promise(() => {});

  test('when it is too long for the socket', async (t) => {
    const { publisher, end } = await waiting(t, never, { maxFrameBytes: 1_000 });
    await end(publisher.publish(keyed('a3', 'x'.repeat(2_000))));
  });

  test('when the consumer refuses it', async (t) => {
    const { publisher, end } = await waiting(t, (id) => {
      if (id === 'a3') throw new Error('not now');
      return never();
    });
    await end(publisher.publish(keyed('a3')));
  });

  test('when the consumer has fallen silent', async (t) => {
    const where = paths(t);
    const { seen } = await serverOf(t, where, ({ id }) => (id === 'ready' ? undefined : never()));
    const { publisher } = publisherOf(t, { ...where, orderKey, spillAfterMs: 200 });
    await publisher.publish(keyed('ready'));
    const first = publisher.publish(keyed('a1'));
    await until(() => seen.length === 2);
    const second = publisher.publish(keyed('a2'));
    // Told in the moment in which the first one is stored, when the second has time left.
    await once(publisher, 'failover');
    await Promise.all([first, second, publisher.publish(keyed('a3'))]);
    assert.deepEqual(ids(stored(where)), ['a1', 'a2', 'a3']);
  });
});

test('a clock that is set back does not turn the order of a key round', async (t) => {
  const where = paths(t);
  const { publisher } = publisherOf(t, { ...where, orderKey: () => 'key' });
  const elsewhere = paths(t);
  const other = publisherOf(t, elsewhere).publisher;
  const times = [5_000, 3_000, 4_000, 6_000];
  t.mock.method(Date, 'now', () => times[0]);
  for (let n = 0; times.length > 0; n++, times.shift()) {
    await publisher.publish({ id: `m${n}`, type: 't' });
    await other.publish({ id: `m${n}`, type: 't' });
  }
  t.mock.restoreAll();
  assert.deepEqual(
    stored(where).map(({ id, timestamp }) => [id, timestamp]),
    [
      ['m0', 5_000],
      ['m1', 5_000],
      ['m2', 5_000],
      ['m3', 6_000],
    ],
  );
  assert.deepEqual(ids(stored(elsewhere)), ['m1', 'm2', 'm0', 'm3'], 'nobody asked for an order');
});

test('options are checked', () => {
  const good = { socketPath: '/nowhere/ipc.sock', dbPath: '/nowhere/queue.db' };
  const cases = [
    undefined,
    {},
    { ...good, socketPath: '' },
    { ...good, dbPath: 7 },
    { ...good, spillAfterMs: 0 },
    { ...good, timeoutMs: -1 },
    { ...good, durability: 'maybe' },
    { ...good, overflow: 'drop' },
    { ...good, legacyServer: 'x' },
    { ...good, orderKey: 'symbol' },
    { ...good, maxPending: 0 },
    { ...good, maxPendingLength: 1.5 },
    { ...good, maxFrameBytes: 0 },
  ];
  for (const config of cases) {
    assert.throws(() => new HybridPublisher(config), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  }
  assert.throws(() => new HybridPublisher({ ...good, socketPath: `/${'x'.repeat(200)}` }), {
    code: 'ERR_IPC_PATH_TOO_LONG',
  });
});
