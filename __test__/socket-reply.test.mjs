// Request mode: what is answered, with what, in which order.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  connected,
  deferred,
  folder,
  json,
  listen,
  plainClient,
  until,
  within,
} from './support/socket.mjs';

/** A server, and a function that returns the texts of the replies to some messages. */
async function responder(t, options = {}) {
  const path = folder(t)('ipc.sock');
  const { server, errors } = await listen(t, { socketPath: path, ...options });
  const ask = async (...messages) => {
    const peer = await plainClient(t, path, { allowHalfOpen: true });
    // The client half-closes, so the server closes when everything is answered.
    peer.socket.end(Buffer.concat(messages.map((message) => json(message))));
    await until(() => peer.closed, 'the server to close');
    return peer.frames;
  };
  return { server, errors, path, ask };
}

test('only messages with a truthy id are answered', async (t) => {
  const { server, ask } = await responder(t);
  server.setRequestHandler(() => ({ ok: 1 }));
  const ids = ['a', 1, -1, 1.5, true, { x: 1 }, [], '0'];
  for (const id of ids) {
    assert.deepEqual(await ask({ id }), [JSON.stringify({ id, ok: 1 })]);
  }
  for (const message of [
    {},
    { id: 0 },
    { id: '' },
    { id: null },
    { id: false },
    'id',
    null,
    7,
    [],
  ]) {
    assert.deepEqual(await ask(message), [], JSON.stringify(message));
  }
  assert.equal(server.stats().messagesSent, ids.length);
});

test('replies carry what the handler returned', async (t) => {
  const { server, errors, ask } = await responder(t);
  const circular = {};
  circular.self = circular;
  class Reply {
    value = 1;
    get hidden() {
      return 2;
    }
  }
  const error = (text) => (reply) => {
    const { id, success, error, ...rest } = JSON.parse(reply);
    assert.deepEqual([id, success, rest], ['x', false, {}]);
    assert.ok(text === undefined ? typeof error === 'string' : error === text, reply);
  };
  const throws = (thrown) => () => {
    throw thrown;
  };
  const cases = [
    [() => ({ a: 1, b: undefined }), '{"id":"x","a":1}'],
    [() => ({ b: 1, id: 'other', a: 2 }), '{"id":"x","b":1,"a":2}'],
    [() => ({ toJSON: () => ({ a: 1 }) }), '{"id":"x","a":1}'],
    [() => JSON.parse('{"__proto__":1,"a":2}'), '{"id":"x","__proto__":1,"a":2}'],
    [() => null, '{"id":"x"}'],
    [() => ({}), '{"id":"x"}'],
    [() => new Reply(), '{"id":"x","value":1}'],
    [async () => ({ later: true }), '{"id":"x","later":true}'],
    // biome-ignore lint/suspicious/noThenProperty: a thenable of a handler.
    [() => ({ then: (resolve) => resolve({ a: 1 }) }), '{"id":"x","a":1}'],
    [() => undefined, undefined],
    [async () => {}, undefined],
    [() => 'text', error()],
    [() => [1, 2], error()],
    [() => 5, error()],
    [() => false, error()],
    [() => 1n, error()],
    [() => Symbol('s'), error()],
    [() => circular, error()],
    [() => ({ n: 1n }), error()],
    [() => ({ toJSON: () => 'text' }), error()],
    [async () => 'text', error()],
    [
      () => ({
        get bad() {
          throw new Error('getter');
        },
      }),
      error('getter'),
    ],
    [throws(new TypeError('sync')), error('sync')],
    [async () => throws(new Error('async'))(), error('async')],
    [throws('text'), error('Unknown error')],
    [throws(undefined), error('Unknown error')],
    [throws({ message: 'no error' }), error('Unknown error')],
    [() => Promise.reject(null), error('Unknown error')],
    [throws(Object.assign(new Error('x'), { message: circular })), error('Unknown error')],
    [throws(new Proxy({}, { getPrototypeOf: throws(new Error('trap')) })), error('Unknown error')],
    [
      () => ({
        // biome-ignore lint/suspicious/noThenProperty: a thenable that misbehaves.
        get then() {
          throw new Error('then');
        },
      }),
      error('then'),
    ],
    [
      () => ({
        // biome-ignore lint/suspicious/noThenProperty: a thenable that misbehaves.
        then(resolve, reject) {
          resolve({ first: 1 });
          resolve({ second: 2 });
          reject(new Error('third'));
          throw new Error('fourth');
        },
      }),
      '{"id":"x","first":1}',
    ],
  ];
  for (const [index, [handler, expected]] of cases.entries()) {
    server.setRequestHandler(handler);
    const replies = await ask({ id: 'x' });
    assert.equal(replies.length, expected === undefined ? 0 : 1, `case ${index}: ${replies}`);
    if (typeof expected === 'string') assert.equal(replies[0], expected, `case ${index}`);
    if (typeof expected === 'function') expected(replies[0]);
  }
  const failures = cases.filter(([, expected]) => typeof expected === 'function').length;
  assert.equal(errors.length, failures);
  assert.equal(server.stats().inFlight, 0);
});

