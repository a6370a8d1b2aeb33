import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { idsOf, message, messages, openQueue } from './support/queue.mjs';

const again = { idempotent: true };
const ways = {
  enqueue: async (queue, one, options) => queue.enqueue(one, options),
  enqueueMany: async (queue, one, options) => {
    assert.equal(queue.enqueueMany([one], options), 1);
  },
  enqueueAsync: (queue, one, options) => queue.enqueueAsync(one, options),
};

for (const [name, enqueue] of Object.entries(ways)) {
  describe(`${name} with idempotent`, () => {
    test('a message that is stored already counts as stored, and is not stored twice', async (t) => {
      const queue = openQueue(t);
      const one = message('a', { payload: { x: [1, 'é'] }, timestamp: 1.5 });
      await enqueue(queue, one, again);
      await enqueue(queue, one, again);
      assert.deepEqual(queue.dequeue(), [one]);
      queue.markProcessed('a');
      await enqueue(queue, one, again);
      assert.deepEqual(queue.dequeue(), [], 'it stays processed');
    });

    const differences = { type: 'other', payload: { id: 'A' }, timestamp: 2 };
    for (const [field, value] of Object.entries(differences)) {
      test(`another ${field} under the same id is ERR_IPC_ID_CONFLICT`, async (t) => {
        const queue = openQueue(t);
        await enqueue(queue, message('a'), again);
        await assert.rejects(enqueue(queue, message('a', { [field]: value }), again), {
          name: 'IpcError',
          code: 'ERR_IPC_ID_CONFLICT',
          message: /"a"/,
        });
        assert.deepEqual(queue.dequeue(), [message('a')]);
      });
    }

    test('without it a second one is refused', async (t) => {
      const queue = openQueue(t, { validate: true });
      await enqueue(queue, message('a'), again);
      for (const options of [undefined, {}, { idempotent: false }, { idempotent: undefined }]) {
        await assert.rejects(enqueue(queue, message('a'), options), {
          code: 'SQLITE_CONSTRAINT_PRIMARYKEY',
        });
      }
      await enqueue(queue, message('a'), again);
    });

    test('options of another kind are refused', async (t) => {
      const queue = openQueue(t);
      for (const options of [null, true, 0, { idempotent: 1 }, { idempotent: 'yes' }]) {
        await assert.rejects(enqueue(queue, message('a'), options), {
          code: 'ERR_IPC_INVALID_ARGUMENT',
        });
      }
      assert.deepEqual(queue.dequeue(), []);
    });
  });
}

test('enqueueMany stores all or none, and names the conflict', (t) => {
  const queue = openQueue(t);
  queue.enqueueMany(messages(3), again);
  assert.equal(queue.enqueueMany(messages(5), again), 5, 'those that were there included');
  const batch = [...messages(7), message('m2', { payload: 'another' })];
  assert.throws(() => queue.enqueueMany(batch, again), {
    code: 'ERR_IPC_ID_CONFLICT',
    message: /\(at index 7 of 8, id "m2"\)$/,
  });
  assert.deepEqual(idsOf(queue.dequeue()), idsOf(messages(5)));
});

test('enqueueAsync of one tick with and without it keep their order', async (t) => {
  const queue = openQueue(t);
  const outcomes = await Promise.allSettled([
    queue.enqueueAsync(message('a')),
    queue.enqueueAsync(message('a'), again),
    queue.enqueueAsync(message('a')),
    queue.enqueueAsync(message('b'), again),
    queue.enqueueAsync(message('b')),
    queue.enqueueAsync(message('b', { timestamp: 2 }), again),
  ]);
  const duplicate = 'SQLITE_CONSTRAINT_PRIMARYKEY';
  assert.deepEqual(
    outcomes.map(({ reason }) => reason?.code),
    [undefined, undefined, duplicate, undefined, duplicate, 'ERR_IPC_ID_CONFLICT'],
  );
  assert.deepEqual(idsOf(queue.dequeue()), ['a', 'b']);
});
