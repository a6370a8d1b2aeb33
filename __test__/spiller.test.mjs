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
 * records of a call. With what was stored, and how many records each call had. With `answers`, the
 * store answers when the next function of this array is called.
 */
function spillerOn(t, answer, answers = undefined) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const stored = [];
  const calls = [];
  const failures = [];
  const store = {
    finish() {},
    storeNow(records) {
      const code = answer(records, calls.push(records.length));
      if (code !== undefined) throw new IpcError(code, code);
      stored.push(...records);
    },
    store(records) {
      calls.push(records.length);
      const code = answer(records, calls.length);
      const held = answers && new Promise((resolve) => answers.push(resolve));
      return records.map(async () => {
        await held;
        if (code !== undefined) throw new IpcError(code, code);
      });
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

test('a message of which no record can be made is rejected, and holds up no other', async (t) => {
  const { spiller, stored } = spillerOn(t, () => undefined);
  const unstorable = [];
  const bad = publication('bad');
  bad.record = () => {
    throw new Error('no record');
  };
  const host = new Spiller(
    { finish() {}, store: (records) => records.map(async () => {}) },
    {
      stored: (one) => stored.push(one.id),
      unstorable: (one, error) => unstorable.push([one.id, error.message]),
      failed: assert.fail,
    },
  );
  host.add(bad);
  await settled();
  host.add(bad);
  host.add(publication('good'));
  await settled();
  assert.deepEqual(unstorable, Array(2).fill(['bad', 'no record']));
  assert.deepEqual(stored, ['good']);
  spiller.storeNow([bad, publication('last')]);
  assert.equal(stored.length, 2);
});

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

test('one commit at a time is with the worker thread, and no more than others can wait for', async (t) => {
  const answers = [];
  const { spiller, stored, calls } = spillerOn(t, () => undefined, answers);
  const length = limits.groupBytesMax / 4;
  for (const id of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) spiller.add(publication(id, length));
  spiller.add(publication('long', length * 9));
  spiller.add(publication('h'));
  await settled();
  assert.deepEqual(calls, [4], 'the others wait');
  for (let count = 2; answers.length > 0; count++) {
    answers.shift()();
    await settled();
    if (stored.length < 9) assert.equal(calls.length, count);
  }
  assert.deepEqual(calls, [4, 3, 1, 1]);
  assert.deepEqual(stored.join(' '), 'a b c d e f g long h');
});

test('what has its outcome meanwhile is not stored, and its length does not count', async (t) => {
  const answers = [];
  const { spiller, stored, calls } = spillerOn(t, () => undefined, answers);
  const late = publication('late', limits.groupBytesMax);
  spiller.add(publication('a'));
  await settled();
  for (const one of [late, publication('b'), publication('c')]) spiller.add(one);
  late.place = Place.Done;
  answers.shift()();
  await settled();
  answers.shift()();
  await settled();
  assert.deepEqual(
    [calls, stored],
    [
      [1, 2],
      ['a', 'b', 'c'],
    ],
  );
});

test('messages keep their order when a commit fails', async (t) => {
  const { spiller, stored, failures } = spillerOn(t, (_, call) =>
    call < 3 ? 'SQLITE_BUSY' : undefined,
  );
  spiller.add(publication('a'));
  await settled();
  spiller.add(publication('b'));
  t.mock.timers.tick(limits.spillRetryDelayMs);
  spiller.add(publication('c'));
  await settled();
  t.mock.timers.tick(limits.spillRetryDelayMs * 2);
  await settled();
  assert.deepEqual(stored, ['a', 'b', 'c']);
  assert.deepEqual(failures, [
    ['SQLITE_BUSY', limits.spillRetryDelayMs],
    ['SQLITE_BUSY', limits.spillRetryDelayMs * 2],
  ]);
});

/** Answers as a disk with room for messages up to this length together, in all its commits. */
function disk(room) {
  let free = room;
  return (records) => {
    const length = records.reduce((sum, { length }) => sum + length, 0);
    if (length > free) return 'SQLITE_FULL';
    free -= length;
    return undefined;
  };
}

/** Lets the spiller try again, as often as it wants to within this time. */
async function wait(t, ms) {
  for (let at = 0; at < ms; at += limits.spillRetryDelayMs) {
    t.mock.timers.tick(limits.spillRetryDelayMs);
    await settled();
  }
}

test('on a full disk, whatever there is room for is stored', async (t) => {
  const { spiller, stored, calls, failures } = spillerOn(t, disk(10_000));
  for (const id of ['a', 'b']) spiller.add(publication(id, 100));
  spiller.add(publication('long', 1_000_000));
  for (const id of ['c', 'd']) spiller.add(publication(id, 100));
  await settled();
  assert.deepEqual(stored, ['a', 'b', 'c', 'd']);
  assert.deepEqual(failures.at(-1), ['SQLITE_FULL', limits.spillRetryDelayMs]);
  // Those that come later do not wait for the long one either, which is tried ever less often.
  for (let n = 0; n < 20; n++) {
    spiller.add(publication(n, 100));
    await wait(t, limits.spillRetryDelayMsMax);
  }
  assert.equal(stored.length, 24);
  assert.ok(calls.length < 80, `${calls.length} commits`);
  assert.equal(failures.at(-1)[1], limits.spillRetryDelayMsMax);
});

test('on a full disk the messages of a key keep their order', async (t) => {
  const { spiller, stored } = spillerOn(t, disk(10_000));
  spiller.add(publication('a1', 300, 'A'));
  spiller.add(publication('a2', 1_000_000, 'A'));
  spiller.add(publication('b1', 200, 'B'));
  spiller.add(publication('a3', 100, 'A'));
  spiller.add(publication('b2', 100, 'B'));
  await wait(t, limits.spillRetryDelayMsMax * 4);
  assert.deepEqual(stored, ['b1', 'b2', 'a1']);
});

test('the tries of one turn on a full disk are few, and the room that is there is found', async (t) => {
  const { spiller, stored, calls } = spillerOn(t, disk(500));
  for (let n = 0; n < 5_000; n++) spiller.add(publication(n, 100));
  await settled();
  assert.ok(calls.length <= 4, `${calls.length} commits`);
  await wait(t, limits.spillRetryDelayMsMax * 4);
  assert.equal(stored.length, 5);
  const before = calls.length;
  await wait(t, limits.spillRetryDelayMsMax * 4);
  assert.ok(calls.length - before <= 5, 'nothing fits: one try at a time');
});

test('at the end of the process too, and one message to blame does not stop the others', (t) => {
  const lengths = [300, 1_000_000, 200, 400];
  const all = lengths.map((length, n) => publication(n, length));
  const full = spillerOn(t, disk(1_000));
  full.spiller.storeNow(all);
  assert.deepEqual(
    full.stored.map(({ length }) => length),
    [200, 300, 400],
  );
  const conflict = (records) =>
    records.some(({ length }) => length === 200) ? 'ERR_IPC_ID_CONFLICT' : undefined;
  t.mock.timers.reset();
  const refusing = spillerOn(t, conflict);
  refusing.spiller.storeNow(all);
  assert.deepEqual(
    refusing.stored.map(({ length }) => length),
    [300, 1_000_000, 400],
  );
});