test('the request handler wins, and both may be swapped while the server runs', async (t) => {
  const { server, ask } = await responder(t);
  const seen = [];
  assert.deepEqual(await ask({ id: 'none' }), []);
  assert.equal(server.stats().unhandled, 1);
  server.setMessageHandler(() => {
    seen.push('message');
    return { never: 'sent' };
  });
  assert.deepEqual(await ask({ id: 'a' }), []);
  server.setRequestHandler(() => ({ by: 1 }));
  assert.deepEqual(await ask({ id: 'b' }), ['{"id":"b","by":1}']);
  server.setMessageHandler(() => seen.push('never'));
  server.setRequestHandler(() => ({ by: 2 }));
  assert.deepEqual(await ask({ id: 'c' }), ['{"id":"c","by":2}']);
  assert.deepEqual(seen, ['message']);
  for (const handler of [undefined, null, {}, 'f']) {
    assert.throws(() => server.setRequestHandler(handler), { code: 'ERR_IPC_INVALID_ARGUMENT' });
    assert.throws(() => server.setMessageHandler(handler), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  }
});

test('a handler swapped by a handler serves the next message of the same write', async (t) => {
  const { server, ask } = await responder(t);
  server.setRequestHandler(() => {
    server.setRequestHandler(() => ({ by: 'second' }));
    return { by: 'first' };
  });
  assert.deepEqual(await ask({ id: 1 }, { id: 2 }), [
    '{"id":1,"by":"first"}',
    '{"id":2,"by":"second"}',
  ]);
});

for (const concurrency of [undefined, 1, 3]) {
  test(`handlers start in order, replies leave in completion order (concurrency ${concurrency})`, async (t) => {
    const { server, path } = await responder(t, { concurrency });
    const started = [];
    const gates = new Map();
    server.setRequestHandler(async ({ id }) => {
      started.push(id);
      const gate = deferred();
      gates.set(id, gate);
      await gate.promise;
      return {};
    });
    const { socket, frames } = await plainClient(t, path);
    const count = 6;
    socket.write(
      Buffer.concat(Array.from({ length: count }, (_, index) => json({ id: index + 1 }))),
    );
    const finished = [];
    while (finished.length < count) {
      const running = Math.min(concurrency ?? count, count - finished.length);
      await until(() => gates.size === running, `${running} running handlers`);
      const last = [...gates.keys()].at(-1);
      gates.get(last).resolve();
      gates.delete(last);
      finished.push(last);
      await until(() => frames.length === finished.length, 'the reply');
    }
    assert.deepEqual(started, [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(
      frames.map((text) => JSON.parse(text).id),
      finished,
    );
  });
}

test('one-shot clients get their reply, however they close', async (t) => {
  const { server, path } = await responder(t);
  const gate = deferred();
  server.setRequestHandler(async ({ id }) => {
    await gate.promise;
    return { text: 'x'.repeat(300_000), id };
  });
  const patient = await plainClient(t, path, { allowHalfOpen: true });
  patient.socket.end(json({ id: 'half-closed' }));
  const gone = await plainClient(t, path);
  gone.socket.write(json({ id: 'gone' }), () => gone.socket.destroy());
  await until(() => server.stats().inFlight === 2, 'both requests');
  // Who cannot hear a reply does not take the place of somebody who could.
  await until(() => server.stats().connections === 1, 'the other one to be forgotten');
  gate.resolve();
  await until(() => patient.closed, 'the server to close');
  assert.equal(JSON.parse(patient.frames[0]).id, 'half-closed');
  assert.equal(patient.frames.length, 1);
  assert.deepEqual([server.stats().connections, server.stats().inFlight], [0, 0]);
});

test('a thousand one-shot clients, one connection per request', async (t) => {
  const { server, path } = await responder(t);
  server.setRequestHandler(async ({ id }) => ({ twice: id * 2 }));
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const id = round * 50 + index + 1;
        const peer = await plainClient(t, path, { allowHalfOpen: true });
        peer.socket.end(json({ id }));
        await until(() => peer.closed, 'the end');
        assert.deepEqual(peer.frames, [JSON.stringify({ id, twice: id * 2 })]);
      }),
    );
    await until(() => server.stats().connections === 0, 'all to be closed');
  }
  assert.equal(server.stats().accepted, 1_000);
});

