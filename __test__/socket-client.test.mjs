// The client's contract: connect, send, request, disconnect and close, in every order.
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { test } from 'node:test';
import { UnixSocketClient } from '../features/unix-socket/index.js';
import {
  child,
  connected,
  deferred,
  folder,
  json,
  listen,
  plainServer,
  until,
  within,
} from './support/socket.mjs';

const NOBODY = 65_534;
const isRoot = process.getuid() === 0;

function clientOf(t, options) {
  const client = new UnixSocketClient(options);
  t.after(() => client.disconnect());
  return client;
}

test('connect() rejects with the code of Node', async (t) => {
  const path = folder(t);
  writeFileSync(path('file'), 'text');
  const cases = [
    ['missing', 'ENOENT', /^connect ENOENT .*missing$/],
    ['file', 'ECONNREFUSED', /^connect ECONNREFUSED .*file$/],
    ['file/below', 'ENOTDIR', /^connect ENOTDIR/],
  ];
  for (const [name, code, message] of cases) {
    const client = clientOf(t, { socketPath: path(name) });
    for (let round = 0; round < 3; round++) {
      await assert.rejects(client.connect(), { name: 'IpcError', code, message });
      assert.equal(client.isConnected(), false);
    }
  }
  const long = path('x'.repeat(200));
  await assert.rejects(clientOf(t, { socketPath: long }).connect(), (error) => {
    assert.equal(error.code, 'ERR_IPC_PATH_TOO_LONG');
    assert.ok(error.message.includes(`${long.length}`) && error.message.includes('107'));
    return true;
  });
});

test('connect() rejects with EACCES where permissions forbid it', {
  skip: !isRoot && 'needs root',
}, async (t) => {
  const path = folder(t);
  chmodSync(path('.'), 0o755);
  await listen(t, { socketPath: path('ipc.sock') });
  const other = child(t, 'socket-connect.mjs', [path('ipc.sock'), NOBODY]);
  assert.match(await other.line('failed'), /^failed EACCES connect EACCES/);
});

test('a user that is not served gets a typed error from connect()', {
  skip: !isRoot && 'needs root',
}, async (t) => {
  const path = folder(t);
  chmodSync(path('.'), 0o755);
  const socketPath = path('ipc.sock');
  const first = await listen(t, { socketPath, mode: 0o666 });
  const other = child(t, 'socket-connect.mjs', [socketPath, NOBODY]);
  assert.match(
    await other.line('failed'),
    /^failed ERR_IPC_UID_REFUSED Connection refused: .*user 65534/,
  );
  assert.deepEqual(
    first.errors.map(({ code }) => code),
    ['ERR_IPC_UID_REFUSED'],
  );
  assert.equal(first.server.stats().refused, 1);
  await first.server.stop();
  for (const allowedUids of ['any', [NOBODY]]) {
    const { server } = await listen(t, { socketPath, mode: 0o666, allowedUids });
    await child(t, 'socket-connect.mjs', [socketPath, NOBODY]).line('connected');
    await server.stop();
  }
  const { server } = await listen(t, { socketPath, allowedUids: [NOBODY] });
  await assert.rejects(clientOf(t, { socketPath }).connect(), { code: 'ERR_IPC_UID_REFUSED' });
  await server.stop();
});

test('connect() gives up on a server that accepts nobody', async (t) => {
  const path = folder(t)('ipc.sock');
  const deaf = child(t, 'socket-deaf.mjs', [path]);
  await deaf.line('listening');
  const fillers = [];
  t.after(() => fillers.forEach((socket) => void socket.destroy()));
  // Until the backlog is full.
  for (let isFull = false; !isFull; ) {
    const socket = net.connect(path);
    fillers.push(socket);
    isFull = await new Promise((resolve) => {
      socket.on('connect', () => resolve(false)).on('error', () => resolve(true));
    });
  }
  for (const connectTimeout of [1, 150]) {
    const client = clientOf(t, { socketPath: path, connectTimeout });
    const started = performance.now();
    await assert.rejects(client.connect(), {
      code: 'ERR_IPC_CONNECT_TIMEOUT',
      message: `Connection timeout after ${connectTimeout}ms`,
    });
    const took = performance.now() - started;
    assert.ok(took >= connectTimeout - 1 && took < connectTimeout + 2_000, `${took} ms`);
  }
  const client = clientOf(t, { socketPath: path });
  const connecting = client.connect();
  fillers[0].destroy();
  process.kill(deaf.process.pid, 'SIGCONT');
  await connecting;
  assert.equal(client.isConnected(), true);
});

