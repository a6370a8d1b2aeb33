// Services also have the runner mock the whole package, or load it again for every test.

const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

beforeEach(() => {
  jest.resetModules();
});

test('an automatic mock of the package', async () => {
  jest.mock('@flowtrace/ipc');
  const { SQLiteQueue, UnixSocketClient, validateQueueMessage } = require('@flowtrace/ipc');
  const client = new UnixSocketClient({ socketPath: '/nowhere' });
  client.connect.mockResolvedValue(undefined);
  client.send.mockRejectedValue(new Error('Not connected to Unix socket'));
  await client.connect();
  await expect(client.send({})).rejects.toThrow('Not connected');
  const queue = new SQLiteQueue({ dbPath: '/nowhere/queue.db' });
  queue.dequeue.mockReturnValue([{ id: 'a' }]);
  expect(queue.dequeue(1)).toEqual([{ id: 'a' }]);
  expect(SQLiteQueue).toHaveBeenCalledTimes(1);
  validateQueueMessage.mockImplementation((message) => message);
  expect(validateQueueMessage(1)).toBe(1);
  jest.unmock('@flowtrace/ipc');
});

test('a spy in the place of one export', () => {
  const ipc = require('@flowtrace/ipc');
  const spy = jest.spyOn(ipc, 'checkHealth').mockReturnValue('well');
  expect(ipc.checkHealth()).toBe('well');
  spy.mockRestore();
  expect(jest.isMockFunction(ipc.checkHealth)).toBe(false);
});

test('an automatic mock of a queue in a real poller', async () => {
  const { SQLiteQueuePoller } = require('@flowtrace/ipc');
  const { SQLiteQueue } = jest.createMockFromModule('@flowtrace/ipc');
  const queue = new SQLiteQueue({ dbPath: '/nowhere/queue.db' });
  queue.dequeue.mockReturnValueOnce([{ id: 'a', type: 't', payload: 1, timestamp: 1 }]);
  const onMessage = jest.fn();
  const poller = new SQLiteQueuePoller({ queue, onMessage });
  const drained = new Promise((resolve) => poller.once('drained', resolve));
  await poller.start();
  await drained;
  await poller.stop();
  expect(queue.markProcessed).toHaveBeenCalledWith('a');
});

test('two copies of the package in one process', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ipc-'));
  const socketPath = join(folder, 's');
  const one = require('@flowtrace/ipc');
  jest.resetModules();
  const other = require('@flowtrace/ipc');
  expect(other.UnixSocketServer).not.toBe(one.UnixSocketServer);
  const server = new one.UnixSocketServer({ socketPath });
  server.setRequestHandler(() => ({ success: true }));
  await server.start();
  const client = new other.UnixSocketClient({ socketPath });
  await client.connect();
  await expect(client.request({ id: '1' })).resolves.toEqual({ id: '1', success: true });

  const queue = new one.SQLiteQueue({ dbPath: join(folder, 'queue.db') });
  const onMessage = jest.fn();
  const poller = new other.SQLiteQueuePoller({ queue, onMessage });
  const drained = new Promise((resolve) => poller.once('drained', resolve));
  queue.enqueue({ id: 'a', type: 't', payload: 1, timestamp: 1 });
  await poller.start();
  await drained;
  await poller.stop();
  expect(onMessage).toHaveBeenCalledTimes(1);

  queue.close();
  await client.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});
