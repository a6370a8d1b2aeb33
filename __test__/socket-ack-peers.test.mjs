// What the client makes of servers that reply late, twice, oddly or not at all, and of their frames.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnixSocketClient } from '../features/unix-socket/index.js';
import { paths, publisherOf, stored } from './support/hybrid.mjs';
import { collect, connected, folder, frame, json, plainServer, until } from './support/socket.mjs';

const MARK = '\t \t';

/** A control frame. */
const control = ($ipc) => frame(JSON.stringify({ $ipc }) + MARK);

/** A plain server that hands every frame it reads to `answer`, parsed, with a way to reply. */
function serverOf(t, path, answer) {
  return plainServer(t, path, (socket) => {
    const frames = collect(socket);
    socket.on('data', () => {
      for (const text of frames.splice(0)) {
        answer(JSON.parse(text), (...replies) => socket.write(Buffer.concat(replies)), text);
      }
    });
  });
}

test('a first reply that passes on the code of a refusal refuses no connection', async (t) => {
  const path = folder(t)('ipc.sock');
  const code = 'ERR_IPC_MAX_CONNECTIONS';
  await serverOf(t, path, ({ id }, reply) =>
    reply(json({ id, success: false, error: 'upstream', code })),
  );
  const { client } = await connected(t, { socketPath: path });
  assert.deepEqual(await client.request({ id: 'a' }), {
    id: 'a',
    success: false,
    error: 'upstream',
    code,
  });
  assert.equal(client.isConnected(), true);
});

const malformed = [
  [],
  { refused: 5 },
  { refused: [null] },
  { refused: [[]] },
  { refused: [[1, 'CODE', { toString: 1 }]] },
  { refused: [[1, { toString: 1 }, 'text']] },
  { refused: [[0, 'CODE', 'text']] },
  { hello: null },
  { hello: [] },
  { hello: { window: 0 } },
  { hello: { window: 8, maxFrameBytes: '10' } },
  { also: 5 },
  { also: [1] },
  { also: [-1e15, 1] },
  { also: [1.5, 2] },
  { also: [2, 1] },
  { through: null },
  { through: -5 },
  { through: '1' },
  { through: 1e300 },
];

test('a malformed control frame is an error event, and nothing of it is believed', async (t) => {
  const path = folder(t)('ipc.sock');
  const hello = { version: 1, window: 8, maxFrameBytes: 1_000_000 };
  await serverOf(t, path, ({ id }, reply) => {
    if (id === 'first') reply(control({ hello }), ...malformed.map(control));
    else reply(control({ through: 2 }));
  });
  const { client, errors, messages } = await connected(t, { socketPath: path });
  const first = client.send({ id: 'first' }, { ack: true });
  await until(() => errors.length === malformed.length, 'the errors');
  assert.ok(errors.every(({ code }) => code === 'ERR_IPC_MALFORMED_FRAME'));
  const second = client.send({ id: 'second' }, { ack: true });
  assert.deepEqual(await Promise.all([first, second]), [
    { level: 'handled' },
    { level: 'handled' },
  ]);
  assert.deepEqual(messages, []);
});

test('a reply of an old server may give any reason for its failure', async (t) => {
  const path = folder(t)('ipc.sock');
  const reasons = [{ toString: 1 }, null, 7, undefined, ['x'], 'plain'];
  await serverOf(t, path, ({ id, n }, reply) =>
    reply(json({ id, success: false, error: reasons[n] })),
  );
  const { client } = await connected(t, { socketPath: path });
  for (const [n, reason] of reasons.entries()) {
    await assert.rejects(client.send({ id: `m${n}`, n }, { ack: true }), {
      code: 'ERR_IPC_REFUSED',
      message: reason === 'plain' ? /plain/ : /no reason/,
    });
  }
});

test('control frames behind a message whose listener disconnects stay among themselves', async (t) => {
  const path = folder(t)('ipc.sock');
  await serverOf(t, path, (_message, reply) =>
    reply(
      control({ hello: { window: 8 } }),
      json({ n: 1 }),
      control({ through: 1 }),
      json({ n: 2 }),
    ),
  );
  const { client, messages } = await connected(t, { socketPath: path });
  client.once('message', () => client.disconnect());
  const sent = client.send({ id: 'a' }, { ack: true });
  await assert.rejects(sent, { code: 'ERR_IPC_CONNECTION_CLOSED', indeterminate: true });
  await until(() => messages.length === 2, 'both messages');
  assert.deepEqual(messages, [{ n: 1 }, { n: 2 }]);
});

