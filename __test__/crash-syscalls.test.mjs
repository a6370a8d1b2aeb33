// What becomes of messages when system calls fail: strace(1) lets the K-th call on the queue's
// files fail, for every K. The storing program goes on, and stores again what was rejected.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isLong, sample, timeout } from './crash/settings.mjs';
import { noOracle, Stage } from './crash/stage.mjs';
import { callsOf, noStrace, strace } from './crash/strace.mjs';
import { message, openQueue, until } from './support/queue.mjs';

const COUNT = 12;

const inject = (call, fault) => ['-e', `inject=${call}:${fault}`];

const enqueuer = (how) => ({ program: 'enqueuer', settings: { how, group: 4, retries: 3 } });
/** Nobody listens: everything takes the queue. Whoever is rejected is published again. */
const publisher = (settings) => ({
  program: 'publisher',
  settings: { how: 'hybrid', group: 4, timeoutMs: 10_000, attempts: 3, ...settings },
});

/** Runs a program until it has done what it can; what it said. */
async function run(stage, { program, settings }, under) {
  const all = { prefix: 'm', count: COUNT, ...settings };
  const child = await stage.start(program, 'published', all, { isReady: false, under });
  const first = await child.says();
  if (first.refused !== undefined) {
    await child.gone;
    return first;
  }
  assert.equal(first, 'ready');
  const said = await child.says();
  await stage.ends(child);
  return said;
}

/** The verdict, and whether the file can be opened, also for the first time, and goes on. */
function assertUsable(t, stage) {
  const queue = openQueue(t, { dbPath: stage.dbPath });
  const verdict = stage.assertKept();
  queue.enqueue(message('later'));
  assert.equal(queue.dequeue(1_000).length, verdict.pending + 1);
  return verdict;
}

/** A stage whose file is there already: to make one takes more calls than all that follows. */
function prepared(t) {
  const stage = new Stage(t);
  openQueue(t, { dbPath: stage.dbPath }).close();
  return stage;
}

/** How often a program makes a call when none fails. */
async function countCalls(stage, program, call) {
  await run(stage, program, strace(stage, call));
  return callsOf(stage, call);
}

function assertTyped({ name, code }) {
  assert.equal(name, 'IpcError');
  assert.match(code, /^(SQLITE_|E[A-Z]+$)/);
}

const FAULTS = [
  ['fdatasync', ['EIO', 'EINTR']],
  ['pwrite64', ['ENOSPC', 'EINTR', ...(isLong ? ['EIO'] : [])]],
  ['openat', ['EMFILE']],
];

describe('one call fails', { timeout, skip: noOracle || noStrace }, () => {
  for (const [call, errors] of FAULTS) {
    test(`making a file: ${call}`, async (t) => {
      const opening = { program: 'enqueuer', settings: { how: 'one', count: 0 } };
      const calls = await countCalls(new Stage(t), opening, call);
      for (const error of errors) {
        for (const nth of sample(calls)) {
          const stage = new Stage(t);
          const fault = `error=${error}:when=${nth}`;
          t.diagnostic(`${fault} of ${calls}`);
          const { refused } = await run(stage, opening, strace(stage, call, inject(call, fault)));
          if (refused !== undefined) assertTyped(refused);
          assertUsable(t, stage);
        }
      }
    });

    for (const [name, storing] of [
      ['enqueue', enqueuer('one')],
      ['enqueueAsync', enqueuer('async')],
      ['publish', publisher()],
      ...(isLong ? [['enqueueMany', enqueuer('many')]] : []),
    ]) {
      test(`${name}: ${call}`, async (t) => {
        const calls = await countCalls(prepared(t), storing, call);
        for (const error of errors) {
          for (const nth of sample(calls)) {
            const stage = prepared(t);
            const fault = `error=${error}:when=${nth}`;
            const { refused, rejected } = await run(
              stage,
              storing,
              strace(stage, call, inject(call, fault)),
            );
            t.diagnostic(`${fault} of ${calls}: ${refused?.code ?? `${rejected} rejected`}`);
            const { accepted, pending } = assertUsable(t, stage);
            if (refused === undefined) {
              assert.deepEqual({ accepted, pending }, { accepted: COUNT, pending: COUNT });
            } else {
              assertTyped(refused);
            }
          }
        }
      });
    }
  }
});

describe('every call fails', { timeout, skip: noOracle || noStrace }, () => {
  for (const [call, error, code, indeterminate] of [
    ['fdatasync', 'EIO', 'SQLITE_IOERR_FSYNC', true],
    ['pwrite64', 'ENOSPC', 'SQLITE_FULL', false],
  ]) {
    test(`publish: ${error} from ${call}`, async (t) => {
      const stage = prepared(t);
      // While a commit is under way, nobody knows. It is tried after waits of 50, 100, 200, 400 and 800 ms.
      const storing = publisher({ group: COUNT, timeoutMs: 1_300, attempts: 1 });
      const said = await run(stage, storing, strace(stage, call, inject(call, `error=${error}`)));
      assert.equal(said.accepted, 0);
      const rejected = stage.ledgers('published').filter(({ kind }) => kind === 'rejected');
      assert.equal(rejected.length, COUNT);
      for (const rejection of rejected) {
        assert.equal(rejection.code, code);
        assert.equal(rejection.indeterminate, indeterminate);
      }
      assertUsable(t, stage);
    });
  }
});

test('publish: a commit that takes longer than the promise', {
  timeout,
  skip: noOracle || noStrace,
}, async (t) => {
  const stage = prepared(t);
  const under = strace(stage, 'fdatasync', ['-e', 'inject=fdatasync:delay_enter=2000000']);
  const settings = { how: 'hybrid', count: COUNT, timeoutMs: 500, stay: true };
  const child = await stage.start('publisher', 'published', settings, { under });
  assert.equal((await child.says()).accepted, 0);
  // The commit goes on, and succeeds: nobody may have been told that it cannot.
  await until(() => stage.verdict().pending === COUNT);
  child.tell('end');
  await stage.ends(child);
  stage.assertKept();
});
