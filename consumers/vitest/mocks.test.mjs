// Services also have the runner mock the whole package.

import { SQLiteQueue, UnixSocketClient } from '@flowtrace/ipc';
import { expect, test, vi } from 'vitest';

vi.mock('@flowtrace/ipc');

test('an automatic mock of the package', async () => {
  const client = new UnixSocketClient({ socketPath: '/nowhere' });
  vi.mocked(client.connect).mockResolvedValue(undefined);
  vi.mocked(client.send).mockRejectedValue(new Error('Not connected to Unix socket'));
  await client.connect();
  await expect(client.send({})).rejects.toThrow('Not connected');
  const queue = new SQLiteQueue({ dbPath: '/nowhere/queue.db' });
  vi.mocked(queue.dequeue).mockReturnValue([{ id: 'a', type: 't', timestamp: 1 }]);
  expect(queue.dequeue(1)).toHaveLength(1);
  expect(SQLiteQueue).toHaveBeenCalledTimes(1);
});

test('the package behind its mock, with an automatic mock of a queue', async () => {
  const { SQLiteQueuePoller } = await vi.importActual('@flowtrace/ipc');
  const queue = new SQLiteQueue({ dbPath: '/nowhere/queue.db' });
  const message = { id: 'a', type: 't', payload: 1, timestamp: 1 };
  vi.mocked(queue.dequeue).mockReturnValueOnce([message]);
  const onMessage = vi.fn();
  const poller = new SQLiteQueuePoller({ queue, onMessage });
  const drained = new Promise((resolve) => poller.once('drained', resolve));
  await poller.start();
  await drained;
  await poller.stop();
  expect(onMessage).toHaveBeenCalledWith(message);
});
