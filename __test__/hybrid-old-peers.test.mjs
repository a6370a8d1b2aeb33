// What peers of the original package see of a consumer, and it of them: bytes on the socket, and
// rows in the file. Nothing of it may be new to them. For the publisher see hybrid-legacy.test.mjs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HybridConsumer, HybridPublisher } from '../features/hybrid/index.mjs';
import { messageOf } from './crash/ledger.mjs';
import { noPython, ORIGINAL_SCHEMA, startOld } from './support/queue.mjs';
import { folder, frame, json, plainClient, until } from './support/socket.mjs';

const MESSAGES = Array.from({ length: 20 }, (_, index) => ({
  ...messageOf(`m${index}`),
  timestamp: index + 1,
}));

/** What a value is once it has been JSON. */
const plain = (value) => JSON.parse(JSON.stringify(value));

function paths(t) {
  const path = folder(t);
  return { socketPath: path('ipc.sock'), dbPath: path('queue.db') };
}

function publisherOf(t, options) {
  const publisher = new HybridPublisher(options);
  t.after(() => publisher.close({ deadlineMs: 0 }));
  return publisher;
}

async function consumerOf(t, options) {
  const consumer = new HybridConsumer({ pollInterval: 20, ...options });
  t.after(() => consumer.stop({ deadlineMs: 0 }));
  consumer.on('error', () => {});
  await consumer.start();
  return consumer;
}

/** The bytes that arrive at a socket. */
function bytesOf(socket) {
  const chunks = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  return () => Buffer.concat(chunks);
}

/** The original's statements. */
const SELECT = `SELECT message_id, type, payload, timestamp FROM message_queue
  WHERE processed = 0 ORDER BY timestamp ASC LIMIT ?`;
const MARK = `UPDATE message_queue SET processed = 1, processed_at = strftime('%s', 'now')
  WHERE message_id = ?`;
const INSERT =
  'INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES (?, ?, ?, ?)';

test('an old client receives nothing from a consumer', async (t) => {
  const options = paths(t);
  const handled = [];
  await consumerOf(t, {
    ...options,
    onMessage: (message) => {
      handled.push(message);
      if (message.fails) throw new Error('not this one');
    },
  });
  const { socket } = await plainClient(t, options.socketPath);
  const bytes = bytesOf(socket);
  const sent = [...MESSAGES, { id: 'f', fails: true }, { noId: 1, $ipc: { hello: {} } }, 7, 'text'];
  for (const message of sent) socket.write(json(message));
  socket.write(frame('{ malformed'));
  socket.write(json('last'));
  await until(() => handled.length === sent.length + 1, 'all messages');
  // Half-closed, and closed by the other side when it has nothing more to say.
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.end();
  await closed;
  assert.equal(bytes().length, 0);
  assert.deepEqual(handled, [...plain(sent), 'last']);
});

test('what an old poller has marked is not delivered again', { skip: noPython }, async (t) => {
  const options = paths(t);
  const publisher = publisherOf(t, options);
  await publisher.publishMany(MESSAGES);
  const old = await startOld(t, options.dbPath);
  for (const { id } of MESSAGES.slice(0, 15)) await old.sql(MARK, id);
  const handled = [];
  await consumerOf(t, { ...options, onMessage: ({ id }) => handled.push(id) });
  await until(() => handled.length === 5, 'the rest');
  await until(async () => (await old.sql(SELECT, 100)).length === 0, 'all marks');
  assert.deepEqual(
    handled.sort(),
    MESSAGES.slice(15)
      .map(({ id }) => id)
      .sort(),
  );
  await old.end();
});

test('a consumer takes the rows of an old publisher, whose file it is', {
  skip: noPython,
}, async (t) => {
  const options = paths(t);
  const old = await startOld(t, options.dbPath);
  for (const statement of ORIGINAL_SCHEMA) await old.sql(statement);
  const insert = ({ id, type, payload, timestamp }) =>
    old.sql(INSERT, id, type, JSON.stringify(payload), timestamp);
  for (const message of MESSAGES.slice(0, 10)) await insert(message);
  const handled = [];
  await consumerOf(t, { ...options, onMessage: (message) => handled.push(message) });
  // Also while the consumer has the file open.
  for (const message of MESSAGES.slice(10)) await insert(message);
  await until(() => handled.length === MESSAGES.length, 'all rows');
  handled.sort((one, other) => one.timestamp - other.timestamp);
  assert.deepEqual(handled, plain(MESSAGES));
  await until(async () => (await old.sql(SELECT, 100)).length === 0, 'all marks');
  await old.end();
});
