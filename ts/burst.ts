import type { Outbox } from './outbox.js';

/**
 * What all clients of a process send in one tick is not kept for its end beyond this, in UTF-16
 * units, or bytes of values: the receivers can begin meanwhile, and the text is gone before V8 copies it as a survivor.
 */
const BURST_LENGTH_MAX = 256 * 1024;

/** The outboxes that were given something in this tick, and the length of all of it. */
let outboxes: Outbox[] = [];
let length = 0;

/** What the outboxes of all clients have in common. */
export interface Burst {
  /** `outbox` is given something, for the first time in this tick. */
  join(outbox: Outbox): void;
  /** One of them was given so many units, or bytes. Sends everything that waits if it is too much. */
  add(added: number): void;
  /** The tick ends: each outbox sends what it has. */
  end(): void;
}

export const burst: Burst = {
  join(outbox) {
    outboxes.push(outbox);
  },

  add(added) {
    length += added;
    if (length <= BURST_LENGTH_MAX) return;
    length = 0;
    // Each tells its own senders of a failure, and does not throw.
    for (const each of outboxes) each.flush();
  },

  end() {
    // The first one says it for all.
    if (outboxes.length > 0) outboxes = [];
    length = 0;
  },
};
