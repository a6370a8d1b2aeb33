import type { DeliveryStore } from './delivery-store.js';
import { limits } from './limits.js';

/** Somebody who waits for an answer about an id. */
interface Asked<Answer> {
  readonly id: string;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The ids that were handled, in the file: looked up and recorded for all messages of one tick
 * together.
 */
export class HandledLog {
  readonly #store: DeliveryStore;
  #lookups: Asked<boolean>[] = [];
  #records: Asked<void>[] = [];
  /** Ids whose recording failed, the oldest first. */
  readonly #owed = new Set<string>();

  constructor(store: DeliveryStore) {
    this.#store = store;
  }

  /** Whether a message of this id was handled, by whichever process. */
  has(id: string): Promise<boolean> {
    return new Promise((resolve, reject) => {
      if (this.#lookups.length === 0) SETTLED.then(this.#lookUp);
      this.#lookups.push({ id, resolve, reject });
    });
  }

  /** Resolves when the id is recorded; when that fails, it is owed. */
  record(id: string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#records.length === 0) SETTLED.then(this.#record);
      this.#records.push({ id, resolve, reject });
    });
  }

  /** Whether this id was handled, and could not be recorded. */
  owes(id: string): boolean {
    return this.#owed.has(id);
  }

  readonly #lookUp = (): void => {
    const asked = this.#lookups;
    this.#lookups = [];
    try {
      const handled = new Set(this.#store.handledAmong(asked.map(({ id }) => id)));
      for (const { id, resolve } of asked) resolve(handled.has(id));
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
  };

  readonly #record = (): void => {
    const told = this.#records;
    this.#records = [];
    const failed = (error: unknown) => {
      for (const { id, reject } of told) {
        this.#owe(id);
        reject(error);
      }
    };
    try {
      this.#store.rememberHandled(told.map(({ id }) => id)).then(() => {
        for (const { id, resolve } of told) {
          this.#owed.delete(id);
          resolve();
        }
      }, failed);
    } catch (error) {
      failed(error);
    }
  };

  #owe(id: string): void {
    this.#owed.add(id);
    if (this.#owed.size <= limits.rememberedMessagesMax) return;
    // What is forgotten is merely not recorded, as if power had been lost at the wrong moment.
    for (const oldest of this.#owed) {
      this.#owed.delete(oldest);
      return;
    }
  }
}

const SETTLED = Promise.resolve();
