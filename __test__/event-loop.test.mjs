import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { SQLiteQueue, UnixSocketClient, UnixSocketServer } from '../index.mjs';

const descriptors = () => readdirSync('/proc/self/fd').length;
const turn = () => new Promise((resolve) => setImmediate(resolve));

test('what is not used holds no descriptor, however often it was used', {
  skip: process.platform === 'linux' ? false : 'counts descriptors in /proc',
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ipc-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, 'ipc.sock');
  await turn();
  const before = descriptors();
  for (let round = 0; round < 20; round++) {
    const server = new UnixSocketServer({ socketPath });
    server.setRequestHandler(({ n }) => ({ n }));
    await server.start();
    const client = new UnixSocketClient({ socketPath, refusalGraceMs: 0 });
    await client.connect();
    assert.equal((await client.request({ n: round })).n, round);
    const queue = new SQLiteQueue({ dbPath: join(folder, 'queue.db') });
    await queue.enqueueAsync({ id: `m${round}`, type: 't', payload: 1, timestamp: 1 });
    queue.close();
    client.disconnect();
    await server.stop();
  }
  // Closing takes effect with the next turns of the event loop; the worker thread ends by itself.
  for (let turns = 0; descriptors() > before && turns < 10_000; turns++) await turn();
  assert.equal(descriptors(), before);
});

test('an endpoint of an earlier life cannot reach one of a later', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ipc-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, 'ipc.sock');
  let finish;
  const first = new UnixSocketServer({ socketPath });
  first.setRequestHandler(
    () =>
      new Promise((resolve) => {
        finish = resolve;
      }),
  );
  await first.start();
  const client = new UnixSocketClient({ socketPath });
  await client.connect();
  const request = client.request({ n: 1 });
  while (finish === undefined) await turn();
  client.disconnect();
  await assert.rejects(request, { code: 'ERR_IPC_CONNECTION_CLOSED' });
  await first.stop({ deadlineMs: 0 });
  await turn();

  const second = new UnixSocketServer({ socketPath });
  second.setRequestHandler(() => new Promise(() => {}));
  await second.start();
  const other = new UnixSocketClient({ socketPath });
  await other.connect();
  other.request({ n: 2 }).catch(() => {});
  while (second.stats().inFlight === 0) await turn();
  finish({ late: true });
  await turn();
  assert.equal(second.stats().inFlight, 1);
  other.disconnect();
  await second.stop({ deadlineMs: 0 });
});
