// Requests of the client: which reply is whose, when waiting ends, and how close() waits.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connected, deferred, folder, listen, until } from './support/socket.mjs';

test('requests find their replies by id', async (t) => {
  const path = folder(t)('ipc.sock');
  const gates = new Map();
  const { server } = await listen(t, { socketPath: path });
  server.setRequestHandler(async ({ id, n }) => {
    const gate = deferred();
    gates.set(n, gate);
    await gate.promise;
    if (n === 3) throw new Error('of the handler');
    return { twice: n * 2, for: id };
  });
  const { client, messages } = await connected(t, { socketPath: path });
  const requests = [1, 2, 3].map((n) => client.request({ n }));
  requests.push(client.request({ n: 4, id: 'mine' }), client.request({ n: 5, id: 5 }));
  await assert.rejects(client.request({ id: 'mine' }), { code: 'ERR_IPC_DUPLICATE_REQUEST_ID' });
  const late = assert.rejects(client.request({ n: 6, id: 'late' }, { timeoutMs: 20 }), {
    code: 'ERR_IPC_REQUEST_TIMEOUT',
    message: /Connection.*20ms/,
  });
  await until(() => gates.size === 6, 'all requests');
  await late;
  for (const n of [5, 3, 1, 2, 4, 6]) gates.get(n).resolve();
  const replies = await Promise.all(requests);
  assert.deepEqual(
    replies.map(({ twice }) => twice),
    [2, 4, undefined, 8, 10],
  );
  assert.deepEqual([replies[2].success, replies[2].error], [false, 'of the handler']);
  assert.deepEqual([replies[3].id, replies[4].id], ['mine', 5]);
  assert.equal(new Set(replies.map(({ id }) => id)).size, 5);
  // The reply that nobody waits for any more is a message like any other.
  await until(() => messages.length === 1, 'the late reply');
  assert.equal(messages[0].id, 'late');
  for (const id of ['', 0, null, false, {}]) {
    await assert.rejects(client.request({ id }), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  }
  for (const message of [undefined, null, 'text', 1]) {
    await assert.rejects(client.request(message), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  }
});

test('close() waits until messages have left and requests are answered', async (t) => {
  const path = folder(t)('ipc.sock');
  const received = [];
  const gate = deferred();
  const { server } = await listen(t, { socketPath: path });
  server.setRequestHandler(async (message) => {
    received.push(message);
    if (message.wait) await gate.promise;
    return { done: true };
  });
  const { client } = await connected(t, { socketPath: path });
  const text = 'x'.repeat(100_000);
  const sends = Array.from({ length: 50 }, (_, n) => client.send({ n, text }));
  const request = client.request({ id: 'r', wait: true });
  const closing = client.close();
  assert.equal(client.close(), closing);
  await until(() => received.length === 51, 'all messages');
  assert.equal(client.isConnected(), true);
  gate.resolve();
  await Promise.all([closing, ...sends]);
  assert.equal((await request).done, true);
  assert.equal(client.isConnected(), false);

  await client.connect();
  const impatient = client.request({ wait: true, never: true }, { timeoutMs: 30 });
  server.setRequestHandler(() => new Promise(() => {}));
  const expired = assert.rejects(client.request({}, { timeoutMs: 30 }), {
    code: 'ERR_IPC_REQUEST_TIMEOUT',
  });
  await impatient.catch(() => {});
  const started = performance.now();
  await Promise.all([client.close({ deadlineMs: 10_000 }), expired]);
  assert.ok(performance.now() - started < 5_000, 'close() outwaited its last request');

  await client.connect();
  const cut = assert.rejects(client.request({}), { code: 'ERR_IPC_CONNECTION_CLOSED' });
  await Promise.all([client.close({ deadlineMs: 20 }), cut]);
  await client.close();
});
