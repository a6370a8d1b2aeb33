import { limits } from './limits.js';
import type { Claimed } from './message-source.js';

/**
 * When a poller pauses because handlers fail, and for how long.
 *
 * One poison message has its own backoff. When many different ones fail and none succeeds in between,
 * it is likelier that something all handlers need is down; going on would only use up the attempts of
 * the whole backlog. Then after each pause one message shows whether handlers work again.
 */
export class Pauses {
  readonly #retryDelayMs: number;
  /** It exceeds a batch, so that a batch of poison messages alone does not delay the others. */
  readonly #failuresMax: number;
  /** Messages that failed since a handler last succeeded. */
  readonly #failed = new Set<string>();
  /** Pauses since then, without those that the next field is about. */
  #count = 0;
  /** Whether the last pause came of a message that was tried for the first time. */
  #failedUntried = false;
  #isPausing = false;

  constructor(retryDelayMs: number, batchSize: number) {
    this.#retryDelayMs = retryDelayMs;
    this.#failuresMax = Math.max(limits.failuresInRowMax, 2 * batchSize);
  }

  /** From the failure that leads to a pause until its end. */
  get isPausing(): boolean {
    return this.#isPausing;
  }

  /** Whether it is still to be found out if handlers work again. */
  get areHandlersInDoubt(): boolean {
    return this.#count > 0;
  }

  get lengthMs(): number {
    if (this.#failedUntried) return Math.min(this.#retryDelayMs, limits.untriedPauseMsMax);
    return Math.min(this.#retryDelayMs * 2 ** (this.#count - 1), limits.pauseMsMax);
  }

  /** The pause is over. */
  end(): void {
    this.#isPausing = false;
  }

  succeeded(): void {
    this.#failed.clear();
    this.#count = 0;
    this.#failedUntried = false;
  }

  failed({ message, attempt }: Claimed): void {
    if (!this.areHandlersInDoubt) this.#failed.add(message.id);
    const isTime = this.areHandlersInDoubt || this.#failed.size >= this.#failuresMax;
    if (!isTime || this.#isPausing) return;
    this.#isPausing = true;
    // While there are messages that were never tried, the pauses between them stay short: each of them
    // loses only its first attempt, and behind them may be one that can be handled.
    this.#failedUntried = this.areHandlersInDoubt && attempt === 1;
    if (!this.#failedUntried) this.#count += 1;
  }
}
