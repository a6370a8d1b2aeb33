import type { DeliveryStore } from './delivery-store.js';
import type { IpcError } from './errors.js';
import { limits } from './limits.js';
import { Place, type Publication } from './publication.js';

/** What the publisher hears of its stored messages. */
export interface SpillerHost {
  stored(publication: Publication): void;
  /** It cannot be stored, now or later. */
  unstorable(publication: Publication, error: IpcError): void;
  /** Storing failed, and is tried again after `waitMs`. */
  failed(error: IpcError, waitMs: number): void;
}

/** Codes of failures for which a message is to blame, and a closed queue. */
const FINAL = new Set([
  'ERR_IPC_ID_CONFLICT',
  'ERR_IPC_INVALID_ARGUMENT',
  'ERR_IPC_INVALID_MESSAGE',
  'ERR_IPC_QUEUE_CLOSED',
  'SQLITE_TOOBIG',
]);

/**
 * Stores messages in the queue: those of one tick together, and again and again while the disk is
 * full or somebody else holds the file. Whoever has an outcome meanwhile is left out.
 */
export class Spiller {
  readonly #store: DeliveryStore;
  readonly #host: SpillerHost;
  #batch: Publication[] = [];
  /** Those whose turn comes after the wait. */
  #again: Publication[] = [];
  #failuresInRow = 0;
  /** Why everything waits, while it does. */
  #lastFailure: IpcError | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #flush = (): void => this.#begin();

  constructor(store: DeliveryStore, host: SpillerHost) {
    this.#store = store;
    this.#host = host;
  }

  /** Stores a message; `stored` or `unstorable` follows, unless it gets its outcome elsewhere. */
  add(publication: Publication): void {
    // While the file cannot be written to, everything waits for the next attempt.
    if (this.#timer !== undefined) {
      publication.failure = this.#lastFailure;
      this.#again.push(publication);
      return;
    }
    this.#batch.push(publication);
    if (this.#batch.length === 1) SETTLED.then(this.#flush);
  }

  /** Ends the waits. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#again = [];
    this.#batch = [];
  }

  #begin(): void {
    const batch = this.#batch.filter(({ place }) => place !== Place.Done);
    this.#batch = [];
    if (batch.length === 0) return;
    const outcomes = this.#store.store(batch.map(({ text }) => text));
    for (const [index, outcome] of outcomes.entries()) {
      const publication = batch[index] as Publication;
      // Whoever runs out of time before the answer cannot know it: a commit is not called back.
      const { isStoredPerhaps } = publication;
      publication.isStoredPerhaps = true;
      outcome.then(
        () => {
          this.#failuresInRow = 0;
          this.#host.stored(publication);
        },
        (error: IpcError) => {
          publication.isStoredPerhaps = isStoredPerhaps;
          this.#failed(publication, error);
        },
      );
    }
  }

  #failed(publication: Publication, error: IpcError): void {
    if (isFinal(error)) {
      this.#host.unstorable(publication, error);
      return;
    }
    publication.failure = error;
    this.#lastFailure = error;
    // A failed commit may have reached the disk; whoever asks again finds the row.
    if (error.code.startsWith('SQLITE_IOERR')) publication.isStoredPerhaps = true;
    this.#again.push(publication);
    if (this.#timer !== undefined) return;
    const waitMs = Math.min(
      limits.spillRetryDelayMs * 2 ** Math.min(this.#failuresInRow, 30),
      limits.spillRetryDelayMsMax,
    );
    this.#failuresInRow++;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      // Not as arguments of one call: there may be more than the stack holds.
      this.#batch = this.#batch.concat(this.#again);
      this.#again = [];
      this.#begin();
    }, waitMs);
    this.#host.failed(error, waitMs);
  }
}

/** Whether it is the message's own fault, which no further attempt would change. */
export function isFinal(error: unknown): boolean {
  const code = String((error as { code?: unknown } | null)?.code);
  return FINAL.has(code) || code.startsWith('SQLITE_CONSTRAINT');
}

const SETTLED = Promise.resolve();
