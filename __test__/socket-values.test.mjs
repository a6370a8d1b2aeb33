// Values on the socket, which are taken apart and put together by the package: whatever they are, they
// arrive as JSON.parse(JSON.stringify(value)), and the wire has the bytes of JSON.stringify.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainValues } from './support/plain-values.mjs';
import { records } from './support/records.mjs';
import {
  child,
  connected,
  folder,
  frame,
  isLong,
  listen,
  plainServer,
  until,
} from './support/socket.mjs';

/** Sends messages by a client to a server, both ours; resolves with what has arrived. */
async function roundTrip(t, sent) {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  const messages = [];
  server.setMessageHandler((message) => void messages.push(message));
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  await Promise.all(sent.map((message) => client.send(message)));
  await until(() => messages.length === sent.length, 'all messages');
  return messages;
}

for (const [name, next] of [
  ['plain values', plainValues(20_261_126)],
  ['records', records(20_261_127)],
  ['records of ever other kinds', records(20_261_128, 5)],
]) {
  test(`the wire has ${name} as JSON.stringify writes them, and they come back as JSON.parse reads them`, (t) =>
    passThrough(t, next));
}

async function passThrough(t, next) {
  const path = folder(t);
  const { peers } = await plainServer(t, path('plain.sock'));
  const out = await connected(t, { socketPath: path('plain.sock') });
  await until(() => peers.length === 1, 'the connection');
  const texts = [];
  for (let rest = isLong ? 200_000 : 10_000; rest > 0; rest -= 500) {
    const values = Array.from({ length: 500 }, next);
    const bodies = values.map((value) => JSON.stringify(value));
    texts.push(...bodies);
    await Promise.all(values.map((value) => out.client.send(value)));
    peers[0].socket.write(Buffer.concat(bodies.map((body) => frame(body))));
    await until(() => peers[0].frames.length === texts.length, 'all frames');
    await until(() => out.messages.length === texts.length, 'all messages');
  }
  assert.deepEqual(peers[0].frames, texts);
  assert.deepStrictEqual(
    out.messages,
    texts.map((text) => JSON.parse(text)),
  );
  // The order of keys is not a part of equality.
  assert.deepEqual(
    out.messages.map((message) => JSON.stringify(message)),
    texts.map((text) => JSON.stringify(JSON.parse(text))),
  );
}

test('a getter that sends something itself disturbs neither message', async (t) => {
  const path = folder(t);
  const { peers } = await plainServer(t, path('plain.sock'));
  const { client } = await connected(t, { socketPath: path('plain.sock') });
  const inner = [];
  const outer = {
    id: 1,
    get now() {
      // It may be asked again, by JSON.stringify.
      inner.push(client.send({ id: 2, from: 'the getter' }));
      return 'here';
    },
    last: { id: 4 },
  };
  await Promise.all([client.send({ id: 0 }), client.send(outer), client.send({ id: 5, last: 1 })]);
  await Promise.all(inner);
  const frames = () => peers[0]?.frames ?? [];
  await until(() => frames().at(-1) === '{"id":5,"last":1}', 'the last frame');
  assert.deepEqual(
    frames().filter((text) => !text.startsWith('{"id":2')),
    ['{"id":0}', '{"id":1,"now":"here","last":{"id":4}}', '{"id":5,"last":1}'],
  );
  const sent = frames().filter((text) => text === '{"id":2,"from":"the getter"}');
  assert.equal(sent.length, inner.length);
});

test('a getter of the first message of a tick may send anything', async (t) => {
  const path = folder(t);
  const { peers } = await plainServer(t, path('plain.sock'));
  const { client } = await connected(t, { socketPath: path('plain.sock') });
  let round = 0;
  // It may be asked again, by JSON.stringify.
  let asked = 0;
  const ways = [
    () => client.send('text'),
    () => client.send(null),
    () => client.send({ of: 'the getter' }),
    () => client.send('acknowledged', { ack: true }),
    () => client.request({ of: 'the getter', id: `r${asked++}` }, { attempts: 2 }),
    () => client.send('x'.repeat(100_000)),
  ];
  const outcomes = [];
  for (const way of ways) {
    for (const call of ['send', 'request']) {
      const mine = (n) => ({ round, n });
      round++;
      const first = {
        get inner() {
          outcomes.push(way());
          return 1;
        },
        ...mine(0),
      };
      outcomes.push(client[call](first), ...[1, 2, 3].map((n) => client.send(mine(n))));
      const frames = () =>
        peers[0].frames
          .map((text) => JSON.parse(text))
          .filter((message) => message?.round === round);
      await until(() => frames().some(({ n }) => n === 3), 'the last of the tick');
      assert.deepEqual(
        frames().map(({ n }) => n),
        [0, 1, 2, 3],
      );
    }
  }
  client.disconnect();
  await Promise.allSettled(outcomes);
});

