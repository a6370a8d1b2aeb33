import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { UnixSocketClient, UnixSocketServer } from '../features/unix-socket/index.js';
import { folder, json, listen, plainClient, until } from './support/socket.mjs';

async function pair(t, options) {
  const folder = mkdtempSync(join(tmpdir(), 'ipc-'));
  const socketPath = join(folder, 'ipc.sock');
  const server = new UnixSocketServer({ socketPath, ...options });
  const client = new UnixSocketClient({ socketPath });
  t.after(async () => {
    client.disconnect();
    await server.stop();
    rmSync(folder, { recursive: true });
  });
  const errors = [];
  server.on('error', (error) => errors.push(error.code));
  await server.start();
  await client.connect();
  return { server, client, errors };
}

const good = { id: 'a', type: 't', payload: { deep: [1] }, timestamp: 1 };

const bad = [
  ['no type', { id: 'b', timestamp: 1 }],
  ['an empty type', { id: 'b', type: '', timestamp: 1 }],
  ['a numeric id', { id: 7, type: 't', timestamp: 1 }],
  ['a timestamp of 0', { id: 'b', type: 't', timestamp: 0 }],
  ['a timestamp that is text', { id: 'b', type: 't', timestamp: '1' }],
];

for (const [name, message] of bad) {
  test(`with validate, a message with ${name} is answered and reaches no handler`, async (t) => {
    const { server, client, errors } = await pair(t, { validate: true });
    const seen = [];
    server.setRequestHandler((received) => {
      seen.push(received);
      return {};
    });
    const reply = await client.request(message);
    assert.equal(reply.id, message.id);
    assert.equal(reply.success, false);
    assert.match(reply.error, /\w/);
    assert.deepEqual(errors, ['ERR_IPC_INVALID_MESSAGE']);
    // The connection lives on, and good messages go through unchanged, unknown keys included.
    assert.deepEqual(await client.request({ ...good, extra: 1 }), { id: 'a' });
    assert.deepEqual(seen, [{ ...good, extra: 1 }]);
    assert.equal(server.stats().malformed, 1);
  });
}

test('a client that half-closes after an invalid message receives the reply', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path, validate: true });
  server.setRequestHandler(() => ({}));
  for (const messages of [[bad[0][1]], [good, bad[0][1]], [bad[0][1], good]]) {
    const { socket, frames } = await plainClient(t, path, { allowHalfOpen: true });
    socket.end(Buffer.concat(messages.map(json)));
    await until(() => socket.readableEnded, 'the server to close');
    assert.deepEqual(
      frames.map((text) => JSON.parse(text).id).sort(),
      messages.map(({ id }) => id).sort(),
    );
    socket.destroy();
  }
  assert.equal(server.stats().inFlight, 0);
});

test('without validate every JSON value goes through', async (t) => {
  const { server, client, errors } = await pair(t, {});
  server.setRequestHandler(() => ({}));
  for (const [, message] of bad) await client.request(message);
  assert.deepEqual(errors, []);
});