test('connect() twice makes one connection with one outcome', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  const client = clientOf(t, { socketPath: path });
  let connects = 0;
  client.on('connect', () => connects++);
  await Promise.all([client.connect(), client.connect(), client.connect()]);
  await client.connect();
  assert.equal(server.stats().accepted, 1);
  assert.deepEqual([connects, client.stats().connections], [1, 1]);
  const failing = clientOf(t, { socketPath: `${path}.missing` });
  const outcomes = await Promise.allSettled([failing.connect(), failing.connect()]);
  assert.deepEqual(
    outcomes.map(({ reason }) => reason?.code),
    ['ENOENT', 'ENOENT'],
  );
});

test('disconnect() during connect() rejects, and never throws', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  const client = clientOf(t, { socketPath: path });
  client.disconnect();
  client.disconnect();
  for (let round = 0; round < 3; round++) {
    const outcome = assert.rejects(client.connect(), {
      code: 'ERR_IPC_CONNECTION_CLOSED',
      message: /Connection/,
    });
    client.disconnect();
    await outcome;
    assert.equal(client.isConnected(), false);
  }
  await client.connect();
  await client.send({});
  client.disconnect();
  client.disconnect();
  assert.equal(client.isConnected(), false);
  await client.connect();
  assert.equal(client.isConnected(), true);
  await until(() => server.stats().connections === 1, 'the others to be gone');
});

test('send() rejects when there is no connection', async (t) => {
  const path = folder(t)('ipc.sock');
  const message = /^Not connected to Unix socket$/;
  const client = clientOf(t, { socketPath: path, reconnect: false });
  const rejects = async () => {
    await assert.rejects(client.send({}), { code: 'ERR_IPC_NOT_CONNECTED', message });
    await assert.rejects(client.request({}), { code: 'ERR_IPC_NOT_CONNECTED', message });
  };
  await rejects();
  await assert.rejects(client.connect());
  await rejects();
  const { server } = await listen(t, { socketPath: path });
  const connecting = client.connect();
  await rejects();
  await connecting;
  client.disconnect();
  await rejects();
  await client.connect();
  const lost = once(client, 'disconnect');
  await server.stop();
  await lost;
  await rejects();
});

test('a server killed with SIGKILL is noticed at once', async (t) => {
  const path = folder(t)('ipc.sock');
  const remote = child(t, 'socket-server.mjs', [path]);
  await remote.line('listening');
  const { client } = await connected(t, { socketPath: path });
  assert.deepEqual((await client.request({ n: 1 })).echo.n, 1);
  const lost = once(client, 'disconnect');
  remote.process.stdin.write('block 60000\n');
  await remote.line('blocking');
  const pending = client.request({ id: 'pending' });
  await client.send({ sent: true });
  remote.process.kill('SIGKILL');
  const outcome = assert.rejects(pending, {
    code: 'ERR_IPC_CONNECTION_LOST',
    message: /Connection/,
  });
  // The test does not let the event loop turn until the kernel has ended the process.
  const end = Date.now() + 10_000;
  while (client.isConnected()) assert.ok(Date.now() < end, 'still connected');
  await assert.rejects(client.send({ late: true }), /Connection/);
  await outcome;
  const [error] = await lost;
  assert.equal(error.code, 'ERR_IPC_CONNECTION_LOST');
  await assert.rejects(client.connect(), { code: 'ECONNREFUSED' });
  const again = child(t, 'socket-server.mjs', [path]);
  await again.line('listening');
  await client.connect();
  assert.equal((await client.request({ n: 2 })).echo.n, 2);
});