test('toJSON is asked once per message', async (t) => {
  const path = folder(t);
  const { peers } = await plainServer(t, path('plain.sock'));
  const { client } = await connected(t, { socketPath: path('plain.sock') });
  let asked = 0;
  const value = {
    toJSON(key) {
      asked++;
      return { key };
    },
  };
  await client.send({ a: [value] });
  await until(() => peers[0]?.frames.length === 1, 'the frame');
  assert.deepEqual([peers[0].frames[0], asked], ['{"a":[{"key":"0"}]}', 1]);
});

test('what is not a plain object is sent as JSON.stringify has it', async (t) => {
  const path = folder(t);
  const { peers } = await plainServer(t, path('plain.sock'));
  const { client } = await connected(t, { socketPath: path('plain.sock') });
  class Candle {
    #secret = 1;
    open = 1.5;
    constructor(close) {
      this.close = close;
    }
    get range() {
      return this.#secret;
    }
  }
  /** A nested getter changes what comes behind it. */
  const changing = (object) => {
    const nested = {
      get v() {
        object.second = 99;
        delete object.third;
        return 1;
      },
    };
    return Object.assign(object, { first: nested, second: 2, third: 3 });
  };
  const deep = JSON.parse(`${'[{"a":'.repeat(100)}1${'}]'.repeat(100)}`);
  const sparse = [1];
  sparse[3] = 2;
  const hidden = Object.defineProperty({ a: 1 }, 'hidden', { value: 1, enumerable: false });
  const values = [
    new Candle(2.5),
    Object.create({ inherited: 1 }, { own: { value: 1, enumerable: true } }),
    Object.create(null, { a: { value: [undefined, () => 1, Symbol('s')], enumerable: true } }),
    {
      boxed: [Object(1), Object('s'), Object(false)],
      map: new Map([[1, 2]]),
      error: new Error('e'),
    },
    { buffer: Buffer.from('abc'), bytes: new Uint8Array(2), date: new Date(Number.NaN) },
    { proxy: new Proxy({ b: 1, a: [1] }, {}), list: new Proxy([1, 2], {}) },
    { sparse, hidden, deep, regexp: /x/, nothing: undefined, f() {} },
    JSON.parse('{"__proto__":1,"a":{"__proto__":[]}}'),
    [[], {}, [[]], [{}]],
    changing(new Candle(1)),
    changing(Object.create(null)),
    changing({}),
  ];
  await Promise.all(values.map((value) => client.send(value)));
  await until(() => peers[0]?.frames.length === values.length, 'the frames');
  assert.deepEqual(
    peers[0].frames,
    values.map((value) => JSON.stringify(value)),
  );
});

