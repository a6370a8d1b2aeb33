// What the tests of the runtime database share.
import { join } from 'node:path';
import { RuntimeDatabase } from '../../features/runtime-database/index.js';
import { makeFolder, ORIGINAL_SCHEMA, startOld } from './queue.mjs';

/** A database on a file of its own, or of `options.runtimeDbPath`; closed after the test. */
export function openRuntime(t, options = {}) {
  const runtimeDbPath = options.runtimeDbPath ?? join(makeFolder(t), 'runtime.db');
  const database = new RuntimeDatabase({ ...options, runtimeDbPath });
  t.after(() => database.close());
  return Object.assign(database, { runtimeDbPath });
}

export function gap(more) {
  return {
    exchange: 'binance',
    symbol: 'BTCUSDT',
    fromTradeId: 1,
    toTradeId: 10,
    gapSize: 8,
    detectedAt: 1000,
    ...more,
  };
}

/** The statements of each migration of the original, which ran them without a transaction. */
export const MIGRATIONS = [
  ORIGINAL_SCHEMA,
  [
    `CREATE TABLE candle_state (
      symbol TEXT PRIMARY KEY, state_json BLOB NOT NULL, updated_at INTEGER NOT NULL)`,
  ],
  [
    `CREATE TABLE gap_records (
      id INTEGER PRIMARY KEY AUTOINCREMENT, symbol TEXT NOT NULL, from_trade_id INTEGER NOT NULL,
      to_trade_id INTEGER NOT NULL, gap_size INTEGER NOT NULL, detected_at INTEGER NOT NULL,
      synced INTEGER DEFAULT 0, synced_at INTEGER)`,
    'CREATE UNIQUE INDEX idx_gap_unique ON gap_records (symbol, from_trade_id, to_trade_id)',
    'CREATE INDEX idx_gap_synced ON gap_records (synced)',
  ],
  [
    "ALTER TABLE gap_records ADD COLUMN exchange TEXT NOT NULL DEFAULT 'binance'",
    'DROP INDEX idx_gap_unique',
    `CREATE UNIQUE INDEX idx_gap_unique
      ON gap_records (exchange, symbol, from_trade_id, to_trade_id)`,
  ],
  [
    `CREATE TABLE candle_state_new (
      exchange TEXT NOT NULL DEFAULT 'binance', symbol TEXT NOT NULL, state_json BLOB NOT NULL,
      updated_at INTEGER NOT NULL, PRIMARY KEY (exchange, symbol))`,
    `INSERT INTO candle_state_new (exchange, symbol, state_json, updated_at)
      SELECT 'binance', symbol, state_json, updated_at FROM candle_state`,
    'DROP TABLE candle_state',
    'ALTER TABLE candle_state_new RENAME TO candle_state',
  ],
];

/** A process of the original that brings the file to this version, as far as it is not yet. */
export async function startOriginal(t, path, version = MIGRATIONS.length) {
  const old = await startOld(t, path);
  // These tests pull no plug.
  await old.sql('PRAGMA synchronous = OFF');
  await old.sql(`CREATE TABLE IF NOT EXISTS schema_version (
    version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL, description TEXT)`);
  const newest = (await old.value('SELECT max(version) FROM schema_version')) ?? 0;
  for (let next = newest + 1; next <= version; next++) {
    for (const statement of MIGRATIONS[next - 1]) await old.sql(statement);
    await old.sql(
      'INSERT INTO schema_version VALUES (?, ?, ?)',
      next,
      Date.now(),
      `version ${next}`,
    );
  }
  return old;
}
