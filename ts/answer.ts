/** Who is told what became of a message: one of the two, once. */
export interface Answer {
  /** It was handled. */
  handled(): void;
  /** It was not, and has to come again. */
  refused(error: unknown): void;
}

/** An answer for whoever awaits it. */
export class Outcome implements Answer {
  #state: 'open' | 'handled' | 'refused' = 'open';
  #error: unknown;
  #resolve: (() => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  handled(): void {
    this.#state = 'handled';
    this.#resolve?.();
  }

  refused(error: unknown): void {
    this.#state = 'refused';
    this.#error = error;
    this.#reject?.(error);
  }

  /** Returns or throws what is known already, without a promise; else the promise of it. */
  get(): void | Promise<void> {
    if (this.#state === 'handled') return;
    if (this.#state === 'refused') throw this.#error;
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }
}
