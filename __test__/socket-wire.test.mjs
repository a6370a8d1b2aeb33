// The wire: what plain `node:net` peers see and what they may send, byte for byte.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  connected,
  folder,
  frame,
  isLong,
  json,
  listen,
  plainClient,
  plainServer,
  random,
  until,
} from './support/socket.mjs';
import { message } from './support/values.mjs';

const MB = 1024 * 1024;

test('a plain server receives exactly the documented bytes', async (t) => {
  const path = folder(t)('ipc.sock');
  const chunks = [];
  await plainServer(t, path, (socket) => socket.on('data', (chunk) => chunks.push(chunk)));
  const { client } = await connected(t, { socketPath: path });
  const values = [{ id: 'a', type: 't', payload: 1 }, 'ü😀', [], 0, null, false, '\ud800'];
  await Promise.all(values.map((value) => client.send(value)));
  const expected = Buffer.concat(values.map((value) => json(value)));
  await until(() => Buffer.concat(chunks).length >= expected.length, 'all bytes');
  assert.deepEqual(Buffer.concat(chunks), expected);
});

test('a plain client receives exactly the documented reply', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  server.setRequestHandler(({ n }) => ({ success: true, data: n, text: 'ü' }));
  const { socket } = await plainClient(t, path);
  const chunks = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.write(json({ id: 'one', n: 1 }));
  const expected = json({ id: 'one', success: true, data: 1, text: 'ü' });
  await until(() => Buffer.concat(chunks).length >= expected.length, 'the reply');
  assert.deepEqual(Buffer.concat(chunks), expected);
});

test('a peer may mark every other frame, which makes the longest list of what came from where', async (t) => {
  const path = folder(t)('ipc.sock');
  const count = 60_000;
  const received = [];
  const { server } = await listen(t, { socketPath: path, highWaterMark: count });
  server.setMessageHandler((value) => void received.push(value));
  const { socket } = await plainClient(t, path);
  const frames = Array.from({ length: count }, (_, n) => frame(n % 2 ? `${n}` : `${n}\t \t`));
  socket.write(Buffer.concat(frames));
  await until(() => received.length === count, 'all frames');
  assert.deepEqual(
    received,
    Array.from({ length: count }, (_, n) => n),
  );
});

test('frames may be split at every byte, in both directions', async (t) => {
  const path = folder(t)('ipc.sock');
  const received = [];
  const { server } = await listen(t, { socketPath: path });
  server.setMessageHandler((value) => void received.push(value));
  const values = [{ a: 'ä😀' }, 1, { id: 'x', list: [1, [2]] }];
  const wire = Buffer.concat(values.map((value) => json(value)));
  const { socket } = await plainClient(t, path);
  let bytes = 0;
  for (let cut = 1; cut < wire.length; cut++) {
    received.length = 0;
    socket.write(wire.subarray(0, cut));
    bytes += cut;
    // Only when the first part has been read for sure does the second one follow.
    await until(() => server.stats().bytesReceived === bytes, 'the first part');
    socket.write(wire.subarray(cut));
    bytes += wire.length - cut;
    await until(() => received.length === values.length, `the frames cut at ${cut}`);
    assert.deepEqual(received, values, `cut at ${cut}`);
  }

  const back = folder(t)('back.sock');
  const { peers } = await plainServer(t, back);
  const { client, messages } = await connected(t, { socketPath: back });
  await until(() => peers.length === 1, 'the connection');
  bytes = 0;
  for (let cut = 1; cut < wire.length; cut++) {
    messages.length = 0;
    peers[0].socket.write(wire.subarray(0, cut));
    bytes += cut;
    await until(() => client.stats().bytesReceived === bytes, 'the first part');
    peers[0].socket.write(wire.subarray(cut));
    bytes += wire.length - cut;
    await until(() => messages.length === values.length, `the messages cut at ${cut}`);
    assert.deepEqual(messages, values, `cut at ${cut}`);
  }
});

test('many frames in one write arrive in order', async (t) => {
  const path = folder(t)('ipc.sock');
  const count = 20_000;
  const received = [];
  const { server } = await listen(t, { socketPath: path });
  server.setMessageHandler(({ n }) => void received.push(n));
  const { socket } = await plainClient(t, path);
  socket.write(Buffer.concat(Array.from({ length: count }, (_, n) => json({ n }))));
  await until(() => received.length === count, 'all frames');
  assert.ok(received.every((n, index) => n === index));
  assert.equal(server.stats().messagesReceived, count);
});

test('values arrive as JSON.parse(JSON.stringify(value)), in both directions', async (t) => {
  const path = folder(t)('ipc.sock');
  const count = isLong ? 100_000 : 5_000;
  const expected = [];
  let received = 0;
  const { server } = await listen(t, { socketPath: path, highWaterMark: 64 });
  server.setRequestHandler((value) => {
    assert.deepStrictEqual(value, expected[received], `value ${received}`);
    received++;
    return undefined;
  });
  const plainPath = folder(t)('plain.sock');
  const { peers } = await plainServer(t, plainPath);
  const fromPlain = await connected(t, { socketPath: plainPath });
  await until(() => peers.length === 1, 'the connection');
  const { client, errors } = await connected(t, { socketPath: path });
  const next = random(20_260_101);
  for (let sent = 0; sent < count; ) {
    const sends = [];
    for (const end = Math.min(sent + 500, count); sent < end; sent++) {
      const value = message(next);
      const text = JSON.stringify(value);
      expected.push(JSON.parse(text));
      sends.push(client.send(value));
      peers[0].socket.write(frame(text));
    }
    await Promise.all(sends);
    await until(() => received === sent, `${sent} values`);
    await until(() => fromPlain.messages.length === sent, `${sent} values from the plain server`);
  }
  assert.deepStrictEqual(fromPlain.messages, expected);
  assert.deepEqual([errors, server.stats().handlerErrors, server.stats().malformed], [[], 0, 0]);
});

