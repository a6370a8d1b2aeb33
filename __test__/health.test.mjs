import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import {
  checkHealth,
  createIPCServer,
  createRuntimeDatabase,
  createRuntimeDatabasePoller,
} from '../index.mjs';

const server = {
  listening: true,
  connections: 1,
  accepted: 1,
  refused: 0,
  messagesReceived: 0,
  malformed: 0,
  bytesReceived: 0,
  messagesSent: 0,
  inFlight: 0,
  handlerErrors: 0,
  unhandled: 0,
  outboundBytes: 0,
  stalledConnections: 0,
};
const queue = {
  pending: 0,
  claimed: 0,
  waiting: 0,
  processed: 0,
  dead: 0,
  oldestPending: null,
  fileBytes: 0,
  freeBytes: 0,
  walBytes: 0,
};
const poller = {
  running: true,
  handled: 0,
  failed: 0,
  failuresInRow: 0,
  dead: 0,
  queueErrors: 0,
  failedPollsInRow: 0,
};
const of = (stats) => ({ stats: () => stats });

const cases = [
  ['nothing', {}, 'healthy', []],
  ['all well', { server: of(server), queue: of(queue), poller: of(poller) }, 'healthy', []],
  ['a closed server', { server: of({ ...server, listening: false }) }, 'unhealthy', [/listening/]],
  ['stalled clients', { server: of({ ...server, stalledConnections: 3 }) }, 'degraded', [/3/]],
  ['a backlog', { queue: of({ ...queue, pending: 10_001 }) }, 'degraded', [/10001/]],
  ['an old message', { queue: of({ ...queue, oldestPending: 1 }) }, 'degraded', [/ms old/]],
  ['a dead letter', { queue: of({ ...queue, dead: 1 }) }, 'degraded', [/dead/]],
  ['a stopped poller', { poller: of({ ...poller, running: false }) }, 'unhealthy', [/running/]],
  ['failing handlers', { poller: of({ ...poller, failuresInRow: 6 }) }, 'degraded', [/6/]],
  ['a failed poll', { poller: of({ ...poller, failedPollsInRow: 1 }) }, 'degraded', [/1 polls/]],
  ['failing polls', { poller: of({ ...poller, failedPollsInRow: 6 }) }, 'unhealthy', [/6 polls/]],
  [
    'a part that throws, and another that is slow: the gravest first',
    {
      server: of({ ...server, stalledConnections: 1 }),
      queue: {
        stats() {
          throw new Error('closed');
        },
      },
    },
    'unhealthy',
    [/closed/, /1 connections/],
  ],
  [
    'a part that throws what has no text',
    {
      poller: {
        stats() {
          throw Object.create(null);
        },
      },
    },
    'unhealthy',
    [/poller cannot be asked: Unknown error/],
  ],
];

for (const [name, sources, status, reasons] of cases) {
  test(`health of ${name}`, () => {
    const snapshot = checkHealth(sources);
    assert.equal(snapshot.status, status);
    assert.equal(snapshot.reasons.length, reasons.length, snapshot.reasons.join('; '));
    for (const [index, reason] of reasons.entries()) assert.match(snapshot.reasons[index], reason);
  });
}

test('thresholds are settable', () => {
  const sources = { queue: of({ ...queue, pending: 5, dead: 2 }) };
  assert.equal(checkHealth(sources, { maxDead: 2 }).status, 'healthy');
  assert.equal(checkHealth(sources, { maxDead: 2, maxPending: 4 }).status, 'degraded');
});

test('health of a real service', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'ipc-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const ipc = createIPCServer({ socketPath: join(folder, 'ipc.sock') });
  const database = createRuntimeDatabase({ runtimeDbPath: join(folder, 'runtime.db') });
  const drain = createRuntimeDatabasePoller({ database, onMessage() {} });
  const sources = { server: ipc, queue: database, poller: drain };
  assert.equal(checkHealth(sources).status, 'unhealthy');
  await ipc.start();
  await drain.start();
  assert.deepEqual(checkHealth(sources).reasons, []);
  await drain.stop();
  await ipc.stop();
  database.close();
  assert.equal(checkHealth(sources).reasons.length, 3);
});
