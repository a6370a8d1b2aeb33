import type { DeliveryStore } from './delivery-store.js';
import { limits } from './limits.js';

/** The ids of one key: on their way into the queue, and in it, oldest first. */
interface Ids {
  readonly storing: Set<string>;
  readonly stored: Set<string>;
}

/**
 * Which keys have messages in the queue that are not handled yet, so that later messages of the
 * same key follow them there instead of overtaking them on the socket.
 */
export class OrderBacklog {
  readonly #store: DeliveryStore;
  readonly #keys = new Map<string, Ids>();
  /** The newest row that was there before us, whose keys nobody knows; 0 when all are handled. */
  #before: number;
  /** Ids in all the sets of stored ones. */
  #storedCount = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waitMs: number = limits.orderPollMs;

  constructor(store: DeliveryStore) {
    this.#store = store;
    this.#before = store.newestPending();
    if (this.#before > 0) this.#lookLater();
  }

  /** Whether a message of this key has to follow others into the queue. */
  has(key: string): boolean {
    return this.#before > 0 || this.#keys.has(key);
  }

  /** A message goes to the queue. */
  add(key: string, id: string): void {
    let ids = this.#keys.get(key);
    if (ids === undefined) {
      ids = { storing: new Set(), stored: new Set() };
      this.#keys.set(key, ids);
    }
    ids.storing.add(id);
    this.#lookSoon();
  }

  /** It is there. */
  stored(key: string, id: string): void {
    const ids = this.#keys.get(key);
    if (!ids?.storing.delete(id)) return;
    ids.stored.add(id);
    this.#storedCount++;
    if (this.#storedCount > limits.orderIdsMax) this.#forgetIds();
  }

  /** Until all that is there now is handled, every key counts as having messages there. */
  #forgetIds(): void {
    try {
      this.#before = this.#store.newestPending();
    } catch {
      // The file is busy: the next message tries again.
      return;
    }
    for (const [key, ids] of this.#keys) {
      ids.stored.clear();
      this.#dropIfEmpty(key, ids);
    }
    this.#storedCount = 0;
  }

  /** It did not get there, or was handled meanwhile. */
  remove(key: string, id: string): void {
    const ids = this.#keys.get(key);
    if (ids === undefined) return;
    ids.storing.delete(id);
    if (ids.stored.delete(id)) this.#storedCount--;
    this.#dropIfEmpty(key, ids);
  }

  #dropIfEmpty(key: string, { storing, stored }: Ids): void {
    if (storing.size === 0 && stored.size === 0) this.#keys.delete(key);
  }

  /** Looks no more. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Something happens: the next look does not wait for long. */
  #lookSoon(): void {
    if (this.#waitMs > limits.orderPollMs) this.end();
    this.#waitMs = limits.orderPollMs;
    this.#lookLater();
  }

  #lookLater(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      let hasChanged = false;
      try {
        hasChanged = this.#look();
      } catch {
        // The file is busy or broken: the keys stay in the queue, which is always right.
      }
      this.#waitMs = hasChanged
        ? limits.orderPollMs
        : Math.min(this.#waitMs * 2, limits.orderPollMsMax);
      if (this.#before > 0 || this.#keys.size > 0) this.#lookLater();
    }, this.#waitMs);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  /** Asks for a bounded number of messages, because it holds the event loop. Whether one is gone. */
  #look(): boolean {
    const hadBefore = this.#before > 0;
    if (hadBefore && !this.#store.hasPendingUpTo(this.#before)) this.#before = 0;
    // The first message of a key is handled first: the others need not be asked for.
    const firsts = new Map<string, string>();
    for (const [key, { stored }] of this.#nextKeys()) {
      for (const id of stored) {
        firsts.set(id, key);
        break;
      }
    }
    const movedOn = this.#gone([...firsts.keys()]).map((id) => firsts.get(id) as string);
    this.#forgetHandled(movedOn);
    return movedOn.length > 0 || (hadBefore && this.#before === 0);
  }

  /** So many as one look asks for; keys take turns when there are more. */
  #nextKeys(): [string, Ids][] {
    const next: [string, Ids][] = [];
    for (const entry of this.#keys) {
      next.push(entry);
      if (next.length === limits.orderPollKeys) break;
    }
    for (const [key, ids] of next) {
      this.#keys.delete(key);
      this.#keys.set(key, ids);
    }
    return next;
  }

  /** Of the messages of these keys, those that are handled; of too many, the others' turn comes. */
  #forgetHandled(keys: readonly string[]): void {
    const keyOf = new Map<string, string>();
    for (const key of keys) {
      for (const id of this.#keys.get(key)?.stored ?? []) {
        if (keyOf.size === limits.orderPollKeys) break;
        keyOf.set(id, key);
      }
    }
    for (const id of this.#gone([...keyOf.keys()])) this.remove(keyOf.get(id) as string, id);
  }

  /** Those that are not to be delivered any more. */
  #gone(ids: readonly string[]): string[] {
    if (ids.length === 0) return [];
    const pending = new Set(this.#store.pendingAmong(ids));
    return ids.filter((id) => !pending.has(id));
  }
}
