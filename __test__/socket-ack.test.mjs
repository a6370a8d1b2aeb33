// Acknowledgements: what `send(message, { ack: true })` learns from servers of every kind, and that
// peers which know none see nothing of them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { test } from 'node:test';
import { DeliveryError } from '../features/unix-socket/index.js';
import { noStrace } from './crash/strace.mjs';
import {
  child,
  collect,
  connected,
  deferred,
  folder,
  frame,
  json,
  listen,
  oldServer,
  plainClient,
  plainServer,
  until,
  within,
} from './support/socket.mjs';

const MARK = '\t \t';

test('an acknowledgement comes when the handler has resolved, in whatever order', async (t) => {
  const path = folder(t);
  const gates = new Map();
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  server.setMessageHandler(({ id }) => {
    const gate = deferred();
    gates.set(id, gate);
    return gate.promise;
  });
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  const done = [];
  const sends = ['a', 'b', 'c', 'd'].map((id) =>
    client.send({ id }, { ack: true }).then((receipt) => done.push([id, receipt.level])),
  );
  await until(() => gates.size === 4);
  assert.deepEqual(done, []);
  for (const id of ['c', 'a', 'd', 'b']) {
    gates.get(id).resolve();
    await until(() => done.at(-1)?.[0] === id);
  }
  await Promise.all(sends);
  assert.ok(done.every(([, level]) => level === 'handled'));
});

test('a refusal says why, and that the message was certainly not handled', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  const refusal = async (message, code, text) => {
    const error = await client.send(message, { ack: true }).then(assert.fail, (error) => error);
    assert.ok(error instanceof DeliveryError);
    assert.equal(error.code, 'ERR_IPC_REFUSED');
    assert.equal(error.indeterminate, false);
    assert.equal(error.id, message.id);
    assert.equal(error.cause.code, code);
    assert.match(error.message, text);
  };
  await refusal({ id: '1' }, 'ERR_IPC_NO_HANDLER', /no handler/);
  server.setMessageHandler(() => {
    throw new Error('disk on fire');
  });
  await refusal({ id: '2' }, 'ERR_IPC_HANDLER_FAILED', /disk on fire/);
  server.setMessageHandler(() => Promise.reject('no'));
  await refusal({ id: '3' }, 'ERR_IPC_HANDLER_FAILED', /Unknown error/);
  server.setMessageHandler(() => ({ success: false }));
  assert.deepEqual(await client.send({ id: '4' }, { ack: true }), { level: 'handled' });
  server.setRequestHandler(() => ({ success: false, error: 'declined' }));
  await refusal({ id: '5' }, 'ERR_IPC_HANDLER_FAILED', /declined/);
  server.setRequestHandler(() => ({ success: true }));
  assert.deepEqual(await client.send({ id: '6' }, { ack: true }), { level: 'handled' });
});

for (const [name, serverOptions, clientOptions] of [
  ['the server bounds its replies', { maxOutboundBytes: 65_536 }, {}],
  ['hardly any reply fits', { maxOutboundBytes: 10 }, {}],
  ['the client takes 64 KiB', {}, { maxFrameBytes: 65_536 }],
  ['the client takes 4 KiB', {}, { maxFrameBytes: 4_096 }],
]) {
  test(`many refusals with long reasons arrive as such: ${name}`, async (t) => {
    const path = folder(t)('ipc.sock');
    const { server } = await listen(t, { socketPath: path, ...serverOptions });
    server.setMessageHandler(({ n }) => {
      if (n < 100) throw new Error(`${n} "\0 is down: ${'\u{1f525}'.repeat(5_000)}`);
    });
    const { client, errors } = await connected(t, { socketPath: path, ...clientOptions });
    const sends = Array.from({ length: 101 }, (_, n) => client.send({ n }, { ack: true }));
    const outcomes = await Promise.allSettled(sends);
    for (const [n, { reason }] of outcomes.entries()) {
      if (n === 100) assert.equal(reason, undefined);
      else assert.equal(reason?.code, 'ERR_IPC_REFUSED', `message ${n}`);
    }
    assert.match(outcomes[7].reason.message, /7 "\0 is down/);
    assert.deepEqual(errors, []);
    assert.equal(client.isConnected(), true);
  });
}

test('a connection to which a reply cannot be written is closed with what follows it', async (t) => {
  const path = folder(t);
  const { server, errors } = await listen(t, {
    socketPath: path('ipc.sock'),
    maxOutboundBytes: 1_000,
  });
  server.setRequestHandler(({ id }) => ({ id }));
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  // Neither the reply nor the error in its place fits, because both repeat the id.
  const long = client.send({ id: 'x'.repeat(3_000) }, { ack: true });
  await assert.rejects(long, { code: 'ERR_IPC_CONNECTION_LOST', indeterminate: true });
  await until(() => errors.length === 2);
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['ERR_IPC_FRAME_TOO_LARGE', 'ERR_IPC_FRAME_TOO_LARGE'],
  );
  assert.match(errors[1].message, /Connection closed.*maxOutboundBytes/);
});

