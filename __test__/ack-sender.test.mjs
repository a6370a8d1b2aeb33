// The sender of acknowledged messages by itself: the kernel, the server and the clock are the test.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { AckSender } from '../dist/ack-sender.js';
import { IpcError } from '../dist/errors.js';
import { abandon } from '../dist/held-messages.js';
import { limits } from '../dist/limits.js';
import { Notebook } from '../dist/message-body.js';
import { addon } from '../dist/native.js';
import { Outbox } from '../dist/outbox.js';
import { OwedReplies } from '../dist/owed-replies.js';
import { PlainIds } from '../dist/plain-ids.js';

/** A sender whose frames go into a list when the test flushes, and the messages that it was given. */
function rig(options) {
  const frames = [];
  let posted = [];
  let failure;
  const outbox = {
    onFlush: undefined,
    makeWay() {},
    postMarked: (body) => posted.push(body),
    hasten() {},
  };
  const flush = () => {
    const batch = posted;
    posted = [];
    if (failure === undefined) frames.push(...batch);
    outbox.onFlush?.(failure);
  };
  const acks = new AckSender(outbox, {
    progress: () => null,
    heldLengthMax: 1_000_000,
    wasGreeted: false,
    owedToPlain: new OwedReplies(100),
    ...options,
  });
  /** Sends a message; its outcome is told under its id. */
  const outcomes = new Map();
  const send = (id, { text = String(id), ...more } = {}) => {
    const message = {
      body: text,
      length: text.length,
      id,
      number: 0,
      isAbandoned: false,
      holder: undefined,
      acknowledged: (level) => outcomes.set(id, level),
      refused: (error) => outcomes.set(id, `refused ${error.cause.code}`),
      lost: (error) => outcomes.set(id, `lost ${error.code}`),
      ...more,
    };
    acks.send(message);
    return message;
  };
  const take = ($ipc) => acks.take({ $ipc });
  const fail = (error) => {
    failure = error;
  };
  return { acks, frames, flush, outcomes, send, take, fail };
}

/**
 * A rig whose server has read everything, unless the test says otherwise in `wire`, and whose clock
 * is the test's: `look(n)` lets the sender look n times at what became of its bytes.
 */
function watched(t, options) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const wire = { unread: 0, readAtLeast: 0, unseen: 0, received: 0 };
  const look = (times) => {
    for (let n = 0; n < times; n++) t.mock.timers.tick(limits.helloPollMs);
  };
  return { ...rig({ ...options, progress: () => ({ ...wire }) }), wire, look };
}

/** Looks after which a server that says nothing is an old one. */
const LOOKS = limits.helloTimeoutMs / limits.helloPollMs + 1;

