// What the client makes of servers that reply late, twice, oddly or not at all, and of their frames.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collect, connected, folder, json, plainServer } from './support/socket.mjs';

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