test('a message that breaks the schema of the server is refused', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock'), validate: true });
  server.setMessageHandler(() => {});
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  const good = { id: 'a', type: 't', payload: 1, timestamp: 1 };
  const outcomes = await Promise.allSettled(
    [good, { id: 'b' }, { ...good, id: 'c' }].map((m) => client.send(m, { ack: true })),
  );
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.equal(outcomes[1].reason.cause.code, 'ERR_IPC_INVALID_MESSAGE');
});

test('a connection that ends leaves sent messages indeterminate and held ones not', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock'), highWaterMark: 2 });
  let count = 0;
  server.setMessageHandler(() => {
    count++;
    return new Promise(() => {});
  });
  const { client } = await connected(t, { socketPath: path('ipc.sock'), reconnect: false });
  const first = client.send({ id: 'first' }, { ack: true });
  first.catch(() => {});
  await until(() => count === 1);
  // The greeting, with the window of 2, comes with the turn that read the first message.
  await until(() => client.stats().messagesReceived === 1);
  const rest = ['b', 'c', 'd'].map((id) => client.send({ id }, { ack: true }));
  const all = Promise.allSettled([first, ...rest]);
  await until(() => count === 2);
  assert.equal(client.stats().messagesSent, 2);
  await server.stop({ deadlineMs: 0 });
  const reasons = (await all).map(({ reason }) => reason);
  assert.deepEqual(
    reasons.map(({ code, indeterminate, id }) => [code, indeterminate, id]),
    [
      ['ERR_IPC_CONNECTION_LOST', true, 'first'],
      ['ERR_IPC_CONNECTION_LOST', true, 'b'],
      ['ERR_IPC_CONNECTION_LOST', false, 'c'],
      ['ERR_IPC_CONNECTION_LOST', false, 'd'],
    ],
  );
  const gone = await client.send({ id: 'e' }, { ack: true }).catch((error) => error);
  assert.equal(gone.code, 'ERR_IPC_NOT_CONNECTED');
});

test('a message that is not acknowledged in time is indeterminate', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  const gate = deferred();
  server.setMessageHandler(() => gate.promise);
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  await assert.rejects(client.send({ id: 'a' }, { ack: true, timeoutMs: 20 }), {
    code: 'ERR_IPC_NOT_ACKNOWLEDGED',
    indeterminate: true,
    message: /Connection/,
  });
  gate.resolve();
  assert.deepEqual(await client.send({ id: 'b' }, { ack: true }), { level: 'handled' });
  await assert.rejects(client.send({}, { ack: true, timeoutMs: -1 }), {
    code: 'ERR_IPC_INVALID_ARGUMENT',
  });
});

test('close() waits for acknowledgements', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  const [begun, gate] = [deferred(), deferred()];
  server.setMessageHandler(() => {
    begun.resolve();
    return gate.promise;
  });
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  const sent = client.send({ id: 'a' }, { ack: true });
  await begun.promise;
  const closed = client.close();
  gate.resolve();
  assert.deepEqual(await sent, { level: 'handled' });
  await closed;
});

