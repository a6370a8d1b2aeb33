// What a service's suite of its poller looks like: a mocked queue, and time in the test's hands.

module.exports = ({ ipc, mock, describe, test, expect, beforeEach, afterEach }) => {
  const { SQLiteQueuePoller } = ipc;

  const message = (id) => ({ id, type: 'test', payload: { id }, timestamp: 1 });

  /** A queue as services mock it, with messages that leave it when they are marked. */
  const mockQueue = (...ids) => {
    let rows = ids.map(message);
    return {
      dequeue: mock.fn((batchSize) => rows.slice(0, batchSize)),
      markProcessed: mock.fn((id) => {
        rows = rows.filter((row) => row.id !== id);
      }),
      cleanup: mock.fn(() => 0),
      add: (...ids) => rows.push(...ids.map(message)),
    };
  };

  let poller;
  beforeEach(() => {
    mock.useFakeTimers();
  });
  afterEach(async () => {
    await poller.stop();
    mock.useRealTimers();
    mock.restoreAllMocks();
  });

  describe('a poller of a mocked queue', () => {
    test('polls at once and then by the interval', async () => {
      const queue = mockQueue('a');
      const onMessage = mock.fn().mockResolvedValue(undefined);
      poller = new SQLiteQueuePoller({ queue, pollInterval: 1000, batchSize: 10, onMessage });
      await poller.start();
      expect(poller.isRunning()).toBe(true);
      await mock.advanceTimersByTimeAsync(0);
      expect(queue.dequeue).toHaveBeenCalledWith(10);
      expect(onMessage).toHaveBeenCalledWith(message('a'));
      expect(queue.markProcessed).toHaveBeenCalledWith('a');

      queue.add('b', 'c');
      await mock.advanceTimersByTimeAsync(999);
      expect(onMessage).toHaveBeenCalledTimes(1);
      await mock.advanceTimersByTimeAsync(1);
      expect(onMessage.mock.calls.map(([{ id }]) => id)).toEqual(['a', 'b', 'c']);
      expect(queue.markProcessed).toHaveBeenCalledTimes(3);

      await poller.stop();
      expect(poller.isRunning()).toBe(false);
      const polls = queue.dequeue.mock.calls.length;
      await mock.advanceTimersByTimeAsync(10_000);
      expect(queue.dequeue).toHaveBeenCalledTimes(polls);
    });

    test('retries a message whose handler rejects', async () => {
      mock.spyOn(console, 'error').mockImplementation(() => {});
      const queue = mockQueue('a');
      const onMessage = mock.fn().mockRejectedValueOnce(new Error('not now'));
      onMessage.mockResolvedValue(undefined);
      poller = new SQLiteQueuePoller({ queue, pollInterval: 1000, onMessage });
      await poller.start();
      await mock.advanceTimersByTimeAsync(0);
      expect(onMessage).toHaveBeenCalledTimes(1);
      expect(queue.markProcessed).not.toHaveBeenCalled();
      expect(console.error).toHaveBeenCalled();
      await mock.advanceTimersByTimeAsync(1000);
      expect(onMessage).toHaveBeenCalledTimes(2);
      expect(queue.markProcessed).toHaveBeenCalledWith('a');
    });

    test('survives a queue that throws', async () => {
      const queue = mockQueue('a');
      queue.dequeue.mockImplementationOnce(() => {
        throw new Error('database is locked');
      });
      const onMessage = mock.fn();
      const onError = mock.fn();
      poller = new SQLiteQueuePoller({ queue, pollInterval: 1000, onMessage });
      poller.on('error', onError);
      await poller.start();
      await mock.advanceTimersByTimeAsync(0);
      expect(onError.mock.calls[0][0]).toBeInstanceOf(Error);
      await mock.advanceTimersByTimeAsync(2000);
      expect(onMessage).toHaveBeenCalledWith(message('a'));
    });

    test('a handler with a delay of its own, on the same faked clock', async () => {
      const queue = mockQueue('a', 'b');
      const done = [];
      const onMessage = async ({ id }) => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        done.push(id);
      };
      poller = new SQLiteQueuePoller({ queue, pollInterval: 1000, onMessage });
      await poller.start();
      await mock.advanceTimersByTimeAsync(299);
      expect(done).toEqual([]);
      await mock.advanceTimersByTimeAsync(301);
      expect(done).toEqual(['a', 'b']);
    });

    test('mocks that answer nothing, or promises', async () => {
      const queue = {
        dequeue: mock.fn().mockResolvedValueOnce([message('a')]),
        markProcessed: mock.fn().mockResolvedValue(undefined),
        cleanup: mock.fn(),
      };
      const onMessage = mock.fn();
      poller = new SQLiteQueuePoller({ queue, pollInterval: 100, onMessage });
      await poller.start();
      await mock.advanceTimersByTimeAsync(1000);
      expect(onMessage).toHaveBeenCalledTimes(1);
      expect(queue.dequeue.mock.calls.length).toBeGreaterThanOrEqual(10);
    });
  });
};
