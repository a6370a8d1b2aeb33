// The same work written plainly on node:net, better-sqlite3 and zod 3, the way the TypeScript
// package does it: one buffer, one write and one promise a message, `Buffer.concat` to put frames
// together again, one statement and one commit a row in rollback-journal mode.
import { connect as connectTo, createServer } from 'node:net';
import { openDatabase, peer } from '../lib/peers.mjs';

function frame(message) {
  const body = Buffer.from(JSON.stringify(message), 'utf8');
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length, 0);
  return Buffer.concat([header, body]);
}

/** Calls `onFrame` with every message that arrives on a socket. */
function readFrames(socket, onFrame) {
  let buffer = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    buffer = Buffer.concat([buffer, chunk]);
    while (buffer.length >= 4) {
      const length = buffer.readUInt32BE(0);
      if (buffer.length < 4 + length) break;
      const body = buffer.subarray(4, 4 + length).toString('utf8');
      buffer = buffer.subarray(4 + length);
      onFrame(JSON.parse(body));
    }
  });
}

function write(socket, message) {
  return new Promise((resolve, reject) => {
    socket.write(frame(message), (error) => (error ? reject(error) : resolve()));
  });
}

export function listen(socketPath, { onMessage, onRequest }) {
  const handle = async (socket, message) => {
    try {
      if (!onRequest) return await onMessage(message);
      const result = await onRequest(message);
      if (message.id && result !== undefined) socket.write(frame({ id: message.id, ...result }));
    } catch (error) {
      console.error(error);
    }
  };
  const server = createServer((socket) => {
    socket.on('error', console.error);
    readFrames(socket, (message) => handle(socket, message));
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, resolve);
  });
}

export function connect(socketPath) {
  const waiting = new Map();
  const socket = connectTo(socketPath);
  readFrames(socket, (reply) => {
    waiting.get(reply.id)?.(reply);
    waiting.delete(reply.id);
  });
  const client = {
    send: (message) => write(socket, message),
    request(message) {
      const reply = new Promise((resolve) => waiting.set(message.id, resolve));
      return write(socket, message).then(() => reply);
    },
  };
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('connect', () => resolve(client));
  });
}

const SCHEMA = `
CREATE TABLE IF NOT EXISTS message_queue (message_id TEXT PRIMARY KEY, type TEXT NOT NULL,
  payload TEXT NOT NULL, timestamp INTEGER NOT NULL, processed INTEGER DEFAULT 0,
  processed_at INTEGER, created_at INTEGER DEFAULT (strftime('%s', 'now')));
CREATE INDEX IF NOT EXISTS idx_message_queue_processed ON message_queue(processed, timestamp);
CREATE INDEX IF NOT EXISTS idx_message_queue_cleanup ON message_queue(processed, processed_at);`;

export async function openQueue(dbPath) {
  const { z } = await peer('zod');
  const schema = z.object({
    id: z.string().min(1),
    type: z.string().min(1),
    payload: z.any(),
    timestamp: z.number().positive(),
  });
  const db = await openDatabase(dbPath);
  db.pragma('journal_mode = DELETE');
  db.pragma('synchronous = FULL');
  db.pragma('busy_timeout = 5000');
  db.exec(SCHEMA);
  const insert = db.prepare(
    'INSERT INTO message_queue (message_id, type, payload, timestamp) VALUES (?, ?, ?, ?)',
  );
  const select = db.prepare(`SELECT message_id, type, payload, timestamp FROM message_queue
    WHERE processed = 0 ORDER BY timestamp ASC LIMIT ?`);
  const update = db.prepare(`UPDATE message_queue
    SET processed = 1, processed_at = strftime('%s', 'now') WHERE message_id = ?`);

  const enqueue = (message) => {
    const { id, type, payload, timestamp } = schema.parse(message);
    insert.run(id, type, JSON.stringify(payload), timestamp);
  };
  const dequeue = (limit) =>
    select
      .all(limit)
      .map(({ message_id, type, payload, timestamp }) =>
        schema.parse({ id: message_id, type, payload: JSON.parse(payload), timestamp }),
      );
  return {
    enqueue,
    /** Not part of what is measured: makes a backlog in one transaction. */
    fill: db.transaction((messages) => messages.forEach(enqueue)),
    drains: {
      async dequeue(handle) {
        for (;;) {
          const messages = dequeue(50);
          if (messages.length === 0) return;
          for (const message of messages) {
            handle(message);
            update.run(message.id);
          }
        }
      },
    },
    dequeue,
  };
}

export async function startPoller(dbPath) {
  const { dequeue } = await openQueue(dbPath);
  setInterval(() => dequeue(50), 1000);
}