test('messages of a thousand sends arrive once each, held back by a small window', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock'), highWaterMark: 7 });
  const seen = [];
  server.setMessageHandler(async ({ n }) => {
    seen.push(n);
    if (n % 5 === 0) await null;
    if (n % 11 === 0) throw new Error('eleven');
  });
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 1_000 }, (_, n) => client.send({ n }, { ack: true })),
  );
  for (const [n, { status }] of outcomes.entries()) {
    assert.equal(status, n % 11 === 0 ? 'rejected' : 'fulfilled', `message ${n}`);
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 1_000 }, (_, n) => n),
  );
});

test('a message that waits for the kernel in vain gives its number back', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock'), highWaterMark: 1 });
  const gate = deferred();
  server.setMessageHandler(() => gate.promise);
  const { client } = await connected(t, {
    socketPath: path('ipc.sock'),
    maxOutboundBytes: 300_000,
  });
  const payload = 'x'.repeat(500_000);
  // A plain message is more than the kernel takes at once.
  const plain = client.send({ payload });
  await until(() => client.stats().outboundBytes > 0);
  await assert.rejects(client.send({ id: 'no', payload }, { ack: true }), {
    code: 'ERR_IPC_OUTBOUND_FULL',
    indeterminate: false,
  });
  gate.resolve();
  await plain;
  for (const id of ['a', 'b']) {
    assert.deepEqual(await client.send({ id }, { ack: true }), { level: 'handled' });
  }
});

test('a message too large for the server is refused before it is sent', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock'), maxFrameBytes: 1_000 });
  server.setMessageHandler(() => {});
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  await client.send({ id: 'a' }, { ack: true });
  await assert.rejects(client.send({ id: 'b', x: 'y'.repeat(1_000) }, { ack: true }), {
    code: 'ERR_IPC_FRAME_TOO_LARGE',
    indeterminate: false,
  });
  assert.deepEqual(await client.send({ id: 'c' }, { ack: true }), { level: 'handled' });
});

test('messages of the user that look like control frames pass both ways', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  const seen = [];
  const imitation = { $ipc: { through: 99, hello: { window: 1 } } };
  server.setRequestHandler((message) => {
    seen.push(message);
    return imitation;
  });
  const { client, messages } = await connected(t, { socketPath: path('ipc.sock') });
  const message = { id: 'a', ...imitation };
  assert.deepEqual(await client.send(message, { ack: true }), { level: 'handled' });
  await client.send(message);
  assert.deepEqual(await client.request({ id: 'b', ...imitation }), { id: 'b', ...imitation });
  await until(() => messages.length === 2);
  assert.deepEqual(messages, [message, message]);
  assert.deepEqual(seen[0], message);
});

test('a client that marks nothing receives no byte more than before', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  server.setRequestHandler(({ id }) => ({ got: id }));
  const { socket, frames } = await plainClient(t, path('ipc.sock'));
  // White space of every other kind is no mark.
  for (const tail of ['', '\n', ' ', '\t', '\r\n', ' \t ', '\t\t', '\t  \t']) {
    socket.write(frame(`{"id":"a"}${tail}`));
  }
  socket.write(frame('{"broken"'));
  socket.write(frame('{"id":"z"}'));
  await until(() => frames.length === 9);
  assert.deepEqual(frames, [...Array(8).fill('{"id":"a","got":"a"}'), '{"id":"z","got":"z"}']);
});

test('the bytes of a marked connection are those of docs/protocol.md', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock'), highWaterMark: 8 });
  server.setMessageHandler(({ id }) => {
    if (id === 'b') throw new Error('no');
  });
  const { socket, frames } = await plainClient(t, path('ipc.sock'));
  const bytes = ['{"id":"a"}', '{"id":"b"}', '{', '{"id":"c"}'].map((text) => frame(text + MARK));
  socket.write(Buffer.concat(bytes));
  await until(() => frames.length === 2);
  const [hello, news] = frames;
  assert.equal(
    hello,
    `{"$ipc":{"hello":{"maxFrameBytes":67108864,"version":1,"window":8}}}${MARK}`,
  );
  assert.ok(news.endsWith(MARK));
  const { through, refused, ...rest } = JSON.parse(news).$ipc;
  assert.deepEqual(rest, {});
  assert.equal(through, 4);
  assert.deepEqual(refused.map(([number, code]) => [number, code]).sort(), [
    [2, 'ERR_IPC_HANDLER_FAILED'],
    [3, 'ERR_IPC_MALFORMED_FRAME'],
  ]);
});

