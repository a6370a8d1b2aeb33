import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import cjs from '../features/runtime-database/index.js';
import * as root from '../index.mjs';
import { message, noPython, openQueue, startOld } from './support/queue.mjs';
import { gap, openRuntime } from './support/runtime.mjs';

const { RuntimeDatabase } = cjs;
const invalid = { name: 'IpcError', code: 'ERR_IPC_INVALID_ARGUMENT' };

test('the classes are the same at every entry point, and the factories make them', async (t) => {
  const esm = { ...(await import('../features/runtime-database/index.mjs')) };
  assert.deepEqual(esm, { ...cjs });
  assert.equal(root.RuntimeDatabase, cjs.RuntimeDatabase);
  assert.equal(root.RuntimeDatabasePoller, cjs.RuntimeDatabasePoller);
  const { runtimeDbPath } = openRuntime(t);
  const database = root.createRuntimeDatabase({ runtimeDbPath, retentionHours: 1 });
  t.after(() => database.close());
  assert.ok(database instanceof RuntimeDatabase && database instanceof root.SQLiteQueue);
  const poller = root.createRuntimeDatabasePoller({ database });
  assert.ok(poller instanceof root.RuntimeDatabasePoller);
  const socketPath = `${runtimeDbPath}.sock`;
  const server = root.createIPCServer({ socketPath });
  const client = root.createIPCClient({ socketPath });
  assert.ok(server instanceof root.UnixSocketServer);
  assert.ok(client instanceof root.UnixSocketClient);
  server.setRequestHandler(({ symbol }) => ({ symbol }));
  await server.start();
  await client.connect();
  assert.equal((await client.request({ symbol: 'S' })).symbol, 'S');
  client.disconnect();
  await server.stop();
});

describe('states', () => {
  test('the newest of each symbol is returned as it was saved', (t) => {
    const database = openRuntime(t);
    assert.equal(database.loadState('binance', 'S'), null);
    const large = JSON.stringify({ text: '"é😀\u0000'.repeat(60_000) });
    for (const stateJson of ['{"a":1}', '', 'no JSON', '\u0000', large, '{"a":2}']) {
      assert.equal(database.saveState('binance', 'S', stateJson), undefined);
      assert.equal(database.loadState('binance', 'S'), stateJson);
    }
    database.saveState('okx', 'S', large);
    assert.equal(
      database.saveStateBatch([
        { exchange: 'okx', symbol: 'é', stateJson: '1', updatedAt: 5 },
        { exchange: 'binance', symbol: 'T', stateJson: '2' },
        { exchange: 'okx', symbol: 'é', stateJson: '3' },
      ]),
      undefined,
    );
    const okx = [
      { exchange: 'okx', symbol: 'S', stateJson: large },
      { exchange: 'okx', symbol: 'é', stateJson: '3' },
    ];
    const binance = [
      { exchange: 'binance', symbol: 'S', stateJson: '{"a":2}' },
      { exchange: 'binance', symbol: 'T', stateJson: '2' },
    ];
    const sorted = (states) => states.sort((a, b) => (a.symbol < b.symbol ? -1 : 1));
    assert.deepEqual(sorted(database.loadStatesByExchange('okx')), okx);
    assert.deepEqual(database.loadStatesByExchange('none'), []);
    assert.equal(database.loadAllStates().length, 4);
    assert.deepEqual(
      database.loadStatesBatch('binance', ['T', 'é', 'S', 'T']),
      [...binance].reverse(),
    );
    assert.deepEqual(database.loadStatesBatch('binance', []), []);
    database.saveStateBatch([]);
  });

  test('any number is saved, and loaded in one call', (t) => {
    const database = openRuntime(t, { durability: 'normal' });
    const states = Array.from({ length: 100_000 }, (_, index) => ({
      exchange: index % 2 ? 'okx' : 'binance',
      symbol: `S${index}`,
      stateJson: `{"index":${index}}`,
    }));
    database.saveStateBatch(states);
    assert.deepEqual(database.loadAllStates(), states);
    const okx = states.filter(({ exchange }) => exchange === 'okx');
    const symbols = okx.map(({ symbol }) => symbol);
    assert.equal(symbols.length, 50_000);
    assert.deepEqual(database.loadStatesBatch('okx', symbols), okx);
  });

  const long = process.env.FLOWTRACE_IPC_TEST === 'long';
  test('more text than one string can hold is loaded', { skip: !long }, (t) => {
    const database = openRuntime(t, { durability: 'normal' });
    // Escaped inside of another text it would be twice as long.
    const stateJson = '"'.repeat(2 ** 20 * 45);
    const symbols = Array.from({ length: 12 }, (_, index) => `S${index}`);
    for (const symbol of symbols) database.saveState('okx', symbol, stateJson);
    const loaded = database.loadStatesBatch('okx', symbols);
    assert.ok(loaded.length * stateJson.length > 2 ** 29);
    assert.ok(loaded.every((state) => state.stateJson === stateJson));
  });

  test('a batch with one that cannot be saved changes nothing', (t) => {
    const database = openRuntime(t);
    database.saveState('okx', 'S', '1');
    const batch = [
      { exchange: 'okx', symbol: 'S', stateJson: '2' },
      { exchange: 'okx', symbol: 'T', stateJson: 2 },
    ];
    assert.throws(() => database.saveStateBatch(batch), { ...invalid, message: /states\[1\]/ });
    assert.deepEqual(database.loadAllStates(), [{ exchange: 'okx', symbol: 'S', stateJson: '1' }]);
  });

  test('are text to other processes', { skip: noPython }, async (t) => {
    const database = openRuntime(t);
    const before = Date.now();
    database.saveState('okx', 'S', '{"a":"é"}');
    const old = await startOld(t, database.runtimeDbPath);
    const [row] = await old.sql(
      'SELECT typeof(state_json), state_json, updated_at FROM candle_state',
    );
    assert.deepEqual(row.slice(0, 2), ['text', '{"a":"é"}']);
    assert.ok(row[2] >= before && row[2] <= Date.now());
    await old.sql("INSERT INTO candle_state VALUES ('okx', 'blob', ?, 1)", { hex: '7b7d' });
    assert.equal(database.loadState('okx', 'blob'), '{}');
    database.close();
    assert.equal(await old.value('SELECT count(*) FROM candle_state'), 2);
  });
});

