import type { MessageSource } from './message-source.js';
import type { PollClock } from './poll-clock.js';
import { isThenable } from './thenable.js';

/** The cleanups of a poller: beside its work, since nothing depends on them. */
export class Upkeep {
  readonly #source: MessageSource;
  readonly #clock: PollClock;
  readonly #intervalMs: number;
  readonly #retentionHours: number | undefined;
  readonly #onFailure: (error: unknown) => void;
  #underWay: Promise<void> | undefined;
  #isBegun = false;
  #dueAt: number;

  /** A failure waits for the next time. */
  constructor(
    source: MessageSource,
    clock: PollClock,
    options: { readonly cleanupIntervalMs: number; readonly retentionHours: number | undefined },
    onFailure: (error: unknown) => void,
  ) {
    this.#source = source;
    this.#clock = clock;
    this.#intervalMs = options.cleanupIntervalMs;
    this.#retentionHours = options.retentionHours;
    this.#onFailure = onFailure;
    this.#dueAt = clock.now() + this.#intervalMs;
  }

  /** Resolves when the one that is under way has ended. */
  get ended(): Promise<void> | undefined {
    return this.#underWay;
  }

  /** The first time that the queue is drained. */
  beginOnce(): void {
    if (!this.#isBegun) this.#begin();
  }

  /** Under continuous work the queue is never drained, and still has to be cleaned. */
  beginIfDue(): void {
    if (this.#clock.now() >= this.#dueAt) this.#begin();
  }

  #begin(): void {
    if (this.#underWay !== undefined) return;
    this.#isBegun = true;
    this.#dueAt = this.#clock.now() + this.#intervalMs;
    try {
      const cleaning = this.#source.cleanup(this.#retentionHours);
      if (!isThenable(cleaning)) return;
      this.#underWay = Promise.resolve(cleaning)
        .then(() => {}, this.#onFailure)
        .then(() => {
          this.#underWay = undefined;
        });
    } catch (error) {
      this.#onFailure(error);
    }
  }
}