test('the reply that a request gave up is owed once, and swallows no later acknowledgement', async (t) => {
  const path = folder(t)('ipc.sock');
  const waiting = [];
  await serverOf(t, path, ({ id, slow }, reply) => {
    const answer = () => reply(json({ id, success: true, slow }));
    if (slow) waiting.push(answer);
    else answer();
  });
  const { client, messages } = await connected(t, { socketPath: path });
  await assert.rejects(client.request({ id: 'r', slow: true }, { timeoutMs: 5 }), {
    code: 'ERR_IPC_REQUEST_TIMEOUT',
  });
  await until(() => waiting.length === 1, 'the request');
  waiting.shift()();
  await until(() => client.stats().lateReplies === 1, 'the late reply');
  assert.deepEqual(await client.send({ id: 'r' }, { ack: true }), { level: 'handled' });
  assert.deepEqual([client.stats().lateReplies, messages.length], [1, 1]);
});

test('a greeting that waits behind much else is waited for', async (t) => {
  const path = folder(t)('ipc.sock');
  const text = 'x'.repeat(64 * 1024);
  const many = Array.from({ length: 240 }, (_, n) => json({ n, text }));
  await serverOf(t, path, (_message, reply) =>
    reply(...many, control({ hello: { window: 8 } }), control({ through: 1 })),
  );
  const { client, messages } = await connected(t, { socketPath: path });
  client.on('message', () => {
    const end = performance.now() + 5;
    while (performance.now() < end);
  });
  assert.deepEqual(await client.send({ id: 'a' }, { ack: true }), { level: 'handled' });
  assert.equal(messages.length, many.length);
});

test('a publisher stores what a server has read that greeted it before and is silent now', async (t) => {
  const where = paths(t);
  let greets = true;
  const read = [];
  const { peers } = await serverOf(t, where.socketPath, ({ id }, reply) => {
    read.push(id);
    if (greets) reply(control({ hello: { window: 8 } }), control({ through: 1 }));
  });
  // Longer than a server has that was never known to acknowledge.
  const { publisher } = publisherOf(t, { ...where, spillAfterMs: 600 });
  assert.equal((await publisher.publish({ id: 'a', type: 't' })).level, 'handled');
  greets = false;
  peers[0].socket.destroy();
  await until(() => publisher.stats().mode === 'queue', 'the loss');
  await until(() => publisher.stats().mode === 'socket', 'another connection');
  const receipt = await publisher.publish({ id: 'b', type: 't' });
  assert.deepEqual([receipt.via, receipt.level, read], ['queue', 'durable', ['a', 'b']]);
  assert.deepEqual(
    stored(where).map(({ id }) => id),
    ['b'],
  );
});

test('of two messages with the same id each has the reply to itself', async (t) => {
  const path = folder(t)('ipc.sock');
  const answers = new Map();
  await serverOf(t, path, ({ id, v }, reply) => {
    answers.set(v, (success) => reply(json({ id, success, error: v })));
  });
  const { client } = await connected(t, { socketPath: path });
  const a = client.send({ id: 'BTC', v: 'a' }, { ack: true });
  const b = client.send({ id: 'BTC', v: 'b' }, { ack: true });
  await until(() => answers.has('a'), 'the first');
  answers.get('a')(true);
  assert.deepEqual(await a, { level: 'handled' });
  await until(() => answers.has('b'), 'the second');
  answers.get('b')(false);
  await assert.rejects(b, { code: 'ERR_IPC_REFUSED', message: /b$/ });
});

test('a reply to a plain message is not the acknowledgement of another with its id', async (t) => {
  const path = folder(t)('ipc.sock');
  const answers = new Map();
  await serverOf(t, path, ({ id, v }, reply) => {
    answers.set(v, () => reply(json({ id, v })));
  });
  const { client, messages } = await connected(t, { socketPath: path });
  await client.send({ id: 'BTC', v: 'answered' });
  await client.send({ id: 'BTC', v: 'plain' });
  await until(() => answers.size === 2, 'the plain ones');
  answers.get('answered')();
  await until(() => messages.length === 1, 'the reply to the first');
  const sent = client.send({ id: 'BTC', v: 'sent' }, { ack: true }).then(() => messages.length);
  await until(() => answers.size === 3, 'the other');
  answers.get('plain')();
  await until(() => messages.length === 2, 'the reply to the second');
  answers.get('sent')();
  assert.equal(await sent, 3);
});

test('replies that nobody listened to were those to the plain messages before', async (t) => {
  const path = folder(t)('ipc.sock');
  await serverOf(t, path, ({ id }, reply) => reply(json({ id })));
  const client = new UnixSocketClient({ socketPath: path, reconnect: false });
  t.after(() => client.disconnect());
  await client.connect();
  for (const id of ['BTC', 'ETH', 'BTC']) await client.send({ id });
  await until(() => client.stats().messagesReceived === 3, 'the replies');
  assert.deepEqual(await client.send({ id: 'BTC' }, { ack: true }), { level: 'handled' });
});
