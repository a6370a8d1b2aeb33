import { IpcError, textOf } from './errors.js';
import { limits } from './limits.js';
import type {
  Claimed,
  FailedClaim,
  MessageSource,
  Settled,
  SettleReport,
} from './message-source.js';
import type { PollClock } from './poll-clock.js';
import type { PollLoopHost } from './poll-loop.js';
import { isThenable } from './thenable.js';

/** A failed message together with the very value that its handler threw. */
interface Failure extends FailedClaim {
  readonly thrown: unknown;
}

interface Outcomes extends Settled {
  failed: Failure[];
}

function noOutcomes(): Outcomes {
  return { completed: [], failed: [], released: [] };
}

function countOf({ completed, failed, released }: Settled): number {
  return completed.length + failed.length + released.length;
}

/**
 * What became of messages, on its way to their source. One call at a time, so that the outcomes arrive
 * in order, and after a failure none until {@link tryAgain}.
 */
export class PollOutbox {
  readonly #source: MessageSource;
  readonly #clock: PollClock;
  readonly #host: PollLoopHost;
  readonly #onFailure: () => void;
  #outcomes = noOutcomes();
  #settling: Promise<void> | undefined;
  /** Whether more was to be settled while a call was under way. */
  #flushAgain = false;
  #hasFailed = false;
  #cancelFlush: (() => void) | undefined;

  /** `onFailure` is called when the source has failed to settle, after the host was told. */
  constructor(source: MessageSource, clock: PollClock, host: PollLoopHost, onFailure: () => void) {
    this.#source = source;
    this.#clock = clock;
    this.#host = host;
    this.#onFailure = onFailure;
  }

  /** Whether the source failed to settle, and has not been tried again. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  get isEmpty(): boolean {
    return this.#settling === undefined && countOf(this.#outcomes) === 0;
  }

  /** Messages with an outcome that are still ours. */
  get held(): Claimed[] {
    const { completed, failed } = this.#outcomes;
    return completed.concat(failed.map(({ claim }) => claim));
  }

  completed(claim: Claimed): void {
    this.#outcomes.completed.push(claim);
  }

  failed(claim: Claimed, thrown: unknown): void {
    this.#outcomes.failed.push({ claim, error: textOf(thrown), thrown });
  }

  released(claim: Claimed): void {
    this.#outcomes.released.push(claim);
  }

  /** Gives messages back at once. */
  release(claims: readonly Claimed[]): void {
    if (claims.length === 0) return;
    this.#outcomes.released = this.#outcomes.released.concat(claims);
    this.flush();
  }

  /** Settles at once if there are many outcomes, else soon. */
  flushSoon(): Promise<void> | undefined {
    if (countOf(this.#outcomes) >= this.#source.settleCountMax) return this.flush();
    this.#cancelFlush ??= this.#clock.schedule(limits.settleDelayMs, () => {
      this.#cancelFlush = undefined;
      this.flush();
    });
    return undefined;
  }

  /** Settles all that waits. */
  flush(): Promise<void> | undefined {
    if (this.#settling !== undefined) {
      this.#flushAgain = true;
      return this.#settling;
    }
    this.#flushAgain = false;
    if (this.#hasFailed || countOf(this.#outcomes) === 0) return undefined;
    this.cancel();
    const outcomes = this.#outcomes;
    this.#outcomes = noOutcomes();
    try {
      const report = this.#source.settle(outcomes);
      if (!isThenable(report)) {
        this.#settled(outcomes, report);
        return undefined;
      }
      this.#settling = Promise.resolve(report)
        .then(
          (report) => this.#settled(outcomes, report),
          (error) => this.#unsettled(outcomes, error),
        )
        .then(() => {
          this.#settling = undefined;
          return this.#flushAgain ? this.flush() : undefined;
        });
      return this.#settling;
    } catch (error) {
      this.#unsettled(outcomes, error);
      return undefined;
    }
  }

  /** Settles until nothing waits, or until the source fails. */
  async flushAll(): Promise<void> {
    while (!this.isEmpty && !this.#hasFailed) await this.flush();
  }

  /** As {@link flushAll}, whether or not the source has failed before. */
  async tryAgain(): Promise<void> {
    this.#hasFailed = false;
    await this.flushAll();
  }

  /** Ends the wait that `flushSoon` has begun. */
  cancel(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
  }

  #settled(outcomes: Outcomes, report: SettleReport): void {
    if (outcomes.completed.length > 0) this.#host.settled?.(outcomes.completed);
    for (const { claim, dead } of report.failed) {
      if (!dead) continue;
      const failure = outcomes.failed.find((failure) => failure.claim === claim);
      this.#host.dead(claim.message, claim.attempt, failure?.thrown);
    }
    for (const claim of report.stale) {
      // Of those that were given back unhandled nothing is lost.
      if (!outcomes.released.includes(claim)) this.#lost(claim);
    }
    for (const { claim, error } of report.unmarked) {
      this.#host.failed(error, 'settle', claim.message);
    }
  }

  /** The outcomes are kept, and with them their leases, until they are tried again. */
  #unsettled({ completed, failed, released }: Outcomes, error: unknown): void {
    const newer = this.#outcomes;
    this.#hasFailed = true;
    this.#outcomes = {
      completed: completed.concat(newer.completed),
      failed: failed.concat(newer.failed),
      released: released.concat(newer.released),
    };
    this.#host.failed(error, 'settle');
    this.#onFailure();
  }

  #lost({ message }: Claimed): void {
    const text = `The claim on message ${message.id} was lost: it may be delivered again.`;
    this.#host.failed(new IpcError('ERR_IPC_STALE_CLAIM', text), 'settle', message);
  }
}
