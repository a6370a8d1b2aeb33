import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { idsOf, makeFolder, message, noPython } from './support/queue.mjs';
import { gap, MIGRATIONS, openRuntime, startOriginal } from './support/runtime.mjs';

/** What processes of the original write into a file of each version, from the version on. */
const ROWS = [
  "INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES ('old', 'test', '1', 1)",
  "INSERT INTO candle_state (symbol, state_json, updated_at) VALUES ('OLD', '{\"a\":1}', 5)",
  `INSERT INTO gap_records (symbol, from_trade_id, to_trade_id, gap_size, detected_at)
    VALUES ('OLD', 1, 10, 8, 1000)`,
];
const STATE = { exchange: 'binance', symbol: 'OLD', stateJson: '{"a":1}' };
const GAP = { ...gap({ symbol: 'OLD' }), id: 1, synced: false, syncedAt: null };

/** Opens the file with ours, and holds it to what `version` migrations have left in it. */
function check(t, runtimeDbPath, version) {
  const database = openRuntime(t, { runtimeDbPath });
  assert.deepEqual(idsOf(database.dequeue()), version >= 1 ? ['old'] : []);
  assert.deepEqual(database.loadAllStates(), version >= 2 ? [STATE] : []);
  assert.deepEqual(database.loadGaps(), version >= 3 ? [GAP] : []);
  assert.equal(database.getSchemaVersion(), 5);
  // A second exchange, with the same symbol and the same trades.
  database.saveState('okx', 'OLD', '2');
  database.saveGapBatch([gap({ symbol: 'OLD' }), gap({ exchange: 'okx', symbol: 'OLD' })]);
  assert.equal(database.loadGaps({ symbol: 'OLD' }).length, 2);
  return database;
}

/** What a process of the current original does with the file, whoever has opened it before. */
async function useAsOriginal(t, path) {
  const old = await startOriginal(t, path);
  const versions = await old.sql(
    "SELECT version, applied_at > 0, description <> '' FROM schema_version",
  );
  assert.deepEqual(
    versions,
    [1, 2, 3, 4, 5].map((version) => [version, 1, 1]),
  );
  await old.sql(
    "INSERT OR REPLACE INTO candle_state (exchange, symbol, state_json, updated_at) VALUES ('okx', 'OLD', '3', 9)",
  );
  const insert = `INSERT OR IGNORE INTO gap_records
    (exchange, symbol, from_trade_id, to_trade_id, gap_size, detected_at) VALUES (?, 'OLD', 1, 10, 8, 2000)`;
  await old.sql(insert, 'okx');
  await old.sql(insert, 'bybit');
  assert.equal(await old.value("SELECT count(*) FROM gap_records WHERE exchange <> 'binance'"), 2);
  assert.equal(await old.value("SELECT state_json FROM candle_state WHERE exchange = 'okx'"), '3');
  assert.equal(await old.value('PRAGMA integrity_check'), 'ok');
  assert.equal(await old.value('PRAGMA user_version'), 0);
  return old;
}

describe('a runtime database of the original', { skip: noPython }, () => {
  for (let version = 0; version <= MIGRATIONS.length; version++) {
    test(`at version ${version} is opened by ours and by it in turn`, async (t) => {
      const path = join(makeFolder(t), 'runtime.db');
      const old = await startOriginal(t, path, version);
      for (const row of ROWS.slice(0, version)) await old.sql(row);
      const database = check(t, path, version);

      // The process that was there all along goes on, with the statements of its version.
      const again = ROWS.slice(0, version).map((row) => row.replaceAll(/'old'|'OLD'/g, "'again'"));
      for (const row of again) await old.sql(row);
      assert.equal(database.loadState('binance', 'again'), version >= 2 ? '{"a":1}' : null);
      database.close();

      const current = await useAsOriginal(t, path);
      const reopened = openRuntime(t, { runtimeDbPath: path });
      assert.equal(reopened.loadState('okx', 'OLD'), '3');
      assert.equal(reopened.loadGaps({ exchange: 'bybit' }).length, 1);
      reopened.enqueue(message('ours', { timestamp: 9 }));
      assert.equal(
        await current.value("SELECT payload FROM message_queue WHERE message_id = 'ours'"),
        '{"id":"ours"}',
      );
    });
  }

  for (const [index, statements] of MIGRATIONS.entries()) {
    for (let count = 1; count <= statements.length; count++) {
      const name = `${count} of ${statements.length} statements of migration ${index + 1}`;
      test(`interrupted after ${name} opens`, async (t) => {
        const path = join(makeFolder(t), 'runtime.db');
        const old = await startOriginal(t, path, index);
        for (const row of ROWS.slice(0, index)) await old.sql(row);
        for (const statement of statements.slice(0, count)) await old.sql(statement);
        await old.end();
        check(t, path, index).close();
        await useAsOriginal(t, path);
      });
    }
  }

  test('of a later version stays at it', async (t) => {
    const path = join(makeFolder(t), 'runtime.db');
    const old = await startOriginal(t, path);
    await old.sql('ALTER TABLE candle_state ADD COLUMN later TEXT');
    await old.sql("INSERT INTO schema_version VALUES (6, 1, 'later')");
    await old.sql(ROWS[1]);
    const database = openRuntime(t, { runtimeDbPath: path });
    assert.equal(database.getSchemaVersion(), 6);
    assert.deepEqual(database.loadAllStates(), [STATE]);
    database.saveState('binance', 'OLD', '2');
    assert.deepEqual(await old.sql('SELECT state_json, later FROM candle_state'), [['2', null]]);
  });

  test('can be opened while it writes', async (t) => {
    const path = join(makeFolder(t), 'runtime.db');
    const old = await startOriginal(t, path, 3);
    await old.sql('BEGIN IMMEDIATE');
    for (const row of ROWS) await old.sql(row);
    // Answered by the old process while we wait for its lock.
    const committed = old.sql('COMMIT');
    check(t, path, 3);
    await committed;
  });
});
