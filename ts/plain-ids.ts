import { limits } from './limits.js';
import { OwedReplies } from './owed-replies.js';

/**
 * The ids of the newest plain messages of a connection, in their order. Nothing is looked up among
 * them before a message is sent with an acknowledgement, if ever: adding one has to cost nothing.
 */
export class PlainIds {
  #ids: unknown[] = [];
  /** How many before the first one were forgotten. */
  #forgotten = 0;

  sentPlain(id: unknown): void {
    // JSON has no form for a function or a symbol, so that there is no reply.
    if (!id || typeof id === 'function' || typeof id === 'symbol') return;
    // That to an object counts, and is not recognised; see `OwedReplies`.
    this.#ids.push(typeof id === 'object' ? undefined : id);
    const max = limits.unansweredIdsMax;
    if (this.#ids.length < 2 * max) return;
    this.#ids = this.#ids.slice(max);
    this.#forgotten += max;
  }

  /** The replies that may still come when so many have; they are taken for those to the first. */
  owed(answered: number): OwedReplies {
    const owed = new OwedReplies(2 * limits.unansweredIdsMax);
    for (const id of this.#ids.slice(Math.max(0, answered - this.#forgotten))) owed.add(id);
    return owed;
  }
}