test('a request without an id is sent with one behind its other properties', async (t) => {
  const path = folder(t);
  const { peers } = await plainServer(t, path('plain.sock'));
  const { client } = await connected(t, { socketPath: path('plain.sock') });
  class Order {
    symbol = 'BTCUSDT';
  }
  const keys = (count) => Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, n]));
  const next = plainValues(7);
  const messages = [
    {},
    { a: { b: 1 }, list: [{ c: 1 }, {}] },
    { text: 'as long as texts that are noted together '.repeat(4) },
    { text: 'Ü'.repeat(200) },
    { 'a "quoted" key': 1 },
    { date: new Date(0) },
    { deep: JSON.parse(`${'[{"a":'.repeat(100)}1${'}]'.repeat(100)}`) },
    keys(300),
    new Order(),
    Object.assign(Object.create(null), { bare: true }),
    JSON.parse('{"__proto__":1}'),
    {
      get first() {
        void client.send('of the getter');
        return 1;
      },
    },
    ...Array.from({ length: 500 }, () => ({ value: next() })),
  ];
  let asked = 0;
  const late = {
    get id() {
      return asked++ === 0 ? undefined : 'late';
    },
    a: 3,
  };
  const makingUp = {
    get a() {
      this.id = 'set';
      return 4;
    },
    id: undefined,
  };
  // Where an id that is none has its place, it may keep that.
  const others = [
    { toJSON: () => ({ as: 'json' }) },
    { id: null, a: 1 },
    { id: undefined, a: 2 },
    late,
    makingUp,
  ];
  const answers = [...messages, ...others].map((message) => client.request(message));
  for (const message of [[], [{ a: 1 }], new Date(0)]) {
    await assert.rejects(client.request(message), { code: 'ERR_IPC_UNSERIALIZABLE' });
  }
  const frames = () => peers[0].frames.filter((text) => text !== '"of the getter"');
  await until(() => frames().length === answers.length, 'all frames');
  const ids = frames().map((text) => JSON.parse(text).id);
  assert.equal(new Set(ids).size, answers.length);
  assert.ok(ids.every((id) => typeof id === 'string' && id !== ''));
  assert.deepEqual(
    frames().slice(0, messages.length),
    messages.map((message, index) => JSON.stringify({ ...message, id: ids[index] })),
  );
  const placed = frames().slice(messages.length);
  assert.ok(placed.every((text) => text.split('"id":').length === 2));
  assert.deepEqual(
    placed.map((text) => JSON.parse(text)),
    [{ as: 'json' }, { a: 1 }, { a: 2 }, { a: 3 }, { a: 4 }].map((other, index) => ({
      ...other,
      id: ids[messages.length + index],
    })),
  );
  client.disconnect();
  // What can never be sent says so without a connection, too.
  await assert.rejects(client.request([]), { code: 'ERR_IPC_UNSERIALIZABLE' });
  await assert.rejects(client.request({}), { code: 'ERR_IPC_NOT_CONNECTED' });
  const outcomes = await Promise.allSettled(answers);
  assert.ok(outcomes.every(({ reason }) => reason.code === 'ERR_IPC_CONNECTION_CLOSED'));
});

test('what says itself what it is as JSON is asked for it', async (t) => {
  const path = folder(t);
  const { peers } = await plainServer(t, path('plain.sock'));
  const { client } = await connected(t, { socketPath: path('plain.sock') });
  const withJson = (json) => Object.assign(() => 1, { toJSON: () => json });
  class Named {
    id = 1;
    static toJSON() {
      return 'Named';
    }
  }
  const odd = new Date(0);
  odd.toISOString = () => undefined;
  const lengths = [-1, 1.5, '2', Number.NaN, 2 ** 32].map(
    (length) => new Proxy([1, 2], { get: (list, key) => (key === 'length' ? length : list[key]) }),
  );
  lengths.pop();
  const values = [
    { a: 1, f: withJson(5), g: [withJson('x'), () => 1] },
    { type: Named, none: withJson(undefined) },
    { odd, list: [odd], good: new Date(1e12) },
    { lengths },
  ];
  const { toJSON } = Date.prototype;
  const texts = values.map((value) => JSON.stringify(value));
  await Promise.all(values.map((value) => client.send(value)));
  Date.prototype.toJSON = (key) => `under ${key}`;
  t.after(() => {
    Date.prototype.toJSON = toJSON;
  });
  const dates = { d: new Date(0), e: [new Date(0)] };
  texts.push(JSON.stringify(dates));
  await client.send(dates);
  Date.prototype.toJSON = toJSON;
  await until(() => peers[0]?.frames.length === texts.length, 'the frames');
  assert.deepEqual(peers[0].frames, texts);
});

test('nested objects with keys of their own take linear time, both ways', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  server.setRequestHandler((message) => ({ back: message.value }));
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  for (const key of ['имя', '"', 'k'.repeat(101)]) {
    let value = { v: 1 };
    // 2 ** 55 visits would never end.
    for (let depth = 0; depth < 55; depth++) value = { child: value, [key]: depth };
    const { back } = await client.request({ value });
    assert.equal(JSON.stringify(back), JSON.stringify(value));
  }
});