test('over maxConnections connect() rejects, and the others go on', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server, errors } = await listen(t, { socketPath: path, maxConnections: 2 });
  server.setRequestHandler(() => ({}));
  const inside = await connected(t, { socketPath: path });
  await connected(t, { socketPath: path });
  const outside = clientOf(t, { socketPath: path });
  for (let round = 1; round <= 2; round++) {
    await assert.rejects(outside.connect(), {
      code: 'ERR_IPC_MAX_CONNECTIONS',
      message: /^Connection refused: .*2 clients/,
    });
    assert.equal(server.stats().refused, round);
  }
  assert.equal(errors.length, 2);
  await inside.client.request({});
  inside.client.disconnect();
  await until(() => server.stats().connections === 1, 'a place');
  await outside.connect();
});

test('a refusal that comes late is told with its type', async (t) => {
  const path = folder(t)('ipc.sock');
  const remote = child(t, 'socket-server.mjs', [path, '{"maxConnections":1}']);
  await remote.line('listening');
  await connected(t, { socketPath: path });
  remote.process.stdin.write('block 300\n');
  await remote.line('blocking');
  const client = clientOf(t, { socketPath: path, reconnect: false });
  const lost = once(client, 'disconnect');
  await client.connect();
  const [error] = await lost;
  assert.equal(error.code, 'ERR_IPC_MAX_CONNECTIONS');
  const patient = clientOf(t, { socketPath: path, reconnect: false, refusalGraceMs: 5_000 });
  await assert.rejects(patient.connect(), { code: 'ERR_IPC_MAX_CONNECTIONS' });
});

test('a signal ends connect() and request()', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  server.setRequestHandler(() => new Promise(() => {}));
  const client = clientOf(t, { socketPath: path, refusalGraceMs: 10_000 });
  const reason = new Error('enough');
  await assert.rejects(client.connect({ signal: AbortSignal.abort(reason) }), reason);
  const abort = new AbortController();
  const outcome = assert.rejects(client.connect({ signal: abort.signal }), reason);
  abort.abort(reason);
  await outcome;
  assert.equal(client.isConnected(), false);
  await until(() => server.stats().connections === 0, 'the attempt to be given up');

  const { client: other } = await connected(t, { socketPath: path });
  await assert.rejects(other.request({}, { signal: AbortSignal.abort() }), { name: 'AbortError' });
  const second = new AbortController();
  const pending = assert.rejects(other.request({}, { signal: second.signal }), reason);
  second.abort(reason);
  await pending;
  assert.equal(other.stats().pendingRequests, 0);
  // One caller's signal does not end the attempt of another.
  const shared = clientOf(t, { socketPath: path });
  const third = new AbortController();
  const both = [shared.connect({ signal: third.signal }), shared.connect()];
  third.abort(reason);
  const [one, two] = await Promise.allSettled(both);
  assert.deepEqual([one.reason, two.status], [reason, 'fulfilled']);
});

