// The publisher and processes of the original package: what they see, and what can be promised.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { paths, publisherOf, stored } from './support/hybrid.mjs';
import { noPython, startOld } from './support/queue.mjs';
import { oldServer, until } from './support/socket.mjs';

const messages = (count) =>
  Array.from({ length: count }, (_, n) => ({
    id: `m${n}`,
    type: 'candle',
    payload: { n, text: 'ä' },
    timestamp: n + 1,
  }));

test('a server that sends no replies: received, and its frames mean the same', async (t) => {
  const where = paths(t);
  const texts = await oldServer(t, where);
  const { publisher, events } = publisherOf(t, { ...where, spillAfterMs: 30_000 });
  const receipts = await publisher.publishMany(messages(200));
  assert.ok(receipts.every(({ via, level }) => via === 'socket' && level === 'received'));
  assert.deepEqual(
    texts,
    messages(200).map((message) => `${JSON.stringify(message)}\t \t`),
  );
  assert.deepEqual(
    texts.map((text) => JSON.parse(text)),
    messages(200),
  );
  assert.deepEqual([events, stored(where)], [[], []]);
});

test('what waits for room is not taken for read together with what made it', async (t) => {
  const where = paths(t);
  const texts = await oldServer(t, where);
  const { publisher } = publisherOf(t, { ...where, spillAfterMs: 30_000, maxPending: 1 });
  for (const { level } of await publisher.publishMany(messages(2).slice(0, 2))) {
    assert.equal(level, 'received');
  }
  assert.equal(texts.length, 2);
});

test('the same server is passed over where that is not enough', async (t) => {
  const where = paths(t);
  await oldServer(t, where);
  const { publisher, events } = publisherOf(t, {
    ...where,
    spillAfterMs: 30_000,
    legacyServer: 'queue',
  });
  const receipts = await publisher.publishMany(messages(3));
  assert.ok(receipts.every(({ level }) => level === 'durable'));
  assert.deepEqual(events[0], ['failover', 'ERR_IPC_NOT_ACKNOWLEDGED']);
  assert.equal((await publisher.publish({ type: 'later' })).via, 'queue');
  assert.equal(stored(where).length, 4);
});

test('a server that replies: its reply accepts or refuses', async (t) => {
  const where = paths(t);
  const texts = await oldServer(t, where, ({ id, payload: { n } }) =>
    n % 2 === 0 ? { id, success: true } : { id, success: false, error: 'odd' },
  );
  const { publisher } = publisherOf(t, where);
  const receipts = await publisher.publishMany(messages(10));
  assert.deepEqual(
    receipts.map(({ via, level }) => `${via} ${level}`),
    messages(10).map((_, n) => (n % 2 === 0 ? 'socket handled' : 'queue durable')),
  );
  assert.equal(texts.length, 10);
  assert.deepEqual(
    stored(where),
    messages(10).filter((_, n) => n % 2 === 1),
  );
});

test('an old poller reads the rows of the publisher as its own', { skip: noPython }, async (t) => {
  const where = paths(t);
  const { publisher } = publisherOf(t, where);
  await publisher.publishMany(messages(5));
  const old = await startOld(t, where.dbPath);
  const rows = await old.sql(
    `SELECT message_id, type, payload, timestamp, processed, processed_at, typeof(created_at)
     FROM message_queue WHERE processed = 0 ORDER BY timestamp ASC LIMIT 50`,
  );
  assert.deepEqual(
    rows,
    messages(5).map(({ id, type, payload, timestamp }) => [
      id,
      type,
      JSON.stringify(payload),
      timestamp,
      0,
      null,
      'integer',
    ]),
  );
  await old.sql(
    "UPDATE message_queue SET processed = 1, processed_at = strftime('%s','now') WHERE message_id = ?",
    'm0',
  );
  await until(() => stored(where).length === 4);
  // Publishing it again finds it processed: accepted, and not delivered again.
  assert.equal((await publisher.publish(messages(1)[0])).via, 'queue');
  assert.equal(stored(where).length, 4);
});