describe('gaps', () => {
  test('are recorded once per exchange, and loaded with the last one found first', (t) => {
    const database = openRuntime(t);
    assert.deepEqual(database.loadGaps(), []);
    assert.equal(database.saveGap(gap()), undefined);
    database.saveGapBatch([
      gap({ exchange: 'okx', detectedAt: 3000 }),
      gap({ symbol: 'ETHUSDT', detectedAt: 2000 }),
      gap({ detectedAt: 9000 }),
    ]);
    const records = [
      { ...gap({ exchange: 'okx', detectedAt: 3000 }), id: 2, synced: false, syncedAt: null },
      { ...gap({ symbol: 'ETHUSDT', detectedAt: 2000 }), id: 3, synced: false, syncedAt: null },
      { ...gap(), id: 1, synced: false, syncedAt: null },
    ];
    assert.deepEqual(database.loadGaps(), records);

    const before = Date.now();
    assert.equal(database.markGapsSynced([1, 99]), undefined);
    database.markGapsSynced([]);
    const [synced] = database.loadGaps({ syncedOnly: true });
    assert.deepEqual(synced, { ...records[2], synced: true, syncedAt: synced.syncedAt });
    assert.ok(synced.syncedAt >= before && synced.syncedAt <= Date.now());
    database.saveGap(gap({ gapSize: 1 }));
    const cases = [
      [{}, [2, 3, 1]],
      [{ syncedOnly: true }, [1]],
      [{ syncedOnly: false }, [2, 3]],
      [{ syncedOnly: undefined, exchange: 'binance' }, [3, 1]],
      [{ exchange: 'binance', symbol: 'BTCUSDT' }, [1]],
      [{ exchange: 'binance', symbol: 'BTCUSDT', syncedOnly: false }, []],
      [{ symbol: 'none' }, []],
    ];
    for (const [filter, ids] of cases) {
      assert.deepEqual(
        database.loadGaps(filter).map(({ id }) => id),
        ids,
        JSON.stringify(filter),
      );
    }
  });

  test('any number is recorded and marked', (t) => {
    const database = openRuntime(t);
    const count = 50_000;
    database.saveGapBatch(Array.from({ length: count }, (_, index) => gap({ fromTradeId: index })));
    const ids = database.loadGaps({ syncedOnly: false }).map(({ id }) => id);
    assert.equal(ids.length, count);
    database.markGapsSynced(ids);
    assert.equal(database.loadGaps({ syncedOnly: false }).length, 0);
  });

  test('a batch with one that cannot be recorded changes nothing', (t) => {
    const database = openRuntime(t);
    const batch = [gap(), gap({ gapSize: '3' })];
    assert.throws(() => database.saveGapBatch(batch), {
      ...invalid,
      message: /gaps\[1\]\.gapSize/,
    });
    assert.deepEqual(database.loadGaps(), []);
  });
});

