// Lost connections are made again: when, how often, and when not.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { UnixSocketClient } from '../features/unix-socket/index.js';
import { child, folder, listen, plainServer, until } from './support/socket.mjs';

function clientOf(t, options) {
  const client = new UnixSocketClient(options);
  t.after(() => client.disconnect());
  const told = [];
  for (const name of ['connect', 'disconnect', 'reconnecting']) {
    client.on(name, (info) => told.push([name, info]));
  }
  return { client, told };
}

test('a client comes back when its server does', async (t) => {
  const path = folder(t)('ipc.sock');
  const { client, told } = clientOf(t, {
    socketPath: path,
    reconnectDelay: 5,
    maxReconnectDelay: 20,
  });
  for (let round = 1; round <= 3; round++) {
    const remote = child(t, 'socket-server.mjs', [path]);
    await remote.line('listening');
    if (round === 1) await client.connect();
    await until(() => client.isConnected(), 'the connection');
    assert.deepEqual((await client.request({ round })).echo.round, round);
    assert.equal(told.filter(([name]) => name === 'connect').length, 1);
    told.length = 0;
    remote.process.kill('SIGKILL');
    await until(() => told.filter(([name]) => name === 'reconnecting').length > 3, 'attempts');
    await assert.rejects(client.send({}), { code: 'ERR_IPC_NOT_CONNECTED' });
    const names = told.map(([name]) => name);
    assert.deepEqual(names.slice(0, 2), ['disconnect', 'reconnecting']);
    const [, first] = told[1];
    assert.deepEqual([first.attempt, first.error], [1, undefined]);
    for (const [index, [, info]] of told.slice(1).entries()) {
      assert.equal(info.attempt, index + 1);
      assert.ok(info.waitMs >= 0 && info.waitMs <= Math.min(5 * 2 ** index, 20), `${info.waitMs}`);
      // A process that is being killed may still have its listening socket for a moment.
      if (index > 0) assert.match(info.error.code, /^(ECONNREFUSED|ERR_IPC_CONNECTION_LOST)$/);
    }
  }
  assert.equal(client.stats().connections, 3);
  assert.equal(client.stats().messagesSent, 3);
});

test('connect() during the wait is an attempt of its own', async (t) => {
  const path = folder(t)('ipc.sock');
  const first = await listen(t, { socketPath: path });
  const { client, told } = clientOf(t, { socketPath: path, reconnectDelay: 2 ** 30 });
  await client.connect();
  await first.server.stop();
  await until(() => told.some(([name]) => name === 'reconnecting'), 'the wait');
  const second = await listen(t, { socketPath: path });
  await client.connect();
  assert.equal(second.server.stats().accepted, 1);
  assert.equal(told.filter(([name]) => name === 'connect').length, 2);
});

test('connect() in a disconnect listener works', async (t) => {
  const path = folder(t)('ipc.sock');
  const { peers } = await plainServer(t, path);
  for (const reconnect of [true, false]) {
    const { client, told } = clientOf(t, { socketPath: path, reconnect, reconnectDelay: 10_000 });
    await client.connect();
    let again;
    client.once('disconnect', () => {
      again = client.connect();
    });
    const disconnect = once(client, 'disconnect');
    peers.at(-1).socket.destroy();
    await disconnect;
    await again;
    assert.equal(client.isConnected(), true);
    assert.equal(told.filter(([name]) => name === 'connect').length, 2);
    client.disconnect();
  }
});

test('no attempt is made after disconnect(), or with reconnect: false', async (t) => {
  const path = folder(t)('ipc.sock');
  const patient = clientOf(t, { socketPath: path, reconnectDelay: 1, maxReconnectDelay: 5 });
  const single = clientOf(t, { socketPath: path, reconnect: false, reconnectDelay: 1 });
  const witness = clientOf(t, { socketPath: path, reconnectDelay: 1, maxReconnectDelay: 5 });
  const first = await listen(t, { socketPath: path });
  await Promise.all([patient, single, witness].map(({ client }) => client.connect()));
  await first.server.stop();
  await until(
    () => patient.told.filter(([name]) => name === 'reconnecting').length > 2,
    'attempts',
  );
  patient.client.disconnect();
  const told = patient.told.length;
  const second = await listen(t, { socketPath: path });
  await until(() => witness.client.stats().connections === 2, 'the witness to be back');
  assert.equal(second.server.stats().accepted, 1);
  assert.equal(patient.told.length, told);
  assert.deepEqual(
    single.told.map(([name]) => name),
    ['connect', 'disconnect'],
  );
  // Who was told to stop can be told to begin again.
  await Promise.all([patient.client.connect(), single.client.connect()]);
  assert.equal(second.server.stats().accepted, 3);
});

test('a failed first connect() is the caller’s, and is not repeated', async (t) => {
  const path = folder(t)('ipc.sock');
  const { client, told } = clientOf(t, { socketPath: path, reconnectDelay: 1 });
  await assert.rejects(client.connect(), { code: 'ENOENT' });
  const { server } = await listen(t, { socketPath: path });
  const witness = clientOf(t, { socketPath: path });
  await witness.client.connect();
  assert.equal(server.stats().accepted, 1);
  assert.deepEqual(told, []);
});

test('a hundred clients of a restarted server all come back', async (t) => {
  const path = folder(t)('ipc.sock');
  const options = { socketPath: path, maxConnections: 1_000 };
  const first = await listen(t, options);
  const clients = Array.from({ length: 100 }, () => {
    const { client } = clientOf(t, {
      socketPath: path,
      reconnectDelay: 10,
      maxReconnectDelay: 100,
    });
    return client;
  });
  await Promise.all(clients.map((client) => client.connect()));
  await first.server.stop();
  const second = await listen(t, options);
  second.server.setRequestHandler(({ n }) => ({ n }));
  await until(() => clients.every((client) => client.isConnected()), 'all to be back');
  const replies = await Promise.all(clients.map((client, n) => client.request({ n })));
  assert.ok(replies.every((reply, n) => reply.n === n));
});

test('a call that fails meanwhile does not end the attempts to come back', async (t) => {
  const path = folder(t)('ipc.sock');
  const first = await listen(t, { socketPath: path });
  const { client } = clientOf(t, { socketPath: path, reconnectDelay: 5, maxReconnectDelay: 20 });
  await client.connect();
  await first.server.stop();
  await assert.rejects(client.connect(), { code: 'ENOENT' });
  await assert.rejects(client.request({}, { attempts: 2, retryDelayMs: 1 }), { code: 'ENOENT' });
  const again = once(client, 'connect');
  await listen(t, { socketPath: path });
  await again;
  assert.equal(client.isConnected(), true);
});
