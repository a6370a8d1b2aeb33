import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  idsOf,
  makeFolder,
  message,
  messages,
  noPython,
  ORIGINAL_SCHEMA,
  openQueue,
  startOld,
} from './support/queue.mjs';

const INSERT =
  'INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES (?, ?, ?, ?)';
/** What the original's `dequeue` and `markProcessed` execute. */
const SELECT =
  'SELECT message_id, type, payload, timestamp FROM message_queue WHERE processed = 0 ORDER BY timestamp LIMIT ?';
const MARK =
  "UPDATE message_queue SET processed = 1, processed_at = strftime('%s', 'now') WHERE message_id = ?";

/** A file of the original package with two pending rows and a processed one, still open there. */
async function originalFile(t) {
  const dbPath = join(makeFolder(t), 'queue.db');
  const old = await startOld(t, dbPath);
  await old.sql('PRAGMA journal_mode = DELETE');
  await old.sql('PRAGMA synchronous = FULL');
  for (const statement of ORIGINAL_SCHEMA) await old.sql(statement);
  for (const [id, timestamp] of [
    ['b', 2],
    ['a', 1],
    ['done', 3],
  ]) {
    await old.sql(INSERT, id, 'test', `{"id": "${id}"}`, timestamp);
  }
  await old.sql(MARK, 'done');
  return { dbPath, old };
}

describe('a rolling upgrade', { skip: noPython }, () => {
  test('rows stay, and old and new processes go on together', async (t) => {
    const { dbPath, old } = await originalFile(t);
    const queue = openQueue(t, { dbPath });
    assert.deepEqual(queue.dequeue(), [
      { id: 'a', type: 'test', payload: { id: 'a' }, timestamp: 1 },
      { id: 'b', type: 'test', payload: { id: 'b' }, timestamp: 2 },
    ]);
    assert.equal(queue.stats().processed, 1);

    await old.sql(INSERT, 'old', 'test', '{}', 4);
    queue.enqueue(message('new', { timestamp: 5 }));
    await queue.enqueueAsync(message('async', { timestamp: 6 }));
    const seen = ['a', 'b', 'old', 'new', 'async'];
    assert.deepEqual(idsOf(queue.dequeue()), seen);
    assert.deepEqual(
      (await old.sql(SELECT, 50)).map(([id]) => id),
      seen,
    );

    await old.sql(MARK, 'a');
    queue.markProcessed('b');
    assert.deepEqual(idsOf(queue.dequeue()), seen.slice(2));
    assert.deepEqual(
      (await old.sql(SELECT, 50)).map(([id]) => id),
      seen.slice(2),
    );

    queue.close();
    await old.sql(INSERT, 'later', 'test', '[]', 7);
    assert.equal(await old.value('PRAGMA integrity_check'), 'ok');
    assert.equal(await old.value('PRAGMA user_version'), 0);
    assert.equal(await old.value('PRAGMA application_id'), 0);
    const fresh = await startOld(t, dbPath);
    assert.equal((await fresh.sql(SELECT, 50)).length, 4, 'an old process that starts now');
  });

  test('a file of an old process can be opened while it writes', async (t) => {
    const { dbPath, old } = await originalFile(t);
    await old.sql('BEGIN IMMEDIATE');
    await old.sql(INSERT, 'c', 'test', '{}', 3);
    // Answered by the old process while we wait for its lock.
    const committed = old.sql('COMMIT');
    const queue = openQueue(t, { dbPath });
    await committed;
    assert.deepEqual(idsOf(queue.dequeue()), ['a', 'b', 'c']);
  });

  test('an old process may mark, delete and insert again what we hold', async (t) => {
    const { dbPath, old } = await originalFile(t);
    const queue = openQueue(t, { dbPath });
    const [a, b] = queue.claim();
    assert.equal((await old.sql(SELECT, 50)).length, 2, 'old processes know no claims');
    await old.sql(MARK, 'a');
    assert.equal(queue.complete(a), true, 'the work is done, whoever said so');
    await old.sql("DELETE FROM message_queue WHERE message_id = 'b'");
    await old.sql(INSERT, 'b', 'test', '"again"', 9);
    queue.release(b);
    const [again] = queue.claim();
    assert.deepEqual(again.message, message('b', { payload: 'again', timestamp: 9 }));
    assert.equal(queue.complete(again), true);
    assert.equal(await old.value('PRAGMA integrity_check'), 'ok');
  });

  test('extra columns, tables, indexes and a higher schema version are tolerated', async (t) => {
    const { dbPath, old } = await originalFile(t);
    const more = [
      'ALTER TABLE message_queue ADD COLUMN extra TEXT',
      'CREATE TABLE other (x)',
      'CREATE INDEX idx_other ON message_queue (type)',
      'CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER, description TEXT)',
      'INSERT INTO schema_version VALUES (99, 0, NULL)',
    ];
    for (const statement of more) await old.sql(statement);
    const queue = openQueue(t, { dbPath });
    queue.enqueue(message('c', { timestamp: 9 }));
    assert.deepEqual(idsOf(queue.dequeue()), ['a', 'b', 'c']);
    assert.equal(await old.value('SELECT version FROM schema_version'), 99);
  });

  test('a new file can be used by an old process', async (t) => {
    const queue = openQueue(t);
    queue.enqueueMany(messages(3));
    const old = await startOld(t, queue.dbPath);
    assert.equal((await old.sql(SELECT, 50)).length, 3);
    await old.sql(INSERT, 'old', 'test', '{}', 0);
    assert.equal(queue.dequeue()[0].id, 'old');
    assert.equal(await old.value('PRAGMA journal_mode'), 'wal');
    assert.equal(await old.value('PRAGMA user_version'), 0);
    const columns = await old.sql(
      'SELECT name, type, "notnull", pk FROM pragma_table_info(\'message_queue\')',
    );
    assert.deepEqual(columns, [
      ['message_id', 'TEXT', 0, 1],
      ['type', 'TEXT', 1, 0],
      ['payload', 'TEXT', 1, 0],
      ['timestamp', 'INTEGER', 1, 0],
      ['processed', 'INTEGER', 0, 0],
      ['processed_at', 'INTEGER', 0, 0],
      ['created_at', 'INTEGER', 0, 0],
    ]);
    const stored = await old.sql(
      'SELECT typeof(timestamp), typeof(payload), created_at FROM message_queue',
    );
    for (const [timestamp, payload, createdAt] of stored) {
      assert.deepEqual([timestamp, payload], ['integer', 'text']);
      assert.ok(Math.abs(createdAt - Date.now() / 1000) < 60);
    }
  });
});