test('sync handlers behind a slow one neither overflow the stack nor pile up', async (t) => {
  const count = 30_000;
  const { server, path } = await responder(t, { concurrency: 1, highWaterMark: count });
  const gate = deferred();
  const order = [];
  server.setRequestHandler(({ n }) => {
    order.push(n);
    return n === 0 ? gate.promise : undefined;
  });
  const { client } = await connected(t, { socketPath: path });
  for (let n = 0; n < count; n++) client.send({ n });
  await until(() => server.stats().inFlight === count, 'all to wait');
  assert.deepEqual(order, [0]);
  gate.resolve();
  await until(() => server.stats().inFlight === 0, 'all to be handled');
  assert.equal(order.length, count);
  assert.ok(order.every((n, index) => n === index));
});

test('errors of handlers go to console.error when nobody listens, and never end the process', async (t) => {
  const { server, ask } = await responder(t);
  server.removeAllListeners('error');
  const shown = [];
  t.mock.method(console, 'error', (error) => {
    shown.push(error);
    throw new Error('console.error itself fails');
  });
  const thrown = new Error('of a handler');
  server.setMessageHandler(() => {
    throw thrown;
  });
  await ask({}, {});
  server.setMessageHandler(async () => {
    throw thrown;
  });
  await ask({});
  assert.deepEqual(shown, [thrown, thrown, thrown]);
  assert.equal(server.stats().handlerErrors, 3);
});

test('a request handler that never ends holds nobody else up', async (t) => {
  const { server, path } = await responder(t);
  server.setRequestHandler(({ hang }) => (hang ? new Promise(() => {}) : { ok: true }));
  const { client } = await connected(t, { socketPath: path });
  const hanging = client.request({ hang: true }, { timeoutMs: 50 });
  const [{ ok }] = await Promise.all([
    within(client.request({}), 'the other reply'),
    assert.rejects(hanging, { code: 'ERR_IPC_REQUEST_TIMEOUT' }),
  ]);
  assert.equal(ok, true);
});

test('a handler that changes its message changes neither the id of the reply nor that there is one', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  const { client } = await connected(t, { socketPath: path });
  for (const change of [
    (message) => {
      message.id = 'other';
    },
    (message) => {
      delete message.id;
    },
  ]) {
    server.setRequestHandler(async (message) => {
      change(message);
      if (message.fail) throw new Error('of the handler');
      return { ok: 1 };
    });
    assert.deepEqual(await client.request({ id: 'r' }), { id: 'r', ok: 1 });
    const failed = await client.request({ id: 's', fail: true });
    assert.deepEqual(failed, { id: 's', success: false, error: 'of the handler' });
  }
});

test('an id is added to what JSON makes of a message', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  server.setRequestHandler((message) => ({ echo: message }));
  const { client } = await connected(t, { socketPath: path });
  class Candle {
    #price = 7;
    toJSON() {
      return { price: this.#price };
    }
  }
  const { id, echo } = await client.request(new Candle());
  assert.deepEqual(echo, { price: 7, id });
  assert.equal((await client.request({ id: null, n: 1 })).echo.n, 1);
  for (const message of [[1], new Date(0)]) {
    await assert.rejects(client.request(message), { code: 'ERR_IPC_UNSERIALIZABLE' });
  }
});
