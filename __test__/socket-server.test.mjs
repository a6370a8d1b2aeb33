// The server's life: start, stop, and the path it lives at.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import net from 'node:net';
import { test } from 'node:test';
import { UnixSocketServer } from '../features/unix-socket/index.js';
import {
  child,
  connected,
  deferred,
  folder,
  isLong,
  json,
  listen,
  plainClient,
  plainServer,
  until,
  within,
} from './support/socket.mjs';

/** Leaves a socket file behind on which nobody listens. */
async function leaveStale(t, path) {
  const remote = child(t, 'socket-server.mjs', [path]);
  await remote.line('listening');
  remote.process.kill('SIGKILL');
  await remote.exit;
  assert.ok(lstatSync(path).isSocket());
}

test('start and stop in every order', async (t) => {
  const path = folder(t)('ipc.sock');
  const server = new UnixSocketServer({ socketPath: path });
  t.after(() => server.stop());
  const told = [];
  for (const name of ['listening', 'close']) server.on(name, () => told.push(name));
  await server.stop();
  await server.stop();
  assert.equal(server.isListening(), false);
  for (let round = 0; round < 3; round++) {
    await server.start();
    assert.equal(server.isListening(), true);
    await assert.rejects(server.start(), {
      code: 'ERR_IPC_ALREADY_LISTENING',
      message: 'Server is already listening',
    });
    const stopping = server.stop();
    assert.equal(server.isListening(), false);
    await Promise.all([stopping, server.stop()]);
    assert.equal(existsSync(path), false);
  }
  assert.deepEqual(told, Array(3).fill(['listening', 'close']).flat());
  const failing = new UnixSocketServer({ socketPath: `${path}/below/ipc.sock` });
  await assert.rejects(failing.start(), { code: 'ENOENT' });
  await failing.stop();
  await assert.rejects(failing.start(), { code: 'ENOENT' });
  assert.deepEqual(readdirSync(folder(t)('.')), []);
});

test('a long path is refused with limit and length', async (t) => {
  const path = folder(t);
  const room = 107 - path('x').length + 1;
  await listen(t, { socketPath: path('x'.repeat(room)) });
  await connected(t, { socketPath: path('x'.repeat(room)) });
  for (const name of ['x'.repeat(room + 1), 'ü'.repeat(60)]) {
    const server = new UnixSocketServer({ socketPath: path(name) });
    await assert.rejects(server.start(), (error) => {
      assert.equal(error.code, 'ERR_IPC_PATH_TOO_LONG');
      const bytes = Buffer.byteLength(path(name));
      assert.ok(error.message.includes('107') && error.message.includes(`${bytes}`), error.message);
      return true;
    });
  }
});

test('only a stale socket is replaced', async (t) => {
  const path = folder(t);
  writeFileSync(path('file'), 'precious');
  mkdirSync(path('directory'));
  await leaveStale(t, path('stale'));
  await leaveStale(t, path('target'));
  symlinkSync(path('target'), path('link'));
  symlinkSync(path('nowhere'), path('dangling'));
  execFileSync('mkfifo', [path('fifo')]);
  await plainServer(t, path('plain'));
  const live = await listen(t, { socketPath: path('live') });
  for (const name of ['file', 'directory', 'link', 'dangling', 'fifo', 'plain', 'live']) {
    const server = new UnixSocketServer({ socketPath: path(name) });
    await assert.rejects(server.start(), { code: 'EADDRINUSE', message: /EADDRINUSE/ }, name);
    await server.stop();
    assert.ok(lstatSync(path(name)), name);
  }
  assert.equal(readFileSync(path('file'), 'utf8'), 'precious');
  assert.equal(readlinkSync(path('link')), path('target'));
  assert.ok(lstatSync(path('target')).isSocket());
  assert.equal(live.server.isListening(), true);
  await connected(t, { socketPath: path('live') });
  await (await plainClient(t, path('plain'))).socket.destroy();
  await listen(t, { socketPath: path('stale') });
  await connected(t, { socketPath: path('stale') });
});

test('a file that only looks like our lock survives', async (t) => {
  const path = folder(t);
  writeFileSync(path('ipc.sock.lock'), 'precious');
  const { server } = await listen(t, { socketPath: path('ipc.sock') });
  await server.stop();
  assert.equal(readFileSync(path('ipc.sock.lock'), 'utf8'), 'precious');
  symlinkSync(path('nowhere'), path('other.sock.lock'));
  await assert.rejects(new UnixSocketServer({ socketPath: path('other.sock') }).start());
  assert.equal(existsSync(path('nowhere')), false);
});

