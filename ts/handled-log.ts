import type { DeliveryStore } from './delivery-store.js';

/**
 * The ids that were handled, in the file: looked up and recorded for all messages of one turn
 * together.
 */
export class HandledLog {
  readonly #store: DeliveryStore;
  #asked: { id: string; answer: (isHandled: boolean) => void; fail: (error: unknown) => void }[] =
    [];
  #told: { id: string; done: () => void; fail: (error: unknown) => void }[] = [];

  constructor(store: DeliveryStore) {
    this.#store = store;
  }

  /** Whether a message of this id was handled, by whichever process. */
  has(id: string): Promise<boolean> {
    return new Promise((answer, fail) => {
      if (this.#asked.length === 0) SETTLED.then(this.#lookUp);
      this.#asked.push({ id, answer, fail });
    });
  }

  /** Resolves when the id is recorded. */
  record(id: string): Promise<void> {
    return new Promise((done, fail) => {
      if (this.#told.length === 0) SETTLED.then(this.#record);
      this.#told.push({ id, done, fail });
    });
  }

  readonly #lookUp = (): void => {
    const asked = this.#asked;
    this.#asked = [];
    try {
      const handled = new Set(this.#store.handledAmong(asked.map(({ id }) => id)));
      for (const { id, answer } of asked) answer(handled.has(id));
    } catch (error) {
      for (const { fail } of asked) fail(error);
    }
  };

  readonly #record = (): void => {
    const told = this.#told;
    this.#told = [];
    this.#store.rememberHandled(told.map(({ id }) => id)).then(
      () => {
        for (const { done } of told) done();
      },
      (error: unknown) => {
        for (const { fail } of told) fail(error);
      },
    );
  };
}

const SETTLED = Promise.resolve();
