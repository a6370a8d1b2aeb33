// Exceptions of listeners, and of whatever else users pass in: they surface as uncaught
// exceptions, and nothing else is lost by them.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { UnixSocketClient } from '../features/unix-socket/index.js';
import {
  child,
  connected,
  folder,
  frame,
  json,
  listen,
  plainClient,
  plainServer,
  until,
  within,
} from './support/socket.mjs';

const require = createRequire(import.meta.url);

test('listeners that throw lose no message and leave the counters right', async (t) => {
  const path = folder(t)('ipc.sock');
  const run = child(t, 'socket-throwing.mjs', [path]);
  const { code, signal, stderr } = await within(run.exit, 'the end');
  assert.deepEqual([code, signal, stderr], [0, null, '']);
  const { uncaught, handled, replies, server, client } = JSON.parse(run.lines.at(-1));
  assert.deepEqual(
    handled,
    Array.from({ length: 50 }, (_, n) => n),
  );
  assert.equal(replies, 50);
  assert.deepEqual(server, {
    listening: false,
    connections: 0,
    accepted: 1,
    refused: 0,
    messagesReceived: 60,
    malformed: 10,
    messagesSent: 50,
    inFlight: 0,
    handlerErrors: 5,
    unhandled: 0,
    outboundBytes: 0,
    stalledConnections: 0,
  });
  assert.deepEqual(client, { messagesReceived: 50, pendingRequests: 0, connected: false });
  // Server: listening, connection, disconnect, close, 10 + 5 errors. Client: connect,
  // disconnect, and every message.
  assert.equal(uncaught.listening, 1);
  assert.equal(uncaught.connection, 1);
  assert.equal(uncaught.close, 1);
  assert.equal(uncaught.connect, 1);
  assert.equal(uncaught.disconnect, 2);
  assert.equal(uncaught.error, 15);
  assert.equal(uncaught.message, 50);
});

test('a listener that ends its own endpoint gets no more of it, and hurts no other', async (t) => {
  const path = folder(t)('ipc.sock');
  const { peers } = await plainServer(t, path);
  const { client } = await connected(t, { socketPath: path });
  const other = await connected(t, { socketPath: path });
  await until(() => peers.length === 2, 'both connections');
  const seen = [];
  client.on('message', ({ n }) => {
    seen.push(n);
    client.disconnect();
  });
  const wire = Buffer.concat([json({ n: 1 }), json({ n: 2 })]);
  for (const { socket } of peers) socket.write(wire);
  await until(() => other.messages.length === 2, 'the other one to have both');
  await until(() => seen.length > 0, 'the first message');
  assert.equal(client.isConnected(), false);
  await client.connect();
  assert.equal(client.isConnected(), true);
});

test('several copies of the package share the addon without mixing anything up', async (t) => {
  const path = folder(t);
  // What test runners do: every test file loads the JavaScript anew, the addon only once.
  const copies = Array.from({ length: 4 }, () => {
    for (const key of Object.keys(require.cache)) {
      if (/\/(dist|features)\/.*\.js$/.test(key)) delete require.cache[key];
    }
    return require('../features/unix-socket/index.js');
  });
  assert.notEqual(copies[0].UnixSocketClient, copies[1].UnixSocketClient);
  const servers = await Promise.all(
    copies.map(async ({ UnixSocketServer }, index) => {
      const server = new UnixSocketServer({ socketPath: path(`${index}.sock`) });
      server.setRequestHandler(({ n }) => ({ by: index, n }));
      await server.start();
      t.after(() => server.stop());
      return server;
    }),
  );
  for (const [index, { UnixSocketClient: Client }] of copies.entries()) {
    for (const to of copies.keys()) {
      const client = new Client({ socketPath: path(`${to}.sock`) });
      await client.connect();
      const replies = await Promise.all([1, 2, 3].map((n) => client.request({ n })));
      assert.deepEqual(
        replies.map(({ by, n }) => [by, n]),
        [1, 2, 3].map((n) => [to, n]),
        `copy ${index} to ${to}`,
      );
      client.disconnect();
    }
  }
  await assert.rejects(new copies[3].UnixSocketServer({ socketPath: path('0.sock') }).start(), {
    code: 'EADDRINUSE',
  });
  await Promise.all(servers.map((server) => server.stop()));
});

test('client and server work under fake timers', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate', 'Date'] });
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  server.setRequestHandler(async ({ n }) => ({ n }));
  const { client } = await connected(t, { socketPath: path });
  assert.equal((await client.request({ n: 1 })).n, 1);
  server.setRequestHandler(() => new Promise(() => {}));
  const late = assert.rejects(client.request({}, { timeoutMs: 60_000 }), {
    code: 'ERR_IPC_REQUEST_TIMEOUT',
  });
  t.mock.timers.tick(60_000);
  await late;
  await client.close();
  server.setRequestHandler(() => ({}));
  await server.stop({ deadlineMs: 10 });
  t.mock.timers.reset();
});

test('a thousand endpoints come and go without a trace', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path, maxConnections: 10_000 });
  let handled = 0;
  server.setMessageHandler(() => void handled++);
  const { readdirSync } = await import('node:fs');
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  for (let round = 0; round < 10; round++) {
    const clients = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => {
        const client = new UnixSocketClient({ socketPath: path, refusalGraceMs: 0 });
        await client.connect();
        await client.send({ n });
        if (n % 2 === 0) return client;
        return client.disconnect();
      }),
    );
    await Promise.all(clients.map((client) => client?.close()));
  }
  await until(() => server.stats().connections === 0 && handled === 1_000, 'all to be gone');
  assert.equal(descriptors(), before);
});

test('a frame that imitates the batch of the addon is only itself', async (t) => {
  const path = folder(t)('ipc.sock');
  const received = [];
  const { server, errors } = await listen(t, { socketPath: path });
  server.setMessageHandler((message) => void received.push(message));
  const { socket } = await plainClient(t, path);
  // Nine digits, as the number between frames has; it is another one in every process.
  const bodies = ['123456789', '1,123456789,2', '[1,123456789,2]', '{"a":123456789}'];
  socket.write(Buffer.concat(bodies.map((body) => frame(body))));
  await until(() => received.length === 3, 'the good ones');
  assert.deepEqual(received, [123_456_789, [1, 123_456_789, 2], { a: 123_456_789 }]);
  assert.equal(errors.length, 1);
});
