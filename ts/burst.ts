import type { Outbox } from './outbox.js';

/**
 * What all clients of a process send in one tick is not kept for its end beyond this, in UTF-16
 * units, or bytes of values: the receivers can begin meanwhile, and the text is gone before V8 copies it as a survivor.
 */
const BURST_LENGTH_MAX = 256 * 1024;

/** The outboxes that were given something in this round, and the length of all of it. */
let outboxes: Outbox[] = [];
let length = 0;
let round = 0;

/** What the outboxes of all clients have in common. A round begins with the first of them that is given something. */
export interface Burst {
  /** `outbox` was given so many units, or bytes. Sends everything that waits if it is too much. */
  add(outbox: Outbox, added: number): void;
  /** `outbox` sends what waited for the end of the tick. With the first one of a round that ends. */
  end(outbox: Outbox): void;
}

export const burst: Burst = {
  add(outbox, added) {
    if (outbox.round !== round) {
      outbox.round = round;
      outboxes.push(outbox);
    }
    length += added;
    if (length <= BURST_LENGTH_MAX) return;
    length = 0;
    // Each tells its own senders of a failure, and does not throw.
    for (const each of outboxes) each.flush();
  },

  end(outbox) {
    if (outboxes[0] !== outbox) return;
    outboxes = [];
    length = 0;
    round++;
  },
};
