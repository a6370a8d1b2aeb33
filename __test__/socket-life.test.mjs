// How processes and workers end: as Node would without us, whatever the sockets are doing.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { UnixSocketClient } from '../features/unix-socket/index.js';
import { child, folder, isLong, plainServer, until, within } from './support/socket.mjs';

/** Each state, and whether it keeps the event loop alive. */
const STATES = {
  'idle client': false,
  'connected client': true,
  'listening server': true,
  sending: true,
  'in a handler': true,
  'pending request': true,
  'waiting to reconnect': false,
};
const NEEDS_SERVER = ['connected client', 'sending', 'pending request'];
const SERVES = ['listening server', 'in a handler'];

for (const [state, keepsAlive] of Object.entries(STATES)) {
  for (const where of ['main', 'worker']) {
    test(`${state}, ${where}`, async (t) => {
      const path = folder(t);
      const endings = ['natural', 'exit', 'throw', 'SIGTERM'];
      if (where === 'worker') endings.push('terminate');
      for (const ending of endings) {
        const socketPath = path(ending);
        if (NEEDS_SERVER.includes(state)) {
          await plainServer(t, socketPath, (socket) => socket.pause());
        }
        const life = child(t, 'socket-life.mjs', [where, state, ending, socketPath]);
        if (state === 'in a handler') {
          await life.line('listening');
          const client = new UnixSocketClient({ socketPath, reconnect: false });
          t.after(() => client.disconnect());
          await client.connect();
          client.request({}).catch(() => {});
        }
        await life.line('ready');
        if (ending === 'SIGTERM') life.process.kill('SIGTERM');
        const { code, signal, stderr } = await within(life.exit, `the end by ${ending}`);
        const told = life.lines.filter((line) => line.startsWith('worker')).join();
        const outcome = [where === 'main' ? code : told || code, signal];
        const expected = {
          natural: [where === 'main' ? 0 : 'worker exit 0', null],
          exit: [where === 'main' ? 7 : 'worker exit 7', null],
          throw: [where === 'main' ? 1 : 'worker error on purpose,worker exit 1', null],
          SIGTERM: [null, 'SIGTERM'],
          terminate: ['worker exit 1', null],
        }[ending];
        assert.deepEqual(outcome, expected, `${ending}: ${stderr}`);
        if (ending === 'natural') assert.equal(life.lines.includes('alive'), keepsAlive);
        if (ending === 'throw' && where === 'main') assert.match(stderr, /on purpose/);
        else assert.equal(stderr, '', ending);
        if (SERVES.includes(state) && ending !== 'SIGTERM') {
          assert.equal(existsSync(socketPath), false, `the socket file after ${ending}`);
        }
      }
    });
  }
}

test('ref() and unref() decide whether a client or server keeps the process alive', async (t) => {
  const path = folder(t);
  await plainServer(t, path('plain.sock'));
  const unreferenced = child(t, 'socket-ref.mjs', [path('plain.sock'), path('ipc.sock'), 'unref']);
  assert.deepEqual(await within(unreferenced.exit, 'the end'), {
    code: 0,
    signal: null,
    stderr: '',
  });
  assert.deepEqual(unreferenced.lines, ['connected']);
  const referenced = child(t, 'socket-ref.mjs', [path('plain.sock'), path('ipc.sock'), 'ref']);
  assert.deepEqual(await within(referenced.exit, 'the end'), { code: 0, signal: null, stderr: '' });
  assert.deepEqual(referenced.lines, ['connected', 'alive']);
});

test('workers that are terminated at work leave nothing behind', async (t) => {
  const path = folder(t);
  mkdirSync(path('sockets'));
  const [rounds, workers] = isLong ? [50, 20] : [5, 8];
  const churn = child(t, 'socket-churn.mjs', [rounds, workers, path('sockets')]);
  const { code, signal, stderr } = await within(churn.exit, 'the rounds', 300_000);
  assert.deepEqual([code, signal, stderr], [0, null, '']);
  const { before, after, left } = JSON.parse(await until(() => churn.lines[0], 'the measures'));
  assert.deepEqual(left, []);
  assert.ok(after[0] <= before[0] + 2, `descriptors: ${before[0]}, then ${after[0]}`);
  assert.ok(after[1] < before[1] * 2 + 100, `MiB of memory: ${before[1]}, then ${after[1]}`);
  t.diagnostic(`descriptors and MiB after the first round ${before}, after the last ${after}`);
});