test('a client that half-closes after a malformed marked frame is told of the refusal', async (t) => {
  const path = folder(t);
  await listen(t, { socketPath: path('ipc.sock') });
  for (const bytes of [
    Buffer.from(MARK),
    Buffer.from(`{${MARK}`),
    Buffer.from(`\xff${MARK}`, 'latin1'),
  ]) {
    const { socket, frames } = await plainClient(t, path('ipc.sock'), { allowHalfOpen: true });
    socket.end(frame(bytes));
    await until(() => socket.readableEnded, 'the server to close');
    assert.equal(frames.length, 2);
    const { through, refused } = JSON.parse(frames[1]).$ipc;
    assert.deepEqual([through, refused[0].slice(0, 2)], [1, [1, 'ERR_IPC_MALFORMED_FRAME']]);
    socket.destroy();
  }
});

test('an old server that replies acknowledges by its reply', async (t) => {
  const path = folder(t);
  const texts = await oldServer(t, { socketPath: path('ipc.sock') }, ({ id, bad }) =>
    bad ? { id, success: false, error: 'bad' } : { id, success: true },
  );
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  assert.deepEqual(await client.send({ id: 'a' }, { ack: true }), { level: 'handled' });
  await assert.rejects(client.send({ id: 'b', bad: true }, { ack: true }), {
    code: 'ERR_IPC_REFUSED',
    indeterminate: false,
    message: /bad/,
  });
  // What has no id gets no reply; that it was read is all that can be known.
  assert.deepEqual(await client.send({ n: 1 }, { ack: true }), { level: 'received' });
  assert.deepEqual(
    texts.map((text) => text.trimEnd()),
    ['{"id":"a"}', '{"id":"b","bad":true}', '{"n":1}'],
  );
});

test('an old server that says nothing: a message is received when its bytes were read', {
  skip: process.platform !== 'linux' && process.platform !== 'darwin',
}, async (t) => {
  const path = folder(t);
  const texts = await oldServer(t, { socketPath: path('ipc.sock') });
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  const receipts = await Promise.all(
    Array.from({ length: 3_000 }, (_, n) => client.send({ id: `m${n}` }, { ack: true })),
  );
  assert.ok(receipts.every(({ level }) => level === 'received'));
  assert.deepEqual(
    texts,
    receipts.map((_, n) => `{"id":"m${n}"}${MARK}`),
  );
});

test('a server that reads nothing is not taken for an old one', async (t) => {
  const path = folder(t);
  const accepted = deferred();
  const server = net.createServer({ pauseOnConnect: true }, accepted.resolve);
  server.listen(path('ipc.sock'));
  t.after(() => server.close());
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  await assert.rejects(client.send({ id: 'a' }, { ack: true, timeoutMs: 600 }), {
    code: 'ERR_IPC_NOT_ACKNOWLEDGED',
    indeterminate: true,
  });
  const socket = await accepted.promise;
  t.after(() => socket.destroy());
  socket.resume();
  assert.deepEqual(await client.send({ id: 'b' }, { ack: true }), { level: 'received' });
});

test('an unsound server cannot confuse the client', async (t) => {
  const path = folder(t);
  const controls = [
    { through: 1e9 },
    { also: [1, 1e15, 'x', null] },
    { refused: [[77, 'E', 't'], [], [null]] },
    { hello: { window: -1, maxFrameBytes: 'x' } },
    { future: true },
  ];
  await plainServer(t, path('ipc.sock'), (socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      for (const control of controls) {
        socket.write(frame(JSON.stringify({ $ipc: control }) + MARK));
      }
    });
  });
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  assert.deepEqual(await client.send({ id: 'a' }, { ack: true }), { level: 'handled' });
  await until(() => client.stats().messagesReceived === controls.length);
  assert.equal(client.isConnected(), true);
});

