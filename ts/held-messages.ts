import type { Unacknowledged } from './ack-sender.js';
import { Fifo } from './fifo.js';

/** Abandoned messages that may stay among the others before they are looked for. */
const ABANDONED_MIN = 64;

/** Messages that wait for room in the window of a connection, in their order. */
export class HeldMessages {
  #fifo = new Fifo<Unacknowledged>();
  #abandoned = 0;
  #length = 0;

  /** Those that somebody waits for. */
  get size(): number {
    return this.#fifo.size - this.#abandoned;
  }

  /** The length of their texts. */
  get length(): number {
    return this.#length;
  }

  push(message: Unacknowledged): void {
    message.holder = this;
    this.#length += message.length;
    this.#fifo.push(message);
  }

  /** The first that somebody waits for, left where it is. */
  peek(): Unacknowledged | undefined {
    let first = this.#fifo.peek();
    while (first?.isAbandoned) {
      this.#fifo.shift();
      this.#abandoned--;
      first = this.#fifo.peek();
    }
    return first;
  }

  shift(): Unacknowledged | undefined {
    const first = this.peek();
    if (first === undefined) return undefined;
    this.#fifo.shift();
    this.#release(first);
    return first;
  }

  /** Nobody waits for this one any more. */
  abandoned(message: Unacknowledged): void {
    this.#release(message);
    this.#abandoned++;
    // Not one by one: where one ran out of time, the others are about to.
    if (this.#abandoned < ABANDONED_MIN || this.#abandoned * 2 < this.#fifo.size) return;
    const fifo = new Fifo<Unacknowledged>();
    for (let next = this.#fifo.shift(); next !== undefined; next = this.#fifo.shift()) {
      if (!next.isAbandoned) fifo.push(next);
    }
    this.#fifo = fifo;
    this.#abandoned = 0;
  }

  #release(message: Unacknowledged): void {
    message.holder = undefined;
    this.#length -= message.length;
  }
}

/** Says that nobody waits for a message any more. If it has not left yet, it is not sent. */
export function abandon(message: Unacknowledged): void {
  if (message.isAbandoned) return;
  message.isAbandoned = true;
  message.holder?.abandoned(message);
}
