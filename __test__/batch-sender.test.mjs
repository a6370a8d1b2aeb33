import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { BatchSender } from '../index.mjs';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
afterEach(() => mock.timers.reset());

/** Lets promises happen; no clock is involved. */
async function settle() {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function recorder(options) {
  const batches = [];
  let outcome = () => {};
  const sender = new BatchSender({
    send: async (batch) => {
      batches.push([...batch]);
      return outcome(batch);
    },
    ...options,
  });
  return {
    sender,
    batches,
    on(next) {
      outcome = next;
    },
  };
}

test('items wait for others, at most the interval', async () => {
  const { sender, batches } = recorder({ flushIntervalMs: 50 });
  sender.add(1);
  sender.add(2);
  await settle();
  assert.deepEqual(batches, []);
  mock.timers.tick(49);
  await settle();
  assert.deepEqual(batches, []);
  mock.timers.tick(1);
  await settle();
  assert.deepEqual(batches, [[1, 2]]);
  assert.deepEqual(sender.metrics(), {
    buffered: 0,
    added: 2,
    sent: 2,
    batches: 1,
    dropped: 0,
    rejected: 0,
    failures: 0,
  });
});

test('a full batch leaves at once, one after the other and in order', async () => {
  const { sender, batches } = recorder({ maxBatchSize: 2 });
  for (let n = 1; n <= 5; n++) sender.add(n);
  await settle();
  assert.deepEqual(batches, [[1, 2], [3, 4], [5]]);
});

test('a batch that fails is sent again, before anything else', async () => {
  const { sender, batches, on } = recorder({ maxBatchSize: 2 });
  const errors = [];
  sender.on('error', (error, { attempt, waitMs }) => errors.push([error.message, attempt, waitMs]));
  on(() => Promise.reject(new Error('down')));
  for (let n = 1; n <= 3; n++) sender.add(n);
  await settle();
  mock.timers.tick(100);
  await settle();
  on(() => {});
  mock.timers.tick(200);
  await settle();
  assert.deepEqual(batches, [[1, 2], [1, 2], [1, 2], [3]]);
  assert.deepEqual(errors, [
    ['down', 1, 100],
    ['down', 2, 200],
  ]);
  assert.equal(sender.metrics().failures, 2);
});

test('an item that is added just as the sender comes to rest is sent', async () => {
  for (let turns = 0; turns < 6; turns++) {
    const { sender, batches } = recorder({ maxBatchSize: 1 });
    sender.once('sent', async () => {
      for (let turn = 0; turn < turns; turn++) await undefined;
      sender.add(2);
    });
    sender.add(1);
    await settle();
    assert.deepEqual(batches, [[1], [2]], `after ${turns} turns`);
    assert.deepEqual(await sender.close(), []);
  }
});

test('an item that is added while a batch is handed over waits for its turn', async () => {
  const { sender, batches, on } = recorder({ maxBatchSize: 1 });
  on(([item]) => {
    if (item < 3) sender.add(item + 1);
  });
  sender.add(1);
  await settle();
  assert.deepEqual(batches, [[1], [2], [3]]);
  assert.equal(sender.metrics().sent, 3);
});

const policies = [
  ['reject', [1, 2], { dropped: 0, rejected: 2 }],
  ['drop-oldest', [3, 4], { dropped: 2, rejected: 0 }],
  ['drop-newest', [1, 2], { dropped: 2, rejected: 0 }],
];
for (const [overflow, kept, counts] of policies) {
  test(`a full buffer with the policy ${overflow}`, async () => {
    const { sender, batches } = recorder({ maxBuffered: 2, overflow });
    const dropped = [];
    sender.on('drop', (items) => dropped.push(...items));
    for (let n = 1; n <= 4; n++) {
      if (overflow === 'reject' && n > 2) {
        assert.throws(() => sender.add(n), { code: 'ERR_IPC_BUFFER_FULL' });
      } else {
        sender.add(n);
      }
    }
    await sender.flush();
    assert.deepEqual(batches, [kept]);
    const { dropped: lost, rejected } = sender.metrics();
    assert.deepEqual({ dropped: lost, rejected }, counts);
    assert.equal(dropped.length, counts.dropped);
  });
}

test('the batch under way is not dropped', async () => {
  const { sender, batches, on } = recorder({
    maxBatchSize: 2,
    maxBuffered: 3,
    overflow: 'drop-oldest',
  });
  let finish;
  on(
    () =>
      new Promise((resolve) => {
        finish = resolve;
      }),
  );
  for (let n = 1; n <= 5; n++) sender.add(n);
  await settle();
  on(() => {});
  finish();
  await sender.flush();
  assert.deepEqual(batches, [[1, 2], [5]]);
});

test('close sends what waits, takes no more, and returns what it could not send', async () => {
  const { sender, batches, on } = recorder({});
  sender.add(1);
  assert.deepEqual(await sender.close(), []);
  assert.deepEqual(batches, [[1]]);
  assert.throws(() => sender.add(2), { code: 'ERR_IPC_SENDER_CLOSED' });

  const other = recorder({});
  other.on(() => Promise.reject(new Error('down')));
  other.sender.add(1);
  other.sender.add(2);
  const closing = other.sender.close({ deadlineMs: 1000 });
  await settle();
  mock.timers.tick(1000);
  assert.deepEqual(await closing, [1, 2]);
  assert.equal(on.length, 1);
});

test('a batch that fails after the deadline of close is not waited for', async () => {
  const { sender, on } = recorder({});
  let fail;
  on(
    () =>
      new Promise((_, reject) => {
        fail = reject;
      }),
  );
  sender.add(1);
  const closing = sender.close({ deadlineMs: 1000 });
  mock.timers.tick(1000);
  assert.deepEqual(await closing, [1]);
  const wait = mock.method(globalThis, 'setTimeout');
  fail(new Error('late'));
  await settle();
  wait.mock.restore();
  assert.equal(wait.mock.callCount(), 0);
});

test('wrong options are refused', () => {
  const send = async () => {};
  for (const options of [
    undefined,
    {},
    { send: 1 },
    { send, maxBatchSize: 0 },
    { send, flushIntervalMs: -1 },
    { send, maxBuffered: Number.NaN },
    { send, overflow: 'explode' },
  ]) {
    assert.throws(() => new BatchSender(options), { code: 'ERR_IPC_INVALID_ARGUMENT' });
  }
});