describe('arguments', () => {
  const words = [undefined, null, 1, '', '\ud800', ['S'], {}];
  const numbers = [undefined, null, '1', 1.5, -1, Number.NaN, 2 ** 53, 1n];

  test('that would be stored as something else are refused', (t) => {
    const database = openRuntime(t);
    const state = { exchange: 'okx', symbol: 'S', stateJson: '1' };
    const calls = [
      ...words.flatMap((word) => [
        () => database.saveState(word, 'S', '1'),
        () => database.saveState('okx', word, '1'),
        () => database.loadState(word, 'S'),
        () => database.loadState('okx', word),
        () => database.loadStatesBatch(word, []),
        () => database.loadStatesBatch('okx', ['S', word]),
        () => database.loadStatesByExchange(word),
        () => database.saveStateBatch([{ ...state, exchange: word }]),
        () => database.saveStateBatch([{ ...state, symbol: word }]),
        () => database.saveGap(gap({ exchange: word })),
        () => database.saveGap(gap({ symbol: word })),
      ]),
      ...[undefined, null, 1, {}, Buffer.from('{}'), '\udc00'].flatMap((stateJson) => [
        () => database.saveState('okx', 'S', stateJson),
        () => database.saveStateBatch([{ ...state, stateJson }]),
      ]),
      ...numbers.flatMap((number) => [
        ...['fromTradeId', 'toTradeId', 'gapSize', 'detectedAt'].map(
          (field) => () => database.saveGap(gap({ [field]: number })),
        ),
        () => database.markGapsSynced([1, number]),
      ]),
      ...[undefined, null, 1, 'S', {}, new Array(1)].flatMap((list) => [
        () => database.saveStateBatch(list),
        () => database.saveGapBatch(list),
        () => database.loadStatesBatch('okx', list),
        () => database.markGapsSynced(list),
      ]),
      ...[undefined, null, 1, 'S'].flatMap((entry) => [
        () => database.saveStateBatch([entry]),
        () => database.saveGap(entry),
      ]),
      () => database.loadGaps(null),
      () => database.loadGaps({ exchange: 1 }),
      () => database.loadGaps({ symbol: '' }),
      () => database.loadGaps({ syncedOnly: 1 }),
    ];
    for (const call of calls) assert.throws(call, invalid, String(call));
    assert.deepEqual(database.loadAllStates(), []);
    assert.deepEqual(database.loadGaps(), []);
  });

  test('of the constructor are checked', () => {
    for (const config of [
      undefined,
      null,
      {},
      { runtimeDbPath: 1 },
      { runtimeDbPath: '' },
      { dbPath: 'x' },
    ]) {
      assert.throws(() => new RuntimeDatabase(config), invalid);
    }
    const config = { runtimeDbPath: 'x', retentionHours: -1 };
    assert.throws(() => new RuntimeDatabase(config), invalid);
  });
});

test('after close every method throws', (t) => {
  const calls = {
    saveState: ['okx', 'S', '1'],
    saveStateBatch: [[]],
    loadState: ['okx', 'S'],
    loadStatesBatch: ['okx', []],
    loadAllStates: [],
    loadStatesByExchange: ['okx'],
    saveGap: [gap()],
    saveGapBatch: [[]],
    loadGaps: [],
    markGapsSynced: [[]],
    getSchemaVersion: [],
  };
  assert.deepEqual(
    Object.getOwnPropertyNames(RuntimeDatabase.prototype).filter(
      (name) => !Object.hasOwn(calls, name),
    ),
    ['constructor'],
  );
  const database = openRuntime(t);
  for (const [name, args] of Object.entries(calls)) database[name](...args);
  database.close();
  database.close();
  for (const [name, args] of Object.entries(calls)) {
    const closed = { name: 'IpcError', code: 'ERR_IPC_QUEUE_CLOSED' };
    assert.throws(() => database[name](...args), closed, name);
  }
});

test('the queue is that of SQLiteQueue, in the same file', async (t) => {
  const database = openRuntime(t, { retentionHours: 0 });
  database.enqueue(message('a'));
  await database.enqueueAsync(message('b', { timestamp: 2 }));
  assert.throws(() => database.enqueue(message('a')), { code: 'SQLITE_CONSTRAINT_PRIMARYKEY' });
  const queue = openQueue(t, { dbPath: database.runtimeDbPath });
  assert.deepEqual(queue.dequeue(), database.dequeue());
  queue.markProcessed('a');
  assert.equal(database.cleanup(), 1);
  assert.deepEqual(database.dequeue(), [message('b', { timestamp: 2 })]);
  database.saveState('okx', 'S', '1');
  const later = openQueue(t);
  later.enqueue(message('c'));
  const upgraded = openRuntime(t, { runtimeDbPath: later.dbPath });
  assert.deepEqual(upgraded.dequeue(), later.dequeue());
  assert.equal(upgraded.getSchemaVersion(), 5);
  upgraded.saveState('okx', 'S', '1');
  later.enqueue(message('d'));
  assert.equal(upgraded.stats().pending, 2);
});
