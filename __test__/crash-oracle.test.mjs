// Whether the oracle of the crash tests sees what it is there to see. Programs with a fault built
// in must be found out, and the same situation must be harmless for a program that does it right.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { judge } from './crash/oracle.mjs';
import { timeout } from './crash/settings.mjs';
import { noOracle, Stage } from './crash/stage.mjs';

const COUNT = 20;

describe('the verdict over ledgers and rows', () => {
  const intent = (id) => ({ kind: 'intent', id, at: 0, digest: `of ${id}` });
  const accepted = (id, at = 5, level = 'handled') => ({ kind: 'accepted', id, at, level });
  const rejected = (id, indeterminate) => ({ kind: 'rejected', id, at: 5, indeterminate });
  const handled = (id, at, pid = 1) => ({ kind: 'handled', id, at, pid, digest: `of ${id}` });
  const completed = (id, at, pid = 1) => ({ kind: 'completed', id, at, pid });
  const stale = (id, at, pid = 1) => ({ kind: 'stale', id, at, pid });
  const row = (id, processed, digest = `of ${id}`) => ({ id, processed, digest });
  const a = [intent('a'), accepted('a')];
  const others = Array.from({ length: 1_000 }, (_, index) => handled(`other ${index}`, 2));

  const cases = [
    ['handled', { published: a, handled: [handled('a', 3)] }, {}],
    ['pending', { published: a, handled: [], rows: [row('a', 0)] }, {}],
    ['a dead letter', { published: a, handled: [], rows: [row('a', 2)] }, {}],
    ['never accepted', { published: [intent('a')], handled: [] }, {}],
    ['nowhere', { published: a, handled: [] }, { lost: ['a'] }],
    [
      'processed, yet not handled',
      { published: a, handled: [], rows: [row('a', 1)] },
      { lost: ['a'] },
    ],
    ['never meant, handled', { published: [], handled: [handled('a', 3)] }, { unexpected: ['a'] }],
    [
      'never meant, stored',
      { published: [], handled: [], rows: [row('a', 0)] },
      { unexpected: ['a'] },
    ],
    [
      'another content, handled',
      { published: a, handled: [{ ...handled('a', 3), digest: 'of b' }] },
      { altered: ['a'] },
    ],
    [
      'another content, stored',
      { published: a, handled: [], rows: [row('a', 0, 'of b')] },
      { altered: ['a'] },
    ],
    [
      'rejected for certain, yet stored',
      { published: [intent('a'), rejected('a', false)], handled: [], rows: [row('a', 0)] },
      { denied: ['a'] },
    ],
    [
      'rejected, nobody knows',
      { published: [intent('a'), rejected('a', true)], handled: [], rows: [row('a', 0)] },
      {},
    ],
    [
      'published twice, rejected for certain once',
      {
        published: [intent('a'), intent('a'), rejected('a', false)],
        handled: [handled('a', 3)],
      },
      {},
    ],
    [
      'handled twice by one process',
      { published: a, handled: [handled('a', 3), handled('a', 4)], killed: [1] },
      { duplicated: ['a'] },
    ],
    [
      'handled twice, and nobody was killed',
      { published: a, handled: [handled('a', 3), handled('a', 6, 2)] },
      { duplicated: ['a'] },
    ],
    [
      'handled again after a kill, unknown to the publisher',
      {
        published: [intent('a'), accepted('a', 7)],
        handled: [handled('a', 3), handled('a', 6, 2)],
        killed: [1],
      },
      { repeated: ['a'] },
    ],
    [
      'handled again after a kill, known to the publisher',
      { published: a, handled: [handled('a', 3), handled('a', 6, 2)], killed: [1] },
      { duplicated: ['a'] },
    ],
    [
      'handled again after a kill, stored by the publisher',
      {
        published: [intent('a'), accepted('a', 5, 'durable')],
        handled: [handled('a', 3), handled('a', 6, 2)],
        killed: [1],
      },
      { repeated: ['a'] },
    ],
    [
      'handled again, long before the kill',
      {
        published: [...a, ...others.map(({ id }) => intent(id))],
        handled: [handled('a', 1), ...others, handled('a', 4, 2)],
        killed: [1],
      },
      { duplicated: ['a'] },
    ],
    [
      'handled again by one that is killed then',
      { published: a, handled: [handled('a', 3), handled('a', 6, 2)], killed: [2] },
      { duplicated: ['a'] },
    ],
    [
      'overtaken while it was stopped',
      {
        published: [intent('a'), accepted('a', 1, 'durable')],
        handled: [handled('a', 3), completed('a', 4), handled('a', 6, 2)],
        stopped: [2],
      },
      { repeated: ['a'] },
    ],
    [
      'handled twice, one completion refused',
      {
        published: a,
        handled: [handled('a', 1), handled('a', 2, 2), completed('a', 3, 2), stale('a', 4)],
      },
      { repeated: ['a'] },
    ],
    [
      'completed twice',
      {
        published: a,
        handled: [handled('a', 1), handled('a', 2, 2), completed('a', 3, 2), completed('a', 4)],
        stopped: [1],
        killed: [1, 2],
      },
      { duplicated: ['a'] },
    ],
  ];
  for (const [name, ledgers, expected] of cases) {
    test(name, () => {
      const verdict = judge(ledgers);
      const found = Object.entries(verdict).filter(([, ids]) => ids.length > 0);
      assert.deepEqual(Object.fromEntries(found), expected);
      assert.equal(
        verdict.ok,
        Object.keys(expected).every((kind) => kind === 'repeated'),
      );
    });
  }
});