describe('rows that cannot be read', { skip: noPython }, () => {
  const corrupt = [
    ['broken JSON', 'x1', 'test', '{"a":', 1],
    ['no JSON at all', 'x2', 'test', 'text', 1],
    ['an empty payload', 'x3', 'test', '', 1],
    ['two values', 'x4', 'test', '1 2', 1],
    ['a payload that is no UTF-8', 'x5', 'test', { hex: '22ff22' }, 1],
    ['a number as payload', 'x6', 'test', { hex: 'ff' }, 1],
    ['a timestamp of text', 'x7', 'test', '{}', 'soon'],
    ['an infinite timestamp', 'x8', 'test', '{}', Number.MAX_VALUE],
    ['an id that is no text', { hex: '00ff' }, 'test', '{}', 1],
    ['a type that is no text', 'x9', { hex: 'ff' }, '{}', 1],
    ['no id', null, 'test', '{}', 1],
  ];

  async function withCorruptRows(t) {
    const queue = openQueue(t);
    queue.enqueueMany(messages(3));
    const old = await startOld(t, queue.dbPath);
    for (const [, ...row] of corrupt) await old.sql(INSERT, ...row);
    await old.sql("UPDATE message_queue SET timestamp = 9e999 WHERE message_id = 'x8'");
    return { queue, old };
  }

  for (const take of ['dequeue', 'claim']) {
    test(`are set aside one by one by ${take}`, async (t) => {
      const { queue, old } = await withCorruptRows(t);
      const taken = take === 'dequeue' ? queue.dequeue(2) : queue.claim({ limit: 2 });
      assert.deepEqual(idsOf(taken), ['m0', 'm1']);
      queue.dequeue();
      const letters = queue.deadLetters();
      assert.equal(letters.length, corrupt.length);
      for (const { message, raw, reason, error, attempts } of letters) {
        assert.deepEqual([message, reason, attempts], [null, 'corrupt', 0]);
        assert.ok(raw !== null && typeof error === 'string' && error.length > 0);
      }
      const broken = letters.find(({ id }) => id === 'x1');
      assert.deepEqual(broken.raw, { id: 'x1', type: 'test', payload: '{"a":', timestamp: 1 });
      assert.deepEqual(letters.filter(({ id }) => id === null).length, 2);
      assert.equal(queue.stats().dead, corrupt.length);
      assert.equal(await old.value('SELECT count(*) FROM message_queue'), corrupt.length + 3);
      assert.deepEqual(
        (await old.sql(SELECT, 50)).map(([id]) => id),
        ['m0', 'm1', 'm2'],
      );
    });
  }

  test('stay when redriven, until they were mended', async (t) => {
    const { queue, old } = await withCorruptRows(t);
    queue.dequeue();
    assert.equal(queue.redrive(), 0);
    await old.sql("UPDATE message_queue SET payload = '{\"a\":1}' WHERE message_id = 'x1'");
    assert.equal(queue.redrive(['x1', 'x2']), 1);
    assert.deepEqual(queue.dequeue().find(({ id }) => id === 'x1').payload, { a: 1 });
    assert.equal(queue.purgeDeadLetters(), corrupt.length - 1);
    assert.equal(queue.stats().dead, 0);
  });

  test('a thousand of them hide nothing', async (t) => {
    const queue = openQueue(t);
    queue.enqueue(message('good', { timestamp: 1000 }));
    const old = await startOld(t, queue.dbPath);
    await old.sql(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
       INSERT INTO message_queue (message_id, type, payload, timestamp)
       SELECT 'bad' || i, 'test', '{', i % 900 FROM n`,
    );
    assert.deepEqual(idsOf(queue.claim({ limit: 5 })), ['good']);
    assert.equal(queue.stats().dead, 2500);
  });
});
