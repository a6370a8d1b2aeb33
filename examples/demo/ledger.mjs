// The oracle of the demonstration: what was sent and what was handled, each written down by the
// process that did it, and compared at the end by one that did neither.
import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { performance } from 'node:perf_hooks';

/** Milliseconds since 1970 with fractions, comparable between the processes of one machine. */
export function now() {
  return performance.timeOrigin + performance.now();
}

/** By which a candle is recognised that arrived under the right id, but changed. */
export function digest(json) {
  return createHash('sha1').update(json).digest('base64');
}

/**
 * An append-only file with one JSON value per line. `append()` returns when the kernel has the
 * line, from where it survives the death of every process; the demonstration kills processes,
 * not the machine.
 */
export class Ledger {
  #file;

  constructor(path) {
    // A process that is killed while it writes may leave half a line. What it says did not
    // happen for anybody, and the next line must not become part of it.
    if (existsSync(path)) truncateSync(path, completeLines(readFileSync(path)).length);
    this.#file = openSync(path, 'a', 0o600);
  }

  append(entry) {
    const line = Buffer.from(`${JSON.stringify(entry)}\n`);
    let written = 0;
    while (written < line.length) written += writeSync(this.#file, line, written);
  }

  close() {
    closeSync(this.#file);
  }
}

/** The entries of a ledger; none if nobody has begun it. */
export function readLedger(path) {
  if (!existsSync(path)) return [];
  const lines = completeLines(readFileSync(path)).toString().split('\n');
  return lines.slice(0, -1).map((line) => JSON.parse(line));
}

function completeLines(bytes) {
  return bytes.subarray(0, bytes.lastIndexOf(10) + 1);
}

/**
 * Compares what was sent, `{ id, digest }`, with what was handled, `{ id, digest, via }` or
 * `{ id, via, duplicate: true }` for what the gate dropped. The lists hold ids:
 *
 * - `lost`: sent and never handled;
 * - `repeated`: handled more than once, past the gate;
 * - `altered`: handled with another content than was sent;
 * - `unexpected`: handled and never sent.
 */
export function compare(sent, handled) {
  const unhandled = new Map(sent.map(({ id, digest }) => [id, digest]));
  const digests = new Map(unhandled);
  const verdict = { lost: [], repeated: [], altered: [], unexpected: [] };
  const received = { socket: 0, queue: 0 };
  let duplicates = 0;
  for (const { id, via, digest, duplicate } of handled) {
    if (duplicate) {
      duplicates++;
    } else if (!digests.has(id)) {
      verdict.unexpected.push(id);
    } else if (!unhandled.has(id)) {
      verdict.repeated.push(id);
    } else {
      unhandled.delete(id);
      received[via]++;
      if (digests.get(id) !== digest) verdict.altered.push(id);
    }
  }
  verdict.lost.push(...unhandled.keys());
  const ok = Object.values(verdict).every((ids) => ids.length === 0);
  return { ok, received, duplicates, ...verdict };
}