test('stop() leaves a successor’s socket alone', async (t) => {
  const path = folder(t);
  const first = await listen(t, { socketPath: path('ipc.sock') });
  // What a server of the old generation does.
  unlinkSync(path('ipc.sock'));
  const { peers } = await plainServer(t, path('ipc.sock'));
  await first.server.stop();
  await connected(t, { socketPath: path('ipc.sock') });
  await until(() => peers.length === 1, 'the successor to be asked');

  const second = await listen(t, { socketPath: path('a.sock') });
  renameSync(path('a.sock'), path('b.sock'));
  await second.server.stop();
  assert.ok(existsSync(path('b.sock')));
});

test('a successor can start while its predecessor still drains', async (t) => {
  const path = folder(t)('ipc.sock');
  const first = await listen(t, { socketPath: path });
  const gate = deferred();
  first.server.setRequestHandler(() => gate.promise);
  const { client } = await connected(t, { socketPath: path });
  const reply = client.request({});
  await until(() => first.server.stats().inFlight === 1, 'the request');
  const stopping = first.server.stop();
  await first.server.start();
  const second = await connected(t, { socketPath: path });
  gate.resolve({ by: 'first' });
  await stopping;
  assert.equal((await reply).by, 'first');
  assert.equal(second.client.isConnected(), true);
  assert.equal(first.server.isListening(), true);
});

test('the socket has the mode asked for, whatever the umask', async (t) => {
  const path = folder(t)('ipc.sock');
  const before = process.umask();
  t.after(() => process.umask(before));
  for (const umask of [0, 0o022, 0o777]) {
    process.umask(umask);
    for (const mode of [undefined, 0o600, 0o660, 0o666]) {
      const { server } = await listen(t, { socketPath: path, mode });
      assert.equal(statSync(path).mode & 0o777, mode ?? 0o600, `umask ${umask}`);
      await server.stop();
    }
  }
});

test('of servers that race for one path exactly one wins', async (t) => {
  const path = folder(t);
  for (let round = 0; round < (isLong ? 30 : 4); round++) {
    const socketPath = path(`${round}.sock`);
    if (round % 2 === 1) await leaveStale(t, socketPath);
    const racers = Array.from({ length: 5 }, () => child(t, 'socket-server.mjs', [socketPath]));
    const outcomes = await Promise.all(
      racers.map((racer) => until(() => racer.lines[0], 'an outcome')),
    );
    assert.equal(outcomes.filter((line) => line === 'listening').length, 1, `${outcomes}`);
    assert.equal(outcomes.filter((line) => line.startsWith('failed EADDRINUSE')).length, 4);
    const { client } = await connected(t, { socketPath });
    assert.equal((await client.request({ round })).echo.round, round);
    client.disconnect();
    for (const racer of racers) racer.process.kill('SIGKILL');
  }
});

test('stop() lets handlers finish and replies leave', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  const gate = deferred();
  const text = 'x'.repeat(1_000_000);
  server.setRequestHandler(async () => {
    await gate.promise;
    return { text };
  });
  const { client } = await connected(t, { socketPath: path });
  const idle = await plainClient(t, path);
  const busy = await plainClient(t, path);
  busy.socket.write(
    Buffer.concat([json({ id: 1 }), json({ id: 2 }), Buffer.from([0, 0, 0, 9, 1])]),
  );
  const replies = [client.request({}), client.request({})];
  await until(() => server.stats().inFlight === 4, 'all requests');
  const lost = once(client, 'disconnect');
  const stopping = server.stop();
  assert.equal(existsSync(path), false);
  await until(() => idle.closed, 'the idle client to be closed');
  assert.equal(busy.closed, false);
  gate.resolve();
  await within(stopping, 'stop()');
  for (const reply of await Promise.all(replies)) assert.equal(reply.text, text);
  await until(() => busy.closed, 'the busy client to be closed');
  assert.equal(busy.frames.length, 2);
  await lost;
  const { connections, inFlight, messagesReceived, messagesSent, listening } = server.stats();
  assert.deepEqual([connections, inFlight, messagesReceived, messagesSent], [0, 0, 4, 4]);
  assert.equal(listening, false);
});

