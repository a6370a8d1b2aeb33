// The way of both channels to the handler, without the channels.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DuplicateGate, keyOf } from '../dist/duplicate-gate.js';
import { HandledLog } from '../dist/handled-log.js';
import { MessageIntake, Refusal } from '../dist/message-intake.js';
import { NotHandled } from '../dist/poll-loop.js';
import { deferred, isSettled, settle } from './support/poller.mjs';

const SOCKET = { via: 'socket', attempt: 1 };
const QUEUE = { via: 'queue', attempt: 1 };

/** An intake with what its handler has seen; handlers wait until `open(id)`. */
function intakeOf({ concurrency = 64, window = 100, log, handle } = {}) {
  const counts = { handled: 0, failed: 0, duplicates: 0, viaSocket: 0, viaQueue: 0 };
  const gate = new DuplicateGate(window);
  const seen = [];
  const told = [];
  const doors = new Map();
  const intake = new MessageIntake(gate, log, concurrency, counts, {
    handle:
      handle ??
      ((message, { via }) => {
        seen.push(`${message.id} ${via}`);
        const door = deferred();
        doors.set(message.id, door);
        return door.promise;
      }),
    duplicate: (message, { via }) => told.push(`duplicate ${message.id} ${via}`),
    failed: (error, phase, message) => told.push(`${phase} ${message.id} ${error?.message}`),
  });
  return { intake, gate, counts, seen, told, open: (id) => doors.get(id).resolve(), doors };
}

/** The outcome of what `take` returned, or of its throwing. */
async function outcome(take) {
  try {
    await take();
    return 'handled';
  } catch (error) {
    return error;
  }
}

test('a message that need not wait costs no promise', () => {
  let handled = 0;
  const { intake, counts } = intakeOf({ handle: () => handled++ });
  assert.equal(intake.take({ id: 'a' }, SOCKET), undefined);
  assert.equal(intake.take({ id: 'a' }, QUEUE), undefined, 'nor does its copy');
  assert.equal(intake.take({}, QUEUE), undefined);
  assert.equal(handled, 2);
  assert.deepEqual(counts, { handled: 2, failed: 0, duplicates: 1, viaSocket: 1, viaQueue: 1 });
});

describe('the gate', () => {
  test('remembers the newest ids, and is bounded', () => {
    const gate = new DuplicateGate(10);
    for (let n = 0; n < 1000; n++) {
      gate.remember(`id${n}`);
      gate.remember(`id${n}`);
      assert.ok(gate.size <= 20);
      for (let back = 0; back < Math.min(n + 1, 10); back++) assert.ok(gate.knows(`id${n - back}`));
    }
    assert.equal(gate.knows('id970'), false);
  });

  test('remembers an id once that was handled twice, by who was given up and by the next', () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const gate = new DuplicateGate(10);
      const first = gate.begin('a');
      gate.giveUp(new Error('stopped'));
      const flights = [first, gate.begin('a')];
      for (const at of order) gate.end(flights[at], true);
      assert.deepEqual([gate.size, gate.knows('a'), gate.flightOf('a')], [1, true, undefined]);
    }
  });

  test('with a window of 0 remembers none', () => {
    const gate = new DuplicateGate(0);
    gate.remember('a');
    assert.deepEqual([gate.knows('a'), gate.size], [false, 0]);
  });

  test('keeps long ids short, and apart', () => {
    const long = 'x'.repeat(60_000);
    // Halves of surrogate pairs have no form in UTF-8, where all would be alike.
    const ids = ['a', long, `${long}a`, `${long}b`, `${long}\ud800`, `${long}\ud801`];
    // An id may be what stands for another one.
    const digest = keyOf(long);
    ids.push(digest, keyOf(digest), 'sha256:', 'sha256:a');
    const keys = ids.map(keyOf);
    assert.equal(new Set(keys).size, ids.length);
    assert.ok(keys.every((key) => key.length <= 128));
    assert.equal(keys[0], 'a');
  });

  for (const first of [SOCKET, QUEUE]) {
    const second = first === SOCKET ? QUEUE : SOCKET;
    test(`a copy by the ${second.via} waits for the one by the ${first.via}`, async () => {
      const { intake, seen, told, open, counts } = intakeOf();
      const copies = [
        intake.take({ id: 'a' }, first),
        intake.take({ id: 'a' }, second),
        intake.take({ id: 'a' }, second),
      ];
      assert.equal(await isSettled(copies[1]), false);
      open('a');
      await Promise.all(copies);
      assert.deepEqual(seen, [`a ${first.via}`]);
      assert.deepEqual(told, Array(2).fill(`duplicate a ${second.via}`));
      assert.deepEqual([counts.handled, counts.duplicates], [1, 2]);
    });
  }

  test('a failure is the outcome of the copies that waited, and is told once', async () => {
    const { intake, gate, told, doors, counts } = intakeOf();
    const copies = [SOCKET, QUEUE].map((info) => intake.take({ id: 'a' }, info));
    const failures = copies.map((copy) => assert.rejects(copy, Refusal));
    doors.get('a').reject(new Error('no'));
    await Promise.all(failures);
    assert.deepEqual(told, ['handle a no']);
    assert.deepEqual([counts.failed, counts.duplicates, gate.size], [1, 0, 0]);
    assert.equal(gate.flightOf('a'), undefined);
    // The next copy is handled.
    const again = intake.take({ id: 'a' }, QUEUE);
    doors.get('a').resolve();
    await again;
    assert.equal(counts.handled, 1);
  });

  test('lets messages without an id of text pass', () => {
    let handled = 0;
    const { intake } = intakeOf({ handle: () => handled++ });
    const messages = [{}, { id: '' }, { id: 7 }, { id: null }, 'text', null, 3, []];
    for (const message of [...messages, ...messages]) intake.take(message, SOCKET);
    assert.equal(handled, 2 * messages.length);
  });
});