/**
 * The publisher publishes to a consumer that does not get to its work, and that is killed when all
 * promises have settled. Then another consumer handles whatever can still be had.
 */
async function killedConsumer(t, publisher, consumer) {
  const stage = new Stage(t);
  const held = await stage.start('consumer', 'handled-held', { how: consumer, isHeld: true });
  const settings = { how: publisher, count: COUNT, timeoutMs: 300 };
  const sender = await stage.start('publisher', 'published', settings);
  const { accepted } = await sender.says();
  await stage.kill(held);
  await stage.ends(sender);
  await stage.drain(await stage.start('consumer', 'handled', { how: consumer }));
  return { accepted, verdict: stage.verdict() };
}

describe('lost in a consumer that is killed', { timeout, skip: noOracle }, () => {
  for (const [publisher, consumer, what] of [
    ['taken', 'server', 'a publisher that resolves when the bytes are taken'],
    ['acknowledged', 'early', 'a consumer that acknowledges before it handles'],
    ['original', 'original', 'the original package'],
  ]) {
    test(`${what} is found out`, async (t) => {
      const { accepted, verdict } = await killedConsumer(t, publisher, consumer);
      assert.equal(accepted, COUNT);
      assert.equal(verdict.lost.length, COUNT);
      assert.equal(verdict.ok, false);
    });
  }

  test('acknowledged when handled: nothing was promised, so nothing is lost', async (t) => {
    const { accepted, verdict } = await killedConsumer(t, 'acknowledged', 'server');
    assert.equal(accepted, 0);
    assert.deepEqual([verdict.ok, verdict.intended], [true, COUNT]);
  });
});

/**
 * The first of two processes handles a message and is stopped before it completes it. The second
 * one has everything when the lease of the first is over; then the first goes on.
 */
async function twoOwners(t, how) {
  const stage = new Stage(t);
  const settings = { how: 'many', prefix: 'm', count: 3 };
  await stage.ends(await stage.start('enqueuer', 'published', settings));
  const drain = { how, leaseMs: 100, limit: 3 };
  const signals = { handled: ['SIGSTOP', 1] };
  const first = await stage.start('drainer', 'handled-first', { ...drain, signals });
  assert.deepEqual(await first.says(), { point: 'handled' });
  await stage.ends(await stage.start('drainer', 'handled-second', drain));
  first.process.kill('SIGCONT');
  await stage.ends(first);
  const outcomes = stage.ledgers('handled-first').filter(({ kind }) => kind !== 'handled');
  return { verdict: stage.verdict(), outcomes: outcomes.map(({ kind }) => kind) };
}

describe('done twice by two processes', { timeout, skip: noOracle }, () => {
  for (const how of ['without token', 'original']) {
    test(`${how}: is found out`, async (t) => {
      const { verdict } = await twoOwners(t, how);
      assert.deepEqual([verdict.ok, verdict.duplicated.sort()], [false, ['m0', 'm1', 'm2']]);
    });
  }

  test('with claims the late completions are refused', async (t) => {
    const { verdict, outcomes } = await twoOwners(t, 'claims');
    assert.deepEqual(outcomes, ['stale', 'stale', 'stale']);
    assert.deepEqual([verdict.ok, verdict.handled], [true, 3]);
  });
});
