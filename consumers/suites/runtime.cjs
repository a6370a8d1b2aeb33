// What a suite of a service of the current generation looks like: factories, states and gaps, a
// mocked database, schemas within its own schemas.

const { mkdtempSync, rmSync } = require('node:fs');
const { connect: connectPlain } = require('node:net');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

module.exports = ({ ipc, z, mock, describe, test, expect, beforeEach, afterEach }) => {
  let folder;
  let socketPath;
  let database;
  let server;
  let client;

  const state = (symbol, stateJson = '{}') => ({ exchange: 'binance', symbol, stateJson });
  const gap = (more) => ({
    exchange: 'binance',
    symbol: 'S',
    fromTradeId: 1,
    toTradeId: 5,
    gapSize: 3,
    detectedAt: 10,
    ...more,
  });

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ipc-'));
    socketPath = join(folder, 's');
    database = ipc.createRuntimeDatabase({ runtimeDbPath: join(folder, 'new', 'runtime.db') });
    server = ipc.createIPCServer({ socketPath });
    client = ipc.createIPCClient({ socketPath });
  });

  afterEach(async () => {
    mock.useRealTimers();
    mock.restoreAllMocks();
    client.disconnect();
    await server.stop();
    database.close();
    rmSync(folder, { recursive: true, force: true });
  });

  describe('the runtime database', () => {
    test('returns states and gaps as values of the realm of the test', () => {
      database.saveStateBatch([state('S'), state('T', '1')]);
      expect(database.loadStatesByExchange('binance')).toStrictEqual([state('S'), state('T', '1')]);
      expect(database.loadStatesBatch('binance', ['T', 'none'])).toStrictEqual([state('T', '1')]);
      expect(database.loadState('binance', 'none')).toBeNull();
      expect(() => database.saveState('binance', 'S', {})).toThrow(Error);

      database.saveGapBatch([gap(), gap({ exchange: 'okx' })]);
      const recorded = { ...gap({ exchange: 'okx' }), id: 2, synced: false, syncedAt: null };
      expect(database.loadGaps({ exchange: 'okx' })).toStrictEqual([recorded]);
      database.markGapsSynced([2]);
      const [synced] = database.loadGaps({ syncedOnly: true });
      expect(ipc.validateGapRecordDTO(synced)).toStrictEqual(synced);
      expect(database.getSchemaVersion()).toBe(5);
    });

    test('throws after close', () => {
      database.close();
      expect(() => database.loadState('binance', 'S')).toThrow('closed');
      expect(() => database.saveGap(gap())).toThrow(Error);
      expect(() => database.close()).not.toThrow();
    });
  });

  test('a poller of a mocked database, which gets its handler later', async () => {
    mock.useFakeTimers();
    const rows = [{ id: 'a', type: 't', payload: {}, timestamp: 1 }];
    const mocked = {
      dequeue: mock.fn(() => rows.splice(0)),
      markProcessed: mock.fn(),
      cleanup: mock.fn(() => 0),
    };
    const poller = ipc.createRuntimeDatabasePoller({ database: mocked, pollInterval: 100 });
    await expect(poller.start()).rejects.toThrow(
      'onMessage handler must be set before starting the poller',
    );
    const onMessage = mock.fn().mockResolvedValue(undefined);
    poller.setOnMessage(onMessage);
    await poller.start();
    await expect(poller.start()).rejects.toThrow('Poller is already running');
    await mock.advanceTimersByTimeAsync(100);
    expect(onMessage).toHaveBeenCalledTimes(1);
    expect(mocked.markProcessed).toHaveBeenCalledWith('a');
    await poller.stop();
    expect(poller.isRunning()).toBe(false);
  });

  describe('the schemas', () => {
    test('are those of the zod of the service', () => {
      const Report = z.object({ gaps: z.array(ipc.GapRecordInputDTOSchema) });
      expect(Report.parse({ gaps: [gap({ extra: 1 })] })).toStrictEqual({ gaps: [gap()] });
      expect(() => Report.parse({ gaps: [{}] })).toThrow(z.ZodError);
      expect(() => ipc.validateGapRecordInputDTO({})).toThrow(z.ZodError);
      expect(ipc.GapRecordInputDTOSchema).toBeInstanceOf(z.ZodObject);
      const { success, error } = ipc.safeValidateStateEntryDTO({});
      expect(success).toBe(false);
      expect(error).toBeInstanceOf(z.ZodError);
    });
  });

  describe('a service', () => {
    test('stores what a mocked client does not take', async () => {
      const mocked = {
        isConnected: mock.fn(() => false),
        connect: mock.fn().mockRejectedValue(new Error('Connection timeout after 5000ms')),
        send: mock.fn().mockRejectedValue(new Error('Not connected to Unix socket')),
      };
      const publish = async (message) => {
        try {
          if (!mocked.isConnected()) await mocked.connect();
          await mocked.send(message);
        } catch (error) {
          if (!/Not connected|Connection/.test(error.message)) throw error;
          database.enqueue(message);
        }
      };
      const message = { id: 'a', type: 'candle:complete', payload: { c: 1 }, timestamp: 1 };
      await publish(message);
      expect(database.dequeue()).toStrictEqual([message]);
    });

    test('serves a plain socket with a long state', async () => {
      const stateJson = JSON.stringify('x'.repeat(300_000));
      server.setRequestHandler(async ({ payload: { exchange, symbol } }) => ({
        success: true,
        data: database.loadState(exchange, symbol),
      }));
      await server.start();
      database.saveStateBatch([state('S', stateJson)]);
      const { stateJson: _, ...payload } = state('S');
      const body = Buffer.from(JSON.stringify({ id: '1', type: 'state', payload }));
      const head = Buffer.alloc(4);
      head.writeUInt32BE(body.length);
      const reply = await new Promise((resolve, reject) => {
        const plain = connectPlain(socketPath);
        let received = Buffer.alloc(0);
        plain.on('error', reject);
        plain.on('data', (chunk) => {
          received = Buffer.concat([received, chunk]);
          if (received.length < 4 || received.length < 4 + received.readUInt32BE(0)) return;
          plain.destroy();
          resolve(JSON.parse(received.subarray(4).toString()));
        });
        plain.write(Buffer.concat([head, body]));
      });
      expect(reply).toEqual({ id: '1', success: true, data: stateJson });
    });

    test('is healthy while its parts run', async () => {
      const poller = ipc.createRuntimeDatabasePoller({ database, onMessage: async () => {} });
      const parts = { server, queue: database, poller };
      expect(ipc.checkHealth(parts).status).toBe('unhealthy');
      await server.start();
      await poller.start();
      const health = ipc.checkHealth(parts);
      expect(health).toMatchObject({ status: 'healthy', reasons: [] });
      expect(JSON.parse(JSON.stringify(health))).toEqual(health);
      await poller.stop();
    });
  });

  test('a batch sender by the faked clock', async () => {
    mock.useFakeTimers();
    const send = mock.fn().mockResolvedValue(undefined);
    const sender = new ipc.BatchSender({ send, flushIntervalMs: 100, maxBatchSize: 3 });
    sender.add(1);
    await mock.advanceTimersByTimeAsync(99);
    expect(send).not.toHaveBeenCalled();
    await mock.advanceTimersByTimeAsync(1);
    expect(send).toHaveBeenCalledWith([1]);
    send.mockRejectedValueOnce(new Error('Not connected to Unix socket'));
    for (const item of [2, 3, 4]) sender.add(item);
    await mock.advanceTimersByTimeAsync(1000);
    expect(send.mock.calls).toEqual([[[1]], [[2, 3, 4]], [[2, 3, 4]]]);
    expect(sender.metrics()).toMatchObject({ sent: 4, failures: 1, buffered: 0 });
    expect(await sender.close()).toEqual([]);
  });
};
