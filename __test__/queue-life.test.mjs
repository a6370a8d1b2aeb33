import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { message, noPython, openQueue, startNode, startOld } from './support/queue.mjs';

const ENDS = ['natural', 'exit', 'throw', 'SIGTERM', 'terminate'];
const STATES = ['idle', 'closed', 'pending', 'polling', 'handling', 'busy'];

/** What a process says and how it ends, each in its own way of ending. */
const EXPECTED = {
  main: {
    natural: { said: ['ready'], code: 0, signal: null },
    exit: { said: ['ready'], code: 7, signal: null },
    throw: { said: ['ready'], code: 1, signal: null },
    SIGTERM: { said: ['ready'], code: null, signal: 'SIGTERM' },
  },
  worker: {
    natural: { said: ['ready', { code: 0 }], code: 0, signal: null },
    exit: { said: ['ready', { code: 7 }], code: 0, signal: null },
    throw: { said: [{ code: 1 }, 'error', 'ready'], code: 0, signal: null },
    SIGTERM: { said: undefined, code: null, signal: 'SIGTERM' },
    terminate: { said: ['ready', { code: 1 }], code: 0, signal: null },
  },
};

for (const where of ['main', 'worker']) {
  for (const end of ENDS.filter((end) => EXPECTED[where][end] !== undefined)) {
    describe(`${where}, ${end}`, () => {
      for (const state of STATES) {
        const skip = state === 'busy' && noPython;
        test(state, { skip, timeout: 30_000 }, async (t) => {
          const queue = openQueue(t);
          const { dbPath } = queue;
          const old = state === 'busy' ? await startOld(t, dbPath) : undefined;
          await old?.sql('BEGIN IMMEDIATE');
          const child = startNode(t, 'queue-life.mjs', [where, state, end, dbPath]);
          const said = [];
          for await (const value of lines(child)) {
            said.push(value);
            if (value === 'ready' && end === 'natural') await old?.sql('ROLLBACK');
          }
          const { code, signal, stderr } = await child.ended;
          const expected = EXPECTED[where][end];
          assert.deepEqual(
            { code, signal },
            { code: expected.code, signal: expected.signal },
            stderr,
          );
          // The error of a worker may overtake what it said before.
          if (end === 'throw') said.sort();
          if (expected.said !== undefined) assert.deepEqual(said, expected.said, stderr);
          if (end !== 'throw') assert.equal(stderr, '');
          if (end !== 'natural') await old?.sql('ROLLBACK');
          judge(queue, state, end);
        });
      }
    });
  }
}

async function* lines(child) {
  for (;;) {
    try {
      yield await child.says();
    } catch {
      return;
    }
  }
}

/** The file is sound, holds what it must, and nothing of it is held by whoever is gone. */
function judge(queue, state, end) {
  const { pending, claimed, processed } = queue.stats();
  const natural = {
    idle: [1, 0],
    closed: [1, 0],
    pending: [200, 0],
    polling: [0, 0],
    handling: [2, 1],
    busy: [2, 0],
  };
  assert.equal(claimed, 0);
  if (end === 'natural') assert.deepEqual([pending, processed], natural[state]);
  if (state === 'handling' && end !== 'natural') assert.equal(queue.claim().length, 3);
  queue.enqueue(message('after'));
  assert.ok(queue.dequeue(1000).some(({ id }) => id === 'after'));
}

test('a running poller keeps its process alive', async (t) => {
  const { dbPath } = openQueue(t);
  const child = startNode(t, 'queue-poller.mjs', ['stay', dbPath]);
  assert.equal(await child.says(), 'ready');
  const ended = child.ended.then(() => 'ended');
  const later = new Promise((resolve) => setTimeout(resolve, 1000, 'alive'));
  assert.equal(await Promise.race([ended, later]), 'alive');
});

test('20 worker threads are opened and terminated 5 times', { timeout: 120_000 }, async (t) => {
  const { dbPath } = openQueue(t);
  const child = startNode(t, 'queue-life.mjs', ['swarm', 5, 20, dbPath]);
  assert.equal(await child.says(), 'done');
  const { code, signal, stderr } = await child.ended;
  assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
});
