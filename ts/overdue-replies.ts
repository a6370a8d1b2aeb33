import { Fifo } from './fifo.js';
import { limits } from './limits.js';

const REPLY_LOOKS = limits.legacyReplyMs / limits.helloPollMs;

/** Which replies of an old server are overdue: looks at it are counted, not time. */
export class OverdueReplies {
  /** Looks at which it had read everything. */
  #looks = 0;
  /** Up to which number it had, and at which of these looks that was seen first. */
  readonly #reads = new Fifo<{ read: number; look: number }>();
  #readThrough = 0;
  #overdueThrough = 0;

  /** The server has read everything, up to this number. Returns up to which one replies are overdue. */
  look(read: number): number {
    const look = ++this.#looks;
    if (read > this.#readThrough) {
      this.#readThrough = read;
      this.#reads.push({ read, look });
    }
    for (
      let first = this.#reads.peek();
      first !== undefined && look - first.look >= REPLY_LOOKS;
      first = this.#reads.peek()
    ) {
      this.#overdueThrough = first.read;
      this.#reads.shift();
    }
    return this.#overdueThrough;
  }
}