test('edges of JSON arrive as V8 has them', async (t) => {
  const path = folder(t)('ipc.sock');
  const texts = [
    '9007199254740993',
    '-0',
    '1e400',
    '123456789012345678901234567890',
    '{"__proto__":{"x":1},"a":1}',
    '{"a":1,"a":2}',
    '"\\ud800"',
    '"\\u0000"',
    ' \t\r\n{"a" : 1} \n',
    `${'['.repeat(1000)}${']'.repeat(1000)}`,
    `${'{"a":'.repeat(1000)}1${'}'.repeat(1000)}`,
    '""',
  ];
  const received = [];
  const { server } = await listen(t, { socketPath: path });
  server.setMessageHandler((value) => void received.push(value));
  const { socket } = await plainClient(t, path);
  socket.write(Buffer.concat(texts.map((text) => frame(text))));
  await until(() => received.length === texts.length, 'all values');
  for (const [index, text] of texts.entries()) {
    assert.deepStrictEqual(received[index], JSON.parse(text), text.slice(0, 50));
  }
  assert.ok(Object.is(received[1], -0));
  assert.ok(Object.hasOwn(received[4], '__proto__'));
  assert.equal({}.x, undefined);
});

test('what JSON has no form for is rejected, and nothing is sent', async (t) => {
  const path = folder(t)('ipc.sock');
  const { peers } = await plainServer(t, path);
  const { client } = await connected(t, { socketPath: path, maxFrameBytes: 100 });
  const circular = {};
  circular.self = circular;
  const throwing = {
    toJSON() {
      throw new Error('no');
    },
  };
  for (const value of [undefined, () => 1, Symbol('s'), 1n, { n: 1n }, circular, throwing]) {
    await assert.rejects(client.send(value), { code: 'ERR_IPC_UNSERIALIZABLE' });
  }
  for (const text of ['x'.repeat(99), 'ä'.repeat(50), '"'.repeat(50)]) {
    await assert.rejects(client.send(text), { code: 'ERR_IPC_FRAME_TOO_LARGE' });
  }
  await client.send('x'.repeat(98));
  await until(() => peers[0]?.frames.length === 1, 'the only frame');
  assert.equal(peers[0].frames[0].length, 100);
});

test('a frame of 16 MB arrives in linear time, both ways', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  server.setRequestHandler(({ text }) => ({ text }));
  const { client } = await connected(t, { socketPath: path });
  const plain = await plainClient(t, path);
  const text = 'ab'.repeat(8 * MB);
  const started = process.hrtime.bigint();
  const reply = await client.request({ text });
  const ms = Number(process.hrtime.bigint() - started) / 1e6;
  assert.ok(reply.text === text);
  assert.ok(ms < 1_000, `16 MB there and back took ${ms} ms`);
  const body = Buffer.from(JSON.stringify({ id: 1, text: 'ü'.repeat(MB) }));
  for (let at = 0; at < body.length; at += 4096) {
    if (at === 0) plain.socket.write(frame(body).subarray(0, 4));
    plain.socket.write(body.subarray(at, at + 4096));
  }
  await until(() => plain.frames.length === 1, 'the reply to the plain client');
  assert.ok(plain.frames[0] === body.toString());
});

test('an endless nest is refused without harm to others', async (t) => {
  const path = folder(t)('ipc.sock');
  const depth = 10_000_000;
  const { server, errors } = await listen(t, { socketPath: path });
  server.setRequestHandler(() => ({ ok: true }));
  const { client } = await connected(t, { socketPath: path });
  const { socket, frames } = await plainClient(t, path);
  const started = Date.now();
  for (const body of [
    Buffer.alloc(depth, '['),
    Buffer.concat([Buffer.alloc(depth, '['), Buffer.alloc(depth, ']')]),
    Buffer.from(`${'{"a":'.repeat(depth / 2)}1${'}'.repeat(depth / 2)}`),
  ]) {
    socket.write(frame(body));
  }
  socket.write(json({ id: 'after' }));
  assert.deepEqual(await client.request({ id: 'other' }), { id: 'other', ok: true });
  await until(() => frames.length === 1, 'the reply after the nests');
  assert.equal(frames[0], '{"id":"after","ok":true}');
  assert.deepEqual(
    errors.map(({ code }) => code),
    Array(3).fill('ERR_IPC_MALFORMED_FRAME'),
  );
  assert.equal(server.stats().malformed, 3);
  assert.ok(Date.now() - started < 5_000);
});

test('text of every script and length arrives as it was sent, also in one batch', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  const seen = [];
  server.setMessageHandler((message) => {
    seen.push(message);
  });
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  const letters = ['a', 'ä', 'Ж', '語', '😀', '\ud800', '\u0000', '\u2028', '"\\'];
  const sent = [];
  for (const letter of letters) {
    for (const length of [0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1_000, 70_000]) {
      sent.push({ text: letter.repeat(length), mixed: `a${letter}`.repeat(length % 1_000) });
    }
  }
  await Promise.all(sent.map((message) => client.send(message)));
  await until(() => seen.length === sent.length, 'all messages');
  assert.deepEqual(seen, sent);
});