describe('handlers at once', () => {
  test('are never more than concurrency, and start in the order of their channel', async () => {
    const { intake, seen, open } = intakeOf({ concurrency: 3 });
    const ids = Array.from({ length: 10 }, (_, n) => `m${n}`);
    const all = ids.map((id) => intake.take({ id }, SOCKET));
    for (const [n, id] of ids.entries()) {
      assert.equal(intake.running, Math.min(3, 10 - n));
      assert.deepEqual(
        seen.map((line) => line.split(' ')[0]),
        ids.slice(0, n + 3),
      );
      open(id);
      await settle(2);
    }
    await Promise.all(all);
    assert.deepEqual([intake.running, intake.waiting], [0, 0]);
  });

  test('go to the channels in turn', async () => {
    const { intake, seen, open } = intakeOf({ concurrency: 1 });
    const all = [intake.take({ id: 'first' }, SOCKET)];
    for (let n = 0; n < 6; n++) all.push(intake.take({ id: `s${n}` }, SOCKET));
    for (let n = 0; n < 3; n++) all.push(intake.take({ id: `q${n}` }, QUEUE));
    assert.equal(intake.waiting, 9);
    while (seen.length < 10) {
      open(seen.at(-1).split(' ')[0]);
      await settle(2);
    }
    open('s5');
    await Promise.all(all);
    const order = seen.slice(1).map((line) => line.split(' ')[0]);
    assert.deepEqual(order, ['s0', 'q0', 's1', 'q1', 's2', 'q2', 's3', 's4', 's5']);
  });

  test('many that end at once do not grow the stack', async () => {
    const gate = deferred();
    const { intake, counts } = intakeOf({
      concurrency: 1,
      handle: ({ id }) => (id === 'first' ? gate.promise : undefined),
    });
    const all = [intake.take({ id: 'first' }, SOCKET)];
    for (let n = 0; n < 50_000; n++) all.push(intake.take({ id: `m${n}` }, SOCKET));
    gate.resolve();
    await Promise.all(all);
    assert.equal(counts.handled, 50_001);
  });

  test('free their place when they throw, or return a thenable that misbehaves', async () => {
    const misbehaving = [
      () => {
        throw new Error('sync');
      },
      () => Promise.reject(new Error('async')),
      () => ({
        // biome-ignore lint/suspicious/noThenProperty: what a handler may return.
        then() {
          throw new Error('then');
        },
      }),
      () => Promise.reject(),
      () => {
        throw Object.create(null);
      },
    ];
    for (const handle of misbehaving) {
      const { intake } = intakeOf({ concurrency: 1, handle });
      for (let n = 0; n < 3; n++) {
        const error = await outcome(() => intake.take({ id: `m${n}` }, SOCKET));
        assert.ok(error instanceof Refusal, String(handle));
      }
      assert.equal(intake.running, 0);
    }
  });
});

describe('the end', () => {
  test('first for the queue, whose messages are given back, then for all', async () => {
    const { intake, seen, told, open } = intakeOf({ concurrency: 1 });
    const running = intake.take({ id: 'running' }, QUEUE);
    const socket = intake.take({ id: 'socket' }, SOCKET);
    const late = intake.take({ id: 'late' }, SOCKET);
    const queue = intake.take({ id: 'queue' }, QUEUE);
    const refused = [assert.rejects(queue, NotHandled), assert.rejects(late, NotHandled)];
    intake.shutQueue();
    await refused[0];
    assert.throws(() => intake.take({ id: 'more' }, QUEUE), NotHandled);
    open('running');
    await running;
    assert.deepEqual(seen, ['running queue', 'socket socket']);
    intake.shut();
    await refused[1];
    assert.throws(() => intake.take({ id: 'more' }, SOCKET), NotHandled);
    open('socket');
    await socket;
    assert.deepEqual(told, []);
  });

  test('copies of what is given up are handled, and what it does later is heeded', async () => {
    const { intake, gate, open } = intakeOf();
    const never = intake.take({ id: 'a' }, SOCKET);
    const copy = assert.rejects(intake.take({ id: 'a' }, QUEUE), NotHandled);
    intake.shut();
    await copy;
    assert.equal(gate.flightOf('a'), undefined);
    const next = gate.begin('a');
    open('a');
    await never;
    assert.equal(gate.flightOf('a'), next, 'the new one is not ended by the old one');
    assert.equal(gate.knows('a'), true);
  });
});