/** Sends so many messages, 500 at a time, and sees to it that each arrives as it was made. */
async function arriveInOrder(t, total, expected) {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  let count = 0;
  const wrong = [];
  server.setMessageHandler((message) => {
    if (JSON.stringify(message) !== JSON.stringify(expected(count))) wrong.push(message);
    count++;
  });
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  for (let n = 0; n < total; ) {
    const sends = [];
    for (const end = n + 500; n < end; n++) sends.push(client.send(expected(n)));
    await Promise.all(sends);
  }
  await until(() => count === total, 'all messages');
  assert.deepEqual(wrong, []);
}

test('objects of ever new keys arrive, and those that come again are known again', async (t) => {
  const expected = (n) => ({
    id: n,
    price: n / 4,
    byName: { [`key ${n}`]: { [`other ${n}`]: [n], same: 1 } },
    ...(n % 1000 === 0 && {
      many: Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`k${index}`, index])),
    }),
  });
  await arriveInOrder(t, 25_000, expected);
});

test('a table of shapes that is full is begun anew in the middle of a connection', async (t) => {
  const list = Array.from({ length: 20 }, () => ({ x: 0.5 }));
  // A key that comes again is learnt, once for every sixteen objects: the table holds 8,192.
  const expected = (n) => ({ list, inner: { y: n / 2 }, [`key ${n >> 1}`]: n });
  await arriveInOrder(t, 24_000, expected);
});

test('texts that come again arrive as they are, also when others take their places', async (t) => {
  // Of those that come twice one in 64 texts may become known, and 4,096 fit.
  const usual = Array.from({ length: 30 }, () => ['buy', 'open', 'market.order.filled']).flat();
  const expected = (n) => ({
    state: `state ${n >> 2} of many`,
    is: { side: n % 2 ? 'sell' : 'buy', state: `state ${n >> 2} of many` },
    usual,
    longer: n % 3 ? 'a text that is too long to be known' : 'y',
  });
  await arriveInOrder(t, 24_000, expected);
});

test('objects of few keys that are data arrive as JSON.parse would make them', async (t) => {
  // Prices and numbers as keys, known ones before them, and the same ones again.
  const map = (n, count) => ({
    ...(n % 3 === 0 && { id: n }),
    ...Object.fromEntries(
      Array.from({ length: count }, (_, k) => [`${n % 7 === 0 ? k : n + k / 100}`, k]),
    ),
    [`größe ${n}`]: { [`${n}.x`]: 1 },
  });
  const sent = Array.from({ length: 2_000 }, (_, n) => ({
    n,
    map: map(n, n % 25),
    list: [map(-n, 2)],
  }));
  const messages = await roundTrip(t, sent);
  const expected = sent.map((message) => JSON.parse(JSON.stringify(message)));
  assert.deepStrictEqual(messages, expected);
  // The order of keys is not a part of equality.
  assert.deepEqual(JSON.stringify(messages), JSON.stringify(expected));
  const [{ map: last }] = messages.slice(-1);
  assert.equal(Object.getPrototypeOf(last), Object.prototype);
  last['a new one'] = 1;
  delete last['a new one'];
  assert.deepStrictEqual(last, expected.at(-1).map);
});

test('objects of more kinds than get a function of their own arrive all the same', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  let count = 0;
  let wrong = 0;
  const KINDS = 600;
  const EACH = 70;
  // A list makes an object of a kind often enough at once.
  const expected = (kind) =>
    Array.from({ length: EACH }, (_, n) => ({ [`kind ${kind}`]: n, half: n + 0.5 }));
  server.setMessageHandler((message) => {
    if (JSON.stringify(message) !== JSON.stringify(expected(count))) wrong++;
    count++;
  });
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  for (let kind = 0; kind < KINDS; kind++) await client.send(expected(kind));
  await until(() => count === KINDS, 'all messages');
  assert.equal(wrong, 0);
});

test('short texts arrive as they are, wherever they lie and however often', async (t) => {
  const letters = ['0123456789abcdefghijklmnopqrstuvwxyz', 'é0123456789abcdefghijklmnopqrstuvwxÿ'];
  const text = (n) => `${n % 3 === 0 ? '' : 'k'}${letters[n % 5 === 0 ? 1 : 0].slice(0, n % 37)}`;
  // Of every number of items, with texts of every length at every place of the buffer.
  const lists = (first) =>
    Array.from({ length: 7 }, (_, n) => Array.from({ length: n }, () => text(first++)));
  const sent = Array.from({ length: 3_000 }, (_, n) => ({
    n: n % 50,
    bids: lists(n),
    [text(n)]: [],
    // With so many numbers it is not left to JSON.parse.
    numbers: new Array(30).fill(0.5),
  }));
  const messages = await roundTrip(t, sent);
  assert.deepEqual(messages, sent);
});

