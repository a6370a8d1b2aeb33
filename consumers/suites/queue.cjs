// What a service's suite of its queue code looks like, with a queue in a temporary file.

const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

module.exports = ({ ipc, z, mock, describe, test, expect, beforeEach, afterEach }) => {
  const { SQLiteQueue, SQLiteQueuePoller, safeValidateQueueMessage, validateQueueMessage } = ipc;

  let folder;
  let queue;

  const message = (id, more) => ({ id, type: 'test', payload: { id }, timestamp: 1, ...more });

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ipc-'));
    queue = new SQLiteQueue({ dbPath: join(folder, 'new', 'queue.db') });
  });

  afterEach(() => {
    mock.useRealTimers();
    mock.restoreAllMocks();
    queue.close();
    rmSync(folder, { recursive: true, force: true });
  });

  describe('the queue', () => {
    test('returns what was stored, oldest first, until it is marked', () => {
      queue.enqueue(message('b', { timestamp: 2 }));
      queue.enqueue(message('a'));
      expect(queue.dequeue(1)).toEqual([message('a')]);
      expect(queue.dequeue()).toStrictEqual([message('a'), message('b', { timestamp: 2 })]);
      queue.markProcessed('a');
      expect(queue.dequeue().map(({ id }) => id)).toEqual(['b']);
      expect(queue.cleanup(24)).toBe(0);
    });

    test('throws Errors of the realm of the test', () => {
      queue.enqueue(message('a'));
      expect(() => queue.enqueue(message('a'))).toThrow(
        expect.objectContaining({ code: 'SQLITE_CONSTRAINT_PRIMARYKEY' }),
      );
      expect(() => queue.enqueue(message('a'))).toThrow(Error);
      expect(() => queue.enqueue(message(undefined))).toThrow(
        expect.objectContaining({ code: 'ERR_IPC_INVALID_MESSAGE' }),
      );
      queue.close();
      expect(() => queue.dequeue()).toThrow(
        expect.objectContaining({ code: 'ERR_IPC_QUEUE_CLOSED' }),
      );
    });

    test('stores asynchronously, also while every timer is faked', async () => {
      mock.useFakeTimers();
      await Promise.all([queue.enqueueAsync(message('a')), queue.enqueueAsync(message('b'))]);
      expect(queue.dequeue()).toHaveLength(2);
      await expect(queue.enqueueAsync(message('a'))).rejects.toMatchObject({
        code: 'SQLITE_CONSTRAINT_PRIMARYKEY',
      });
      await expect(queue.enqueueAsync(message('a'))).rejects.toBeInstanceOf(Error);
    });
  });

  describe('a poller of a real queue', () => {
    test('handles everything and marks it', async () => {
      const onMessage = mock.fn().mockResolvedValue(undefined);
      const poller = new SQLiteQueuePoller({ queue, pollInterval: 20, onMessage });
      for (let at = 0; at < 120; at++) queue.enqueue(message(`m${at}`, { timestamp: at + 1 }));
      const drained = new Promise((resolve) => poller.once('drained', resolve));
      await poller.start();
      await expect(poller.start()).rejects.toThrow('Poller is already running');
      await drained;
      await poller.stop();
      expect(onMessage.mock.calls.map(([{ id }]) => id)).toEqual(
        Array.from({ length: 120 }, (_, at) => `m${at}`),
      );
      expect(onMessage.mock.calls[0][0]).toStrictEqual(message('m0'));
      expect(queue.dequeue()).toEqual([]);
    });

    test('goes through spies on the queue', async () => {
      const dequeue = mock.spyOn(queue, 'dequeue');
      const markProcessed = mock.spyOn(queue, 'markProcessed');
      queue.enqueue(message('a'));
      const onMessage = mock.fn();
      const poller = new SQLiteQueuePoller({ queue, onMessage, batchSize: 7 });
      const drained = new Promise((resolve) => poller.once('drained', resolve));
      await poller.start();
      await drained;
      await poller.stop();
      expect(dequeue).toHaveBeenCalledWith(7);
      expect(markProcessed).toHaveBeenCalledWith('a');
      expect(onMessage).toHaveBeenCalledTimes(1);
    });

    test('works under faked timers, with spies and without', async () => {
      for (const spied of [false, true]) {
        mock.useFakeTimers();
        if (spied) mock.spyOn(queue, 'dequeue');
        const onMessage = mock.fn();
        const poller = new SQLiteQueuePoller({ queue, pollInterval: 1000, onMessage });
        queue.enqueue(message(`first ${spied}`));
        const first = new Promise((resolve) => poller.once('drained', resolve));
        await poller.start();
        await first;
        queue.enqueue(message(`second ${spied}`));
        const second = new Promise((resolve) => poller.once('drained', resolve));
        await mock.advanceTimersByTimeAsync(1000);
        await second;
        const stopped = poller.stop();
        await mock.advanceTimersByTimeAsync(1000);
        await stopped;
        expect(onMessage.mock.calls.map(([{ id }]) => id)).toEqual([
          `first ${spied}`,
          `second ${spied}`,
        ]);
        mock.useRealTimers();
      }
    });
  });

  describe('validation', () => {
    test('throws the ZodError of the service', () => {
      expect(validateQueueMessage({ ...message('a'), extra: 1 })).toEqual(message('a'));
      expect(() => validateQueueMessage({})).toThrow(z.ZodError);
      const { success, error } = safeValidateQueueMessage({ ...message(''), timestamp: 0 });
      expect(success).toBe(false);
      expect(error).toBeInstanceOf(z.ZodError);
      expect(error.issues.map(({ path }) => path)).toEqual([['id'], ['timestamp']]);
    });
  });
};