describe('with the file', () => {
  /** A store whose recordings wait, and what it was asked. */
  function storeOf({ handled = [] } = {}) {
    const store = {
      calls: [],
      recordings: [],
      handledAmong(ids) {
        store.calls.push(['handledAmong', ...ids]);
        return ids.filter((id) => handled.includes(id));
      },
      rememberHandled(ids) {
        store.calls.push(['rememberHandled', ...ids]);
        const recording = deferred();
        store.recordings.push(recording);
        return recording.promise;
      },
    };
    return store;
  }

  test('all ids of one tick are looked up and recorded together, before the end', async () => {
    const store = storeOf({ handled: ['old'] });
    const log = new HandledLog(store);
    const { intake, seen, told, doors } = intakeOf({ log });
    const all = ['a', 'old', 'b'].map((id) => intake.take({ id }, SOCKET));
    const row = intake.take({ id: 'row' }, QUEUE);
    assert.deepEqual(seen, [], 'nothing is handled before it was looked up');
    await all[1];
    await settle(1);
    assert.deepEqual(seen, ['a socket', 'b socket', 'row queue']);
    assert.deepEqual(told, ['duplicate old socket']);
    for (const door of doors.values()) door.resolve();
    await row;
    assert.equal(await isSettled(all[0]), false, 'it is not acknowledged before it is recorded');
    assert.deepEqual(store.calls, [
      ['handledAmong', 'a', 'old', 'b', 'row'],
      ['rememberHandled', 'a', 'b'],
    ]);
    store.recordings[0].resolve();
    await Promise.all(all);
  });

  test('a row is known until it is settled, however small the window', async () => {
    const store = storeOf();
    const { intake, gate, told } = intakeOf({
      log: new HandledLog(store),
      window: 0,
      handle: () => {},
    });
    await intake.take({ id: 'a' }, QUEUE);
    assert.equal(intake.take({ id: 'a' }, SOCKET), undefined);
    assert.deepEqual(told, ['duplicate a socket']);
    intake.settled([{ id: 'a' }, {}, null]);
    assert.equal(gate.knows('a'), false);
    store.handledAmong = (ids) => ids;
    await intake.take({ id: 'a' }, SOCKET);
    assert.equal(told.length, 2, 'the file knows it now');
  });

  test('what cannot be recorded is refused, and its copies are recorded, not handled', async () => {
    const store = storeOf();
    const log = new HandledLog(store);
    const { intake, told } = intakeOf({ log, handle: () => {} });
    const first = assert.rejects(intake.take({ id: 'a' }, SOCKET), Refusal);
    await settle(1);
    const copy = assert.rejects(intake.take({ id: 'a' }, SOCKET), Refusal);
    store.recordings[0].reject(new Error('full'));
    await Promise.all([first, copy]);
    assert.deepEqual(told, ['dedup a full']);
    const again = intake.take({ id: 'a' }, SOCKET);
    await settle(1);
    store.recordings[1].resolve();
    await again;
    assert.deepEqual(told, ['dedup a full', 'duplicate a socket']);
    // Now it is recorded.
    assert.equal(intake.take({ id: 'a' }, SOCKET), undefined);
    assert.equal(store.recordings.length, 2);
  });

  test('what cannot be looked up is refused, and not handled', async () => {
    const store = storeOf();
    store.handledAmong = () => {
      throw new Error('busy');
    };
    const { intake, seen, told, counts, gate } = intakeOf({ log: new HandledLog(store) });
    await assert.rejects(intake.take({ id: 'a' }, QUEUE), Refusal);
    assert.deepEqual([seen, told, counts.failed], [[], ['dedup a busy'], 0]);
    assert.equal(gate.flightOf('a'), undefined);
  });

  test('what is looked up when the end comes is given back', async () => {
    const { intake, seen } = intakeOf({ log: new HandledLog(storeOf()) });
    const taken = assert.rejects(intake.take({ id: 'a' }, QUEUE), NotHandled);
    intake.shutQueue();
    await taken;
    assert.deepEqual(seen, []);
  });
});