test('texts of about 256 units arrive as they are, whatever V8 keeps them in', async (t) => {
  const texts = [];
  for (let length = 240; length < 270; length++) {
    const ascii = 'a'.repeat(length);
    // A part of a string of two bytes for each letter, of which this has none that needs them.
    texts.push(
      ascii,
      `Ł${ascii}`.slice(1),
      `${ascii}é`,
      `Ł${ascii}`,
      `${ascii}\u007f`,
      `\ud800${ascii}`,
    );
  }
  // A text is no object, so that it is handed over as JSON.stringify has it; one after the other, alone.
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  const messages = [];
  server.setMessageHandler((message) => void messages.push(message));
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  for (const text of texts) await client.send(text);
  await until(() => messages.length === texts.length, 'all texts');
  assert.deepEqual(messages, texts);
});

test('long texts arrive as they are, whatever they take in UTF-8', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  const messages = [];
  server.setMessageHandler((message) => void messages.push(message));
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  const texts = [];
  for (const letter of ['a', 'é', '価', '📈', '\n']) {
    for (let length = 65_520; length < 65_540; length++) {
      texts.push(letter.repeat(length / letter.length));
    }
  }
  for (const text of texts) await client.send(text);
  await until(() => messages.length === texts.length, 'all texts');
  assert.deepEqual(messages, texts);
});

test('many clients of one tick keep their messages apart', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock'), maxConnections: 60 });
  const byClient = new Map();
  let count = 0;
  server.setMessageHandler(({ client, n }) => {
    if (!byClient.has(client)) byClient.set(client, []);
    byClient.get(client).push(n);
    count++;
  });
  const clients = [];
  for (let index = 0; index < 50; index++) {
    clients.push((await connected(t, { socketPath: path('ipc.sock') })).client);
  }
  const sends = [];
  for (let n = 0; n < 40; n++) {
    for (const [client, each] of clients.entries()) {
      sends.push(each.send({ client, n, ...(n % 7 === 0 && { text: 'x'.repeat(3_000) }) }));
    }
  }
  await Promise.all(sends);
  await until(() => count === 2_000, 'all messages');
  for (const numbers of byClient.values()) {
    assert.deepEqual(
      numbers,
      Array.from({ length: 40 }, (_, n) => n),
    );
  }
});

test('plain, acknowledged and long messages of one tick arrive in their order', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  const seen = [];
  server.setMessageHandler(({ n }) => void seen.push(n));
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  // The first acknowledged message tells that the server acknowledges.
  await client.send({ n: -1 }, { ack: true });
  const sends = [];
  for (let n = 0; n < 300; n++) {
    const message = {
      n,
      ...(n % 10 === 3 && { text: 'y'.repeat(20_000) }),
      ...(n % 10 === 5 && { d: [Object(1)] }),
    };
    sends.push(n % 3 === 0 ? client.send(message, { ack: true }) : client.send(message));
  }
  await Promise.all(sends);
  await until(() => seen.length === 301, 'all messages');
  const plain = seen.filter((n) => n % 3 !== 0 && n >= 0);
  assert.deepEqual(
    plain,
    plain.toSorted((a, b) => a - b),
  );
  assert.deepEqual(
    seen.toSorted((a, b) => a - b),
    Array.from({ length: 301 }, (_, index) => index - 1),
  );
});

for (const [what, mode, nodeArgs] of [
  ['where texts must not become code', '', ['--disallow-code-generation-from-strings']],
  ['where every object inherits what gets in the way', 'polluted', []],
  ['where nothing inherited can be changed', '', ['--frozen-intrinsics', '--no-warnings']],
]) {
  test(`values arrive ${what}`, async (t) => {
    const running = child(t, 'values.mjs', [folder(t)('ipc.sock'), mode], { nodeArgs });
    await running.line('same');
    running.process.stdin.end();
    assert.equal((await running.exit).code, 0);
  });
}
