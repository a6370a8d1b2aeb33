// How messages get into the queue when it does not take them at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IpcError } from '../dist/errors.js';
import { limits } from '../dist/limits.js';
import { Place, Publication } from '../dist/publication.js';
import { Spiller } from '../dist/spiller.js';

/** A message of this length that is to be stored. */
function publication(id, length = 10, key = undefined) {
  const one = new Publication(undefined, id, 'x'.repeat(length), key, Number.POSITIVE_INFINITY);
  one.place = Place.Queue;
  return one;
}

/** Lets everything happen that needs no timer. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

/**
 * A spiller on a store that `answer` answers for: `undefined`, or the code of a failure, for the
 * records of a call. With what was stored, and the lengths of the calls.
 */
function spillerOn(t, answer) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const stored = [];
  const calls = [];
  const failures = [];
  const store = {
    store(records) {
      calls.push(records.length);
      const code = answer(records, calls.length);
      const outcome = () =>
        code === undefined ? Promise.resolve() : Promise.reject(new IpcError(code, code));
      return records.map(outcome);
    },
  };
  const spiller = new Spiller(store, {
    stored(one) {
      one.place = Place.Done;
      stored.push(one.id);
    },
    unstorable: assert.fail,
    failed: (error, waitMs) => failures.push([error.code, waitMs]),
  });
  return { spiller, stored, calls, failures };
}

test('any number of messages waits for a file that cannot be written to', async (t) => {
  const count = 300_000;
  const { spiller, stored } = spillerOn(t, (_, call) => (call === 1 ? 'SQLITE_BUSY' : undefined));
  for (let n = 0; n < count; n++) spiller.add(publication(n));
  await settled();
  assert.equal(stored.length, 0);
  t.mock.timers.tick(limits.spillRetryDelayMs);
  await settled();
  assert.equal(stored.length, count);
  assert.ok(stored.every((id, n) => id === n));
});
