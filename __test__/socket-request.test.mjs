// Requests of the client: which reply is whose, when waiting ends, and how close() waits.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnixSocketServer } from '../features/unix-socket/index.js';
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
  // The reply that nobody waits for any more is dropped.
  await until(() => client.stats().lateReplies === 1, 'the late reply');
  assert.deepEqual(messages, []);
  for (const id of ['', 0, false, {}]) {
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

test('a request is sent again under the same id until it is answered', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  const seen = [];
  server.setRequestHandler(async ({ id }) => {
    seen.push(id);
    // The first two attempts get no answer.
    return seen.length < 3 ? undefined : { attempt: seen.length };
  });
  const { client, messages } = await connected(t, { socketPath: path });
  const reply = await client.request({ n: 1 }, { attempts: 5, timeoutMs: 10, retryDelayMs: 1 });
  assert.equal(reply.attempt, 3);
  assert.deepEqual(seen, Array(3).fill(reply.id));
  assert.deepEqual(messages, []);
  assert.equal(client.stats().pendingRequests, 0);
});

test('a request survives the restart of its server', async (t) => {
  const path = folder(t)('ipc.sock');
  const first = new UnixSocketServer({ socketPath: path });
  first.setRequestHandler(() => new Promise(() => {}));
  await first.start();
  const { client } = await connected(t, { socketPath: path, reconnect: false });
  const request = client.request({ id: 'kept' }, { attempts: 1000, retryDelayMs: 1 });
  await until(() => first.stats().inFlight === 1, 'the request');
  await first.stop({ deadlineMs: 0 });
  const { server } = await listen(t, { socketPath: path });
  server.setRequestHandler(() => ({ from: 'second' }));
  assert.deepEqual(await request, { id: 'kept', from: 'second' });
});

test('a request ends with its attempts, its signal and its client', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path });
  let seen = 0;
  server.setRequestHandler(() => {
    seen++;
  });
  const { client } = await connected(t, { socketPath: path });
  const quick = { timeoutMs: 5, retryDelayMs: 1 };
  await assert.rejects(client.request({}, { ...quick, attempts: 3 }), {
    code: 'ERR_IPC_REQUEST_TIMEOUT',
  });
  assert.equal(seen, 3);
  const controller = new AbortController();
  const aborted = client.request({}, { attempts: 1000, ...quick, signal: controller.signal });
  await until(() => seen > 5, 'some attempts');
  controller.abort();
  await assert.rejects(aborted, { name: 'AbortError' });
  // Long before its next attempt: the wait between two of them ends as well.
  const ended = client.request({}, { attempts: 2, timeoutMs: 5, retryDelayMs: 2 ** 31 - 1 });
  const before = seen;
  await until(() => seen > before, 'an attempt');
  client.disconnect();
  await assert.rejects(ended, { code: 'ERR_IPC_CONNECTION_CLOSED' });
  assert.equal(client.isConnected(), false);
  for (const attempts of [0, -1, 1.5, Number.NaN, '2']) {
    await assert.rejects(client.request({}, { attempts }), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  }
});
