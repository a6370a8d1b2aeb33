import type { Outbox } from './outbox.js';

/**
 * What all clients of a process send in one tick is not kept for its end beyond this, in UTF-16
 * units, or bytes of values: the receivers can begin meanwhile, and the text is gone before V8 copies it as a survivor.
 */
const BURST_LENGTH_MAX = 256 * 1024;

/** The outboxes that wait for the end of the tick, and the length of their text. */
const outboxes = new Set<Outbox>();
let length = 0;

/** Notes that `outbox` was given `added` units or bytes, and sends everything that is too much. */
export function pace(outbox: Outbox, added: number): void {
  // A promise job, because test runners may replace `nextTick` and `queueMicrotask`.
  if (outboxes.size === 0) SETTLED.then(end);
  outboxes.add(outbox);
  length += added;
  if (length <= BURST_LENGTH_MAX) return;
  // Each tells its own senders of a failure, and does not throw.
  for (const each of outboxes) each.flush();
  length = 0;
}

function end(): void {
  outboxes.clear();
  length = 0;
}

const SETTLED = Promise.resolve();