test('disposal, stats and events behave as elsewhere in Node', async (t) => {
  const path = folder(t)('ipc.sock');
  const { peers } = await plainServer(t, path);
  const client = new UnixSocketClient({ socketPath: path });
  assert.ok(client instanceof EventEmitter);
  assert.equal(client.emit('error', new Error('nobody listens')), false);
  const connect = once(client, 'connect');
  await client.connect();
  await connect;
  assert.equal(client.ref(), client);
  assert.equal(client.unref(), client);
  await client.send({ n: 1 });
  await until(() => peers[0]?.frames.length === 1, 'the message');
  const first = deferred();
  client.prependOnceListener('message', first.resolve);
  peers[0].socket.write(json({ hello: 1 }));
  assert.deepEqual(await within(first.promise, 'the message'), { hello: 1 });
  peers[0].socket.write(Buffer.concat([json({ n: 2 }), Buffer.from('\0\0\0\x01{'), json(3)]));
  const rest = [];
  client.on('message', (message) => rest.push(message));
  const [error] = await once(client, 'error');
  assert.equal(error.code, 'ERR_IPC_MALFORMED_FRAME');
  await until(() => rest.length === 2, 'the good ones');
  const { bytesReceived, ...stats } = client.stats();
  assert.deepEqual(stats, {
    connected: true,
    connections: 1,
    messagesSent: 1,
    messagesReceived: 4,
    outboundBytes: 0,
    pendingRequests: 0,
    lateReplies: 0,
  });
  assert.ok(bytesReceived > 20);
  const disconnect = once(client, 'disconnect');
  client[Symbol.dispose]();
  assert.deepEqual(await disconnect, [undefined]);
  assert.equal(client.stats().messagesSent, 1);
  await client[Symbol.asyncDispose]();
});

test('what waits for a server that does not read is bounded', async (t) => {
  const path = folder(t)('ipc.sock');
  const { peers } = await plainServer(t, path, (socket) => socket.pause());
  const { client } = await connected(t, { socketPath: path, maxOutboundBytes: 1_000_000 });
  const text = 'x'.repeat(100_000);
  const outcomes = [];
  for (let n = 0; n < 40; n++) {
    const outcome = client.send({ n, text }).then(
      () => 'taken',
      ({ code }) => code,
    );
    outcomes.push(outcome);
    await null;
  }
  await until(() => client.stats().outboundBytes > 0, 'bytes that wait');
  assert.ok(client.stats().outboundBytes <= 1_000_000);
  peers[0].socket.resume();
  const results = await Promise.all(outcomes);
  const taken = results.filter((result) => result === 'taken').length;
  assert.ok(taken >= 9 && taken < 40, `${taken} taken`);
  assert.ok(results.every((result) => result === 'taken' || result === 'ERR_IPC_OUTBOUND_FULL'));
  await until(() => peers[0].frames.length === taken, 'what was taken');
});

test('a burst over many clients does not wait for the end of the tick as a whole', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  const received = [];
  server.setMessageHandler((message) => void received.push(message));
  const clients = [];
  while (clients.length < 20) clients.push((await connected(t, { socketPath: path })).client);
  const sent = () => clients.reduce((sum, client) => sum + client.stats().messagesSent, 0);
  const text = 'x'.repeat(1_000);
  const outcomes = [];
  const send = (count) => {
    for (const [by, client] of clients.entries()) {
      for (let n = 0; n < count; n++) outcomes.push(client.send({ by, n, text }));
    }
  };
  send(1);
  assert.equal(sent(), 0);
  await Promise.all(outcomes);
  send(20);
  assert.ok(sent() > clients.length, 'some left before the end of the tick');
  assert.ok(sent() < 21 * clients.length, 'the last of them wait for it');
  await Promise.all(outcomes);
  await until(() => received.length === 21 * clients.length, 'all messages');
  for (const by of clients.keys()) {
    const numbers = received.filter((message) => message.by === by).map(({ n }) => n);
    assert.deepEqual(numbers, [0, ...Array(20).keys()]);
  }
});

test('options are checked', () => {
  const socketPath = '/tmp/x';
  for (const config of [
    undefined,
    {},
    { socketPath: '' },
    { socketPath: 1 },
    { socketPath, connectTimeout: -1 },
    { socketPath, connectTimeout: '5' },
    { socketPath, reconnectDelay: Number.NaN },
    { socketPath, maxFrameBytes: 0 },
    { socketPath, maxFrameBytes: 2 ** 32 },
    { socketPath, maxOutboundBytes: 1.5 },
  ]) {
    assert.throws(() => new UnixSocketClient(config), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  }
});