test('what the kernel held at stop() is handled, also of clients not accepted yet', async (t) => {
  const path = folder(t)('ipc.sock');
  const received = [];
  const { server } = await listen(t, { socketPath: path, highWaterMark: 3, concurrency: 2 });
  server.setRequestHandler(async ({ n }) => {
    received.push(n);
    await null;
    return { n };
  });
  const remote = child(t, 'socket-burst.mjs', [path, 200]);
  // The child connects, writes and says so, all while this event loop does not turn.
  remote.process.stdin.write('go\n');
  const end = Date.now() + 10_000;
  while (!existsSync(`${path}.sent`)) assert.ok(Date.now() < end, 'the child was not in time');
  assert.equal(server.stats().accepted, 0);
  await server.stop();
  assert.equal(received.length, 200);
  assert.equal(await remote.line('replies'), 'replies 200');
});

test('stop() cuts what is not done at the deadline', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server, errors } = await listen(t, { socketPath: path, concurrency: 1 });
  let starts = 0;
  const gate = deferred();
  server.setRequestHandler(() => {
    starts++;
    return gate.promise;
  });
  const peer = await plainClient(t, path);
  peer.socket.write(Buffer.concat([json({ id: 1 }), json({ id: 2 })]));
  await until(() => server.stats().inFlight === 2, 'the requests');
  const started = performance.now();
  await server.stop({ deadlineMs: 50 });
  const took = performance.now() - started;
  assert.ok(took >= 49 && took < 3_000, `${took} ms`);
  await until(() => peer.closed, 'the cut');
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['ERR_IPC_CONNECTION_LOST'],
  );
  // What ends later finds nobody, and starts nothing that waited.
  gate.resolve({});
  await null;
  await server.start();
  await server.stop();
  assert.deepEqual([starts, peer.frames.length], [1, 0]);
  for (const deadlineMs of [-1, Number.NaN, '5']) {
    await assert.rejects(server.stop({ deadlineMs }), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  }
});

test('stop() with silent and never-reading clients does not wait for them', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  server.setRequestHandler(() => ({ text: 'x'.repeat(5_000_000) }));
  await plainClient(t, path);
  const deaf = await plainClient(t, path);
  deaf.socket.pause();
  await within(server.stop(), 'stop() with silent clients', 2_000);

  await server.start();
  const stuck = await plainClient(t, path);
  stuck.socket.pause();
  stuck.socket.write(json({ id: 1 }));
  await until(() => server.stats().outboundBytes > 0, 'a reply that waits');
  await within(server.stop({ deadlineMs: 30 }), 'stop() with a client that does not read', 2_000);
});

test('stop() inside a handler, and in a connection listener', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  let stopping;
  server.setRequestHandler(() => {
    stopping = server.stop();
    return { ok: true };
  });
  const peer = await plainClient(t, path);
  peer.socket.write(Buffer.concat([json({ id: 1 }), json({ id: 2 })]));
  await until(() => peer.closed, 'the end');
  await stopping;
  assert.deepEqual(peer.frames, ['{"id":1,"ok":true}', '{"id":2,"ok":true}']);

  await server.start();
  server.once('connection', () => {
    stopping = server.stop();
  });
  const other = await plainClient(t, path);
  await until(() => other.closed, 'the end');
  await within(stopping, 'stop()');
});

test('disposal, ref, events and options', async (t) => {
  const path = folder(t)('ipc.sock');
  const server = new UnixSocketServer({ socketPath: path });
  assert.equal(server.emit('error', new Error('nobody listens'), undefined), false);
  assert.equal(server.unref().ref(), server);
  const listening = once(server, 'listening');
  await server.start();
  await listening;
  const arrival = once(server, 'connection');
  const socket = net.connect(path);
  const [info] = await arrival;
  assert.deepEqual([info.uid, info.pid], [process.getuid(), process.pid]);
  const departure = once(server, 'disconnect');
  socket.destroy();
  assert.deepEqual(await departure, [info, undefined]);
  await server[Symbol.asyncDispose]();
  assert.equal(server.isListening(), false);
  for (const bad of [
    { socketPath: '' },
    { maxConnections: -1 },
    { maxFrameBytes: 2 ** 32 },
    { highWaterMark: 0 },
    { concurrency: 0 },
    { mode: 0o1777 },
    { allowedUids: [] },
    { allowedUids: ['root'] },
    { frameTimeoutMs: 0 },
    { maxOutboundBytes: Number.POSITIVE_INFINITY },
  ]) {
    assert.throws(
      () => new UnixSocketServer({ socketPath: path, ...bad }),
      { code: 'ERR_IPC_INVALID_ARGUMENT' },
      JSON.stringify(bad),
    );
  }
});