test('a server whose handlers are all busy still says that it acknowledges', async (t) => {
  const path = folder(t);
  const { server } = await listen(t, { socketPath: path('ipc.sock'), highWaterMark: 1 });
  const gate = deferred();
  const seen = [];
  server.setMessageHandler(({ n }) => {
    seen.push(n);
    return gate.promise;
  });
  const { client } = await connected(t, { socketPath: path('ipc.sock') });
  // The marked message waits behind a plain one, read and not handed over.
  await client.send({ n: 1 });
  const sent = client.send({ n: 2 }, { ack: true, timeoutMs: 600 });
  await assert.rejects(sent, { code: 'ERR_IPC_NOT_ACKNOWLEDGED', indeterminate: true });
  assert.deepEqual(seen, [1]);
  gate.resolve();
  assert.deepEqual(await client.send({ n: 3 }, { ack: true }), { level: 'handled' });
  assert.deepEqual(seen, [1, 2, 3]);
});

/** For each connection of a traced server how many bytes it had taken when it said its greeting. */
function takenBeforeGreeting(trace) {
  const call = /(recvfrom|sendto)\((\d+), (.*?), \d+, ([A-Z_|0-9]+).*\) = (\d+)$/;
  const taken = new Map();
  const greeted = [];
  for (const line of readFileSync(trace, 'utf8').split('\n')) {
    const [, name, descriptor, text, flags, count] = call.exec(line) ?? [];
    if (name === 'sendto' && text.includes('hello')) greeted.push(taken.get(descriptor) ?? 0);
    if (name === 'recvfrom' && !flags.includes('MSG_PEEK')) {
      taken.set(descriptor, (taken.get(descriptor) ?? 0) + Number(count));
    }
  }
  return greeted;
}

test('the greeting leaves before the kernel has given away a first marked frame to its end', {
  skip: noStrace,
}, async (t) => {
  const path = folder(t);
  const options = ['-f', '-qq', '-o', path('trace'), '-s', '40', '-e', 'trace=recvfrom,sendto'];
  const server = child(t, 'socket-acknowledging.mjs', [path('ipc.sock')], {
    command: ['strace', ...options, process.execPath],
  });
  await server.line('ready');
  const plain = frame('{"id":"plain"}');
  const marked = frame(`{"id":"marked"}${MARK}`);
  const long = (mark) => frame(`"${'x'.repeat(3_000_000)}"${mark}`);
  const marksFirst = [
    [marked],
    [Buffer.concat([marked, ...Array(1_000).fill(plain)])],
    [long(MARK)],
    [...marked].map((byte) => Buffer.from([byte])),
  ];
  // They are greeted too, in the turn that reads the marked frame.
  const marksLater = [
    [plain, marked],
    [Buffer.concat([...Array(1_000).fill(plain), marked])],
    [Buffer.concat([long(''), marked, plain])],
  ];
  const cases = [...marksFirst, ...marksLater];
  for (const parts of cases) {
    // They stay open, so that each has a descriptor of its own.
    const { socket, frames } = await plainClient(t, path('ipc.sock'));
    for (const part of parts) {
      await new Promise((resolve) => void socket.write(part, resolve));
    }
    await until(() => frames.length >= 2, 'the greeting and the acknowledgement');
  }
  server.process.stdin.end();
  await within(server.exit, 'the end of the server');
  const taken = takenBeforeGreeting(path('trace'));
  const sent = cases.map((parts) => Buffer.concat(parts).length);
  assert.equal(taken.length, sent.length);
  for (const [at, bytes] of taken.slice(0, marksFirst.length).entries()) {
    assert.ok(bytes < sent[at], `case ${at}: ${bytes} of ${sent[at]} bytes were taken before`);
  }
});

test('an old server whose first reply comes late is waited for from then on', async (t) => {
  const path = folder(t);
  const replies = [];
  await plainServer(t, path('ipc.sock'), (socket) => {
    const frames = collect(socket);
    socket.on('data', () => {
      for (const text of frames.splice(0)) {
        const { id } = JSON.parse(text);
        replies.push(() => socket.write(json({ id, success: true })));
      }
    });
  });
  const { client, messages } = await connected(t, { socketPath: path('ipc.sock') });
  assert.deepEqual(await client.send({ id: 'a' }, { ack: true }), { level: 'received' });
  replies.shift()();
  await until(() => messages.length === 1);
  const sent = client.send({ id: 'b' }, { ack: true });
  await until(() => replies.length === 1);
  replies.shift()();
  assert.deepEqual(await sent, { level: 'handled' });
});
