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
    this.#lookLater();
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

  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #lookLater(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      try {
        this.#look();
      } catch {
        // The file is busy or broken: the keys stay in the queue, which is always right.
      }
      if (this.#before > 0 || this.#keys.size > 0) this.#lookLater();
    }, limits.orderPollMs);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  #look(): void {
    if (this.#before > 0 && !this.#store.hasPendingUpTo(this.#before)) this.#before = 0;
    // The first message of a key is handled first: the others need not be asked for.
    const firsts = new Map<string, string>();
    for (const [key, { stored }] of this.#keys) {
      for (const id of stored) {
        firsts.set(id, key);
        break;
      }
      if (firsts.size === limits.orderPollKeys) break;
    }
    if (firsts.size === 0) return;
    const pending = new Set(this.#store.pendingAmong([...firsts.keys()]));
    for (const [id, key] of firsts) {
      const ids = this.#keys.get(key) as Ids;
      // Keys take turns when there are more than one look asks for.
      this.#keys.delete(key);
      this.#keys.set(key, ids);
      if (pending.has(id)) continue;
      // A part of them at a time: the look holds the event loop.
      const left: string[] = [];
      for (const id of ids.stored) {
        left.push(id);
        if (left.length === limits.orderPollKeys) break;
      }
      const still = new Set(this.#store.pendingAmong(left));
      for (const other of left) {
        if (!still.has(other) && ids.stored.delete(other)) this.#storedCount--;
      }
      this.#dropIfEmpty(key, ids);
    }
  }
}
