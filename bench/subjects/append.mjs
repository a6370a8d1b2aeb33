// The floor of a durable commit: as many bytes as ours writes to its log, and one `fdatasync`. The
// file grows; with `overwrite`, it goes round in a file of the size of a log between checkpoints.
import { closeSync, fdatasyncSync, mkdirSync, openSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { openQueue as openOurs } from './ours.mjs';

/** A thousand pages, after which a log begins anew. */
const LOG_BYTES = 4 * 1024 * 1024;
const WAL_HEADER_BYTES = 32;
const SAMPLES = 50;

export function openFile(dbPath, messages, overwrite) {
  const bytes = logBytes(join(dirname(dbPath), 'sample', 'q.db'), messages);
  const file = openSync(dbPath, 'w');
  const block = Buffer.alloc(bytes, 'x');
  if (overwrite) {
    for (let at = 0; at < LOG_BYTES; at += bytes) writeSync(file, block, 0, bytes, at);
    fdatasyncSync(file);
  }
  let at = 0;
  return {
    bytes,
    append() {
      writeSync(file, block, 0, bytes, at);
      fdatasyncSync(file);
      at += bytes;
      if (overwrite && at + bytes > LOG_BYTES) at = 0;
    },
    close: () => closeSync(file),
  };
}

/** What one `enqueue` of such messages adds to the log, on average. */
function logBytes(dbPath, messages) {
  mkdirSync(dirname(dbPath));
  const { queue } = openOurs(dbPath);
  const enqueue = (from, count) => {
    for (let index = from; index < from + count; index++) {
      const { type, payload, timestamp } = messages[index % messages.length];
      queue.enqueue({ id: `sample-${index}`, type, payload, timestamp });
    }
  };
  const size = () => statSync(`${dbPath}-wal`).size;
  queue.compact();
  enqueue(0, 1);
  const before = Math.max(size(), WAL_HEADER_BYTES);
  enqueue(1, SAMPLES);
  const bytes = Math.round((size() - before) / SAMPLES);
  queue.close();
  return bytes;
}