/** Bytes of JavaScript objects that are in use. */
function heapBytes() {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

function collectGarbage() {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}

test('an id that is an object counts among those of plain messages, and is let go', async () => {
  const { acks } = rig();
  const ids = new PlainIds();
  const sent = (() => {
    const id = { nobody: 'can send it back' };
    ids.sentPlain(id);
    acks.sentPlain(id);
    return new WeakRef(id);
  })();
  ids.sentPlain(() => 'no reply');
  ids.sentPlain('first');
  ids.sentPlain('second');
  // The one that has come was the reply to the object.
  const owed = ids.owed(1);
  assert.deepEqual(
    [owed.take(undefined), owed.take('first'), owed.take('second')],
    [false, true, true],
  );
  assert.equal(ids.owed(2).take('first'), false);
  await new Promise(setImmediate);
  collectGarbage();
  assert.equal(sent.deref(), undefined);
});

test('one message without an outcome keeps nothing of those behind it', () => {
  const { acks, flush, frames, outcomes, send, take } = rig();
  take({ hello: { window: 8 } });
  send('stuck');
  flush();
  let handled = 0;
  const acknowledged = () => handled++;
  const before = heapBytes();
  for (let n = 2; n <= 500_000; n++) {
    send(n, { text: 'short', acknowledged });
    flush();
    frames.length = 0;
    take({ also: [n, n] });
  }
  assert.deepEqual([handled, acks.size], [499_999, 1]);
  const grown = heapBytes() - before;
  assert.ok(grown < 1_000_000, `${grown} bytes for messages that have their outcome`);
  take({ through: 500_000 });
  assert.deepEqual([...outcomes], [['stuck', 'handled']]);
});

test('a server is believed of what has left, in whatever ranges it says so', () => {
  const { acks, flush, frames, outcomes, send, take } = rig();
  take({ hello: { window: 100 } });
  for (let n = 1; n <= 10; n++) send(n);
  flush();
  send('unsent');
  take({ also: [9, 1e15, 2, 3, 2, 3], refused: [[5, 'CODE', 'text']] });
  assert.deepEqual([...outcomes.keys()].sort(), [10, 2, 3, 5, 9]);
  assert.equal(outcomes.get(5), 'refused CODE');
  take({ through: 1e15 });
  assert.equal(acks.size, 1);
  assert.deepEqual(frames.length, 10);
  flush();
  take({ through: 11 });
  assert.equal(outcomes.get('unsent'), 'handled');
});

test('what is held back goes on when what made it wait could not leave', async () => {
  const { acks, fail, flush, frames, outcomes, send, take } = rig();
  take({ hello: { window: 2 } });
  for (const id of ['a', 'b', 'c', 'd', 'e']) send(id);
  fail(Object.assign(new Error('full'), { code: 'ERR_IPC_OUTBOUND_FULL' }));
  flush();
  assert.deepEqual([...outcomes.keys()], ['a', 'b']);
  fail(undefined);
  await null;
  flush();
  assert.deepEqual(frames, ['c', 'd']);
  take({ through: 2 });
  flush();
  take({ through: 3 });
  assert.deepEqual(
    [...outcomes],
    [
      ['a', 'lost ERR_IPC_OUTBOUND_FULL'],
      ['b', 'lost ERR_IPC_OUTBOUND_FULL'],
      ['c', 'handled'],
      ['d', 'handled'],
      ['e', 'handled'],
    ],
  );
  assert.equal(acks.size, 0);
});

test('what is held back and given up is forgotten at once, and never sent', () => {
  const { acks, flush, frames, send, take } = rig();
  take({ hello: { window: 1 } });
  send('first');
  const before = heapBytes();
  for (let n = 0; n < 100_000; n++) {
    const text = String(n).padEnd(100, 'x');
    abandon(send(n, { text }));
  }
  const grown = heapBytes() - before;
  assert.ok(grown < 1_000_000, `${grown} bytes for messages that nobody waits for`);
  assert.equal(acks.size, 1);
  send('last');
  for (const _ of [1, 2]) {
    flush();
    take({ through: frames.length });
  }
  assert.deepEqual([frames, acks.size], [['first', 'last'], 0]);
});

test('the length of what is held back is bounded', () => {
  const { acks, outcomes, send, take } = rig({ heldLengthMax: 10 });
  take({ hello: { window: 1 } });
  send('first');
  send('long', { text: 'more than ten letters' });
  const long = send('b', { text: '1' });
  assert.deepEqual([...outcomes], [['b', 'lost ERR_IPC_OUTBOUND_FULL']]);
  assert.equal(long.number, 0);
  take({ through: 0 });
  assert.equal(acks.size, 2);
});

test('room is made by what is given up, wherever it waits', () => {
  const { flush, frames, outcomes, send, take } = rig({ heldLengthMax: 3 });
  take({ hello: { window: 1 } });
  send('first');
  const [, b] = ['a', 'b', 'c'].map((id) => send(id));
  send('d');
  abandon(b);
  send('e');
  send('f');
  assert.deepEqual([...outcomes.keys()], ['d', 'f']);
  for (let through = 1; through <= 4; through++) {
    flush();
    take({ through });
  }
  assert.deepEqual(frames, ['first', 'a', 'c', 'e']);
});

test('a server that has read everything and says nothing is an old one', (t) => {
  const { flush, look, outcomes, send } = watched(t);
  send('a');
  flush();
  look(LOOKS - 2);
  assert.equal(outcomes.size, 0);
  look(2);
  assert.deepEqual([...outcomes], [['a', 'received']]);
});

test('a greeting may be behind what has not been read here', (t) => {
  const { flush, look, outcomes, send, take, wire } = watched(t);
  send('a');
  flush();
  wire.unseen = 4_096;
  look(10 * LOOKS);
  assert.equal(outcomes.size, 0);
  // All is read, and more comes between any two looks.
  wire.unseen = 0;
  for (let n = 0; n < 3 * LOOKS; n++) {
    wire.received += 100;
    look(1);
  }
  assert.equal(outcomes.size, 0);
  take({ hello: { window: 8 } });
  look(10 * LOOKS);
  assert.equal(outcomes.size, 0);
  take({ through: 1 });
  assert.deepEqual([...outcomes], [['a', 'handled']]);
});

/** Looks after which it is one whatever speaks against it. */
const PATIENT_LOOKS = limits.helloPatienceMs / limits.helloPollMs;

test('what goes on arriving cannot put off the judgement for ever', (t) => {
  const { flush, look, outcomes, send, wire } = watched(t);
  send('a');
  flush();
  for (let n = 0; n < PATIENT_LOOKS; n++) {
    assert.equal(outcomes.size, 0);
    wire.received += 100;
    look(1);
  }
  assert.deepEqual([...outcomes], [['a', 'received']]);
});

test('a server that has greeted before is not taken for an old one soon', (t) => {
  const { flush, look, outcomes, send } = watched(t, { wasGreeted: true });
  send('a');
  flush();
  look(PATIENT_LOOKS - 1);
  assert.equal(outcomes.size, 0);
  look(1);
  assert.deepEqual([...outcomes], [['a', 'received']]);
});

test('what an old server has read is received only when nothing of it waits to be read', (t) => {
  const { flush, look, outcomes, send, wire } = watched(t);
  send('a');
  flush();
  look(LOOKS);
  wire.unseen = 10;
  send('b');
  flush();
  look(LOOKS);
  assert.deepEqual([...outcomes.keys()], ['a']);
  wire.unseen = 0;
  look(1);
  assert.deepEqual([...outcomes.keys()], ['a', 'b']);
});

test('a server that is never seen with nothing to read, because it is busy, is an old one too', (t) => {
  const { flush, look, outcomes, send, wire } = watched(t);
  send('a');
  flush();
  look(2);
  for (let n = 0; n < LOOKS; n++) {
    send(`b${n}`);
    flush();
    wire.unread = 2_000;
    wire.readAtLeast += 100;
    look(1);
  }
  assert.equal(outcomes.size, 0);
  wire.unread = 0;
  look(1);
  assert.equal(outcomes.get('a'), 'received');
  // Those that were held back from then on.
  flush();
  look(1);
  assert.equal(outcomes.size, LOOKS + 1);
});

test('a server that has something to read and does not read it says nothing by that', (t) => {
  const { flush, look, outcomes, send, take, wire } = watched(t);
  send('a');
  flush();
  look(2);
  send('b');
  flush();
  wire.unread = 2_000;
  wire.readAtLeast = -1_900;
  look(10 * LOOKS);
  // It was stopped between reading the first one and its greeting.
  take({ hello: { window: 8 } });
  wire.unread = 0;
  look(LOOKS);
  assert.equal(outcomes.size, 0);
});

test('a server that has read nothing owes no greeting', (t) => {
  const { flush, look, outcomes, send, wire } = watched(t);
  wire.unread = 10_000;
  send('a');
  flush();
  for (let n = 0; n < 3 * LOOKS; n++) {
    wire.readAtLeast += 100;
    look(1);
  }
  wire.unread = 0;
  look(LOOKS - 2);
  assert.equal(outcomes.size, 0);
  look(2);
  assert.deepEqual([...outcomes], [['a', 'received']]);
});

/** Takes the server for an old one that has said nothing. */
function silenced({ flush, look, send }) {
  send('first');
  flush();
  look(LOOKS);
}

test('an old server that replies late is known by any of its replies', (t) => {
  const { acks, flush, look, outcomes, send, ...rest } = watched(t);
  silenced({ flush, look, send, ...rest });
  for (let n = 0; n < limits.unansweredIdsMax - 1; n++) {
    send(n + 1);
    flush();
    look(1);
  }
  assert.ok([...outcomes.values()].every((level) => level === 'received'));
  assert.equal(acks.takeReply({ id: 'stranger', success: true }), false);
  send('next');
  assert.equal(acks.takeReply({ id: 'first', success: true }), true);
  flush();
  look(LOOKS);
  assert.equal(outcomes.has('next'), false);
  assert.equal(acks.takeReply({ id: 'next', success: true }), true);
  assert.equal(outcomes.get('next'), 'handled');
});

/** Looks after which a reply is overdue. */
const REPLY_LOOKS = limits.legacyReplyMs / limits.helloPollMs;

test('an old server that replies to some messages has received the others', (t) => {
  const { acks, flush, look, outcomes, send, wire } = watched(t);
  send('a');
  flush();
  acks.takeReply({ id: 'a', success: true });
  for (let n = 1; n <= limits.ackWindow; n++) send(`event${n}`);
  send('held');
  flush();
  // What it has not read is not received, however long that takes.
  wire.unread = 1;
  look(2 * REPLY_LOOKS);
  wire.unread = 0;
  look(REPLY_LOOKS);
  assert.deepEqual([outcomes.size, acks.size], [1, limits.ackWindow + 1]);
  look(1);
  assert.deepEqual([outcomes.size, acks.size], [1 + limits.ackWindow, 1]);
  assert.equal(outcomes.get('event1'), 'received');
  // The reply that comes all the same is owed to one that has its outcome.
  flush();
  assert.equal(acks.takeReply({ id: 'event1', success: false }), true);
  assert.equal(acks.takeReply({ id: 'held', success: true }), true);
  assert.equal(outcomes.get('held'), 'handled');
});

test('what nobody waits for and an old server has read leaves the window', (t) => {
  const { acks, flush, frames, look, outcomes, send, wire } = watched(t);
  send('a');
  flush();
  acks.takeReply({ id: 'a', success: true });
  const sent = Array.from({ length: limits.ackWindow }, (_, n) => send(`event${n}`));
  flush();
  send('held');
  for (const message of sent) abandon(message);
  wire.unread = 1;
  look(10);
  assert.equal(acks.onWire, limits.ackWindow);
  wire.unread = 0;
  look(1);
  flush();
  assert.equal(frames.at(-1), 'held');
  acks.takeReply({ id: 'held', success: true });
  assert.deepEqual([outcomes.get('held'), acks.size], ['handled', 0]);
});

test('a message whose id is under way waits until replies are not what counts', (t) => {
  const { acks, flush, frames, outcomes, send, take } = watched(t);
  send('x', { text: 'one' });
  send('x', { text: 'two' });
  send('y');
  flush();
  assert.deepEqual(frames, ['one']);
  acks.takeReply({ id: 'x', success: true });
  flush();
  assert.deepEqual(frames, ['one', 'two', 'y']);
  send('y');
  take({ hello: { window: 8 } });
  flush();
  assert.deepEqual(frames, ['one', 'two', 'y', 'y']);
  take({ through: 4 });
  assert.deepEqual([outcomes.size, acks.size], [2, 0]);
});

test('replies to messages with the same id are counted where a silent server has them', (t) => {
  const { acks, flush, look, outcomes, send } = watched(t);
  silenced({ flush, look, send });
  const told = [];
  const acknowledged = (level) => told.push(level);
  send('go');
  flush();
  for (const text of ['one', 'two', 'three']) send('x', { text, acknowledged });
  look(1);
  flush();
  // It replies after all, to the first, the second and the third.
  for (const expected of [[], [], ['handled']]) {
    acks.takeReply({ id: 'x', success: true });
    assert.deepEqual(told, expected);
  }
  look(REPLY_LOOKS + 1);
  assert.deepEqual(told, ['handled', 'received', 'received']);
  assert.equal(outcomes.get('go'), 'received');
});

test('the reply to a plain message acknowledges no other with its id', (t) => {
  const owedToPlain = new OwedReplies(100);
  owedToPlain.add('x');
  const { acks, flush, outcomes, send } = watched(t, { owedToPlain });
  send('x');
  flush();
  acks.sentPlain('x');
  acks.sentPlain(undefined);
  for (const _ of ['before it', 'behind it']) {
    assert.equal(acks.takeReply({ id: 'x', success: true }), false);
    assert.equal(outcomes.size, 0);
  }
  acks.takeReply({ id: 'x', success: true });
  assert.deepEqual([...outcomes], [['x', 'handled']]);
});

/** A sender with an outbox of its own, and a kernel that is full when the test says so. */
function fullRig() {
  const sent = [];
  const kernel = { isFull: false };
  const outbox = new Outbox({
    text: assert.fail,
    values(...values) {
      if (kernel.isFull) throw new IpcError('ERR_IPC_OUTBOUND_FULL', 'full');
      sent.push(addon.printValues(...values));
      return 0;
    },
  });
  const acks = new AckSender(outbox, {
    progress: () => null,
    heldLengthMax: 1_000_000,
    wasGreeted: false,
    owedToPlain: new OwedReplies(100),
  });
  acks.take({ $ipc: { hello: { window: 100 } } });
  const outcomes = [];
  /** Notes of two books are not in one buffer. */
  const send = (id) => {
    const body = new Notebook().add({ id }, 1_000);
    acks.send({
      body,
      length: body.length,
      id,
      number: 0,
      isAbandoned: false,
      acknowledged: () => outcomes.push(`${id} handled`),
      lost: ({ code }) => {
        outcomes.push(`${id} ${code}`);
        body.release();
      },
    });
  };
  return { acks, outbox, kernel, sent, outcomes, send };
}

test('what had to leave before a message and could not takes it not along', () => {
  const { acks, outbox, kernel, sent, outcomes, send } = fullRig();
  kernel.isFull = true;
  send('a');
  send('b');
  assert.deepEqual(outcomes, ['a ERR_IPC_OUTBOUND_FULL']);
  kernel.isFull = false;
  outbox.flush();
  assert.deepEqual(sent, ['{"id":"b"}']);
  acks.take({ $ipc: { through: 1 } });
  assert.deepEqual(outcomes, ['a ERR_IPC_OUTBOUND_FULL', 'b handled']);
});

test('a message that could not leave behind another gives its number back', () => {
  const { acks, outbox, kernel, sent, outcomes, send } = fullRig();
  send('a');
  send('b');
  kernel.isFull = true;
  outbox.flush();
  kernel.isFull = false;
  send('c');
  outbox.flush();
  assert.deepEqual(sent, ['{"id":"a"}', '{"id":"c"}']);
  acks.take({ $ipc: { through: 2 } });
  assert.deepEqual(outcomes, ['b ERR_IPC_OUTBOUND_FULL', 'a handled', 'c handled']);
});
