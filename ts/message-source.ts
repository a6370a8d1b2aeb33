import { limits } from './limits.js';
import type { PollClock } from './poll-clock.js';
import { isThenable } from './thenable.js';
import type { QueueMessage } from './types.js';

/** A value, or a promise of it: sources that answer at once cost no turn of the microtask queue. */
export type MaybePromise<T> = T | PromiseLike<T>;

/** A message that was handed to the poller. A source may add what it needs to recognise it. */
export interface Claimed {
  readonly message: QueueMessage;
  /** Which delivery of the message this is, from 1. */
  readonly attempt: number;
}

/** The messages of one claim, oldest first. */
export interface Claims extends Array<Claimed> {
  /**
   * There are more, however few these are, and the next one was cut short so often that it is to be
   * delivered alone: it is claimed only by `claim(1, leaseMs, true)`.
   */
  isNextAlone?: boolean;
}

/** A message whose handler failed. */
export interface FailedClaim {
  readonly claim: Claimed;
  /** What the handler threw, as text for people. */
  readonly error: string;
}

/** What became of messages that were claimed. */
export interface Settled {
  /** Their handlers resolved. */
  completed: Claimed[];
  /** Their handlers failed. */
  failed: FailedClaim[];
  /** Their handlers were never started; the attempt does not count. */
  released: Claimed[];
}

/** What the source made of a `settle` call. */
export interface SettleReport {
  /** For each failed message whether it was given up, or in how many milliseconds it is due. */
  readonly failed: ReadonlyArray<{
    readonly claim: Claimed;
    readonly dead: boolean;
    readonly retryInMs: number;
  }>;
  /**
   * Messages that were no longer ours: the lease had run out, or somebody else settled them. Not
   * those whose copy was handled meanwhile, and that nobody else has had.
   */
  readonly stale: readonly Claimed[];
  /** Handled messages that the source could not mark; they will be delivered again. */
  readonly unmarked: ReadonlyArray<{ readonly claim: Claimed; readonly error: unknown }>;
}

/**
 * Where the poller takes messages from. The queue of this package implements it over claims with
 * leases; {@link DuckSource} implements it over `dequeue` and `markProcessed`.
 */
export interface MessageSource {
  /**
   * Whether claims run out and have to be extended. Claims with leases also let the poller claim
   * the next batch while it handles this one: nobody else receives what it holds.
   */
  readonly leases: boolean;
  /** Handled messages that may wait before `settle` is called for all of them. */
  readonly settleCountMax: number;
  /** The poller begins to drain the source; called before the first `claim` of every poll. */
  drainStarted?(): void;
  /**
   * Up to `limit` messages that are due, oldest first. Fewer than `limit`: there are no more, unless
   * the next one is to be delivered alone. That one is claimed with `alone`, when nothing else is in
   * hand.
   */
  claim(limit: number, leaseMs: number, alone?: boolean): MaybePromise<Claims>;
  /**
   * Of the messages that are due, the one of which the fewest deliveries were begun, and among these
   * the oldest, however many others stand before it.
   */
  claimLeastTried(leaseMs: number): MaybePromise<Claims>;
  /** All in one transaction. When it fails, the poller calls it again with the same messages. */
  settle(settled: Settled): MaybePromise<SettleReport>;
  /** Holds the claims for another `leaseMs` from now; returns those that were lost. */
  extend(claims: readonly Claimed[], leaseMs: number): MaybePromise<readonly Claimed[]>;
  /** Deletes processed messages past the retention, by default the queue's own. */
  cleanup(retentionHours?: number): MaybePromise<unknown>;
  /** Calls the listener whenever there may be new messages; returns the way to stop that. */
  onDoorbell(listener: () => void): () => void;
}

/** When failed messages are delivered again, and when they are given up. */
export interface RetryPolicy {
  /** Failures after which a message is a dead letter. */
  readonly maxAttempts: number;
  /** Wait after the first failure in milliseconds; it doubles with every further one. */
  readonly retryDelayMs: number;
  /** Longest wait in milliseconds. */
  readonly retryDelayMsMax: number;
}

/**
 * The key under which a queue of this package offers its {@link SourcePort}. It is a registered
 * symbol, so that the CommonJS and the ESM copy of the package, or copies in several realms,
 * know each other's queues; the number is the version of the interface.
 */
export const messageSource: unique symbol = Symbol.for('@flowtrace/ipc/message-source/1') as never;

/** The entrance to a queue's {@link MessageSource}. */
export interface SourcePort {
  /**
   * The queue's own public methods. A queue whose methods were replaced (a spy, a subclass) is
   * polled through the replacements, because whoever replaced them expects to see the calls.
   */
  readonly dequeue: unknown;
  readonly markProcessed: unknown;
  readonly cleanup: unknown;
  open(policy: RetryPolicy): MessageSource;
}

/** What a queue needs for the poller to accept it; each method may answer with a promise. */
export interface PollableQueue {
  /** Unprocessed messages, oldest first. Anything but an array counts as no messages. */
  dequeue(batchSize?: number): MaybePromise<readonly QueueMessage[] | undefined>;
  markProcessed(id: string): unknown;
  cleanup(retentionHours?: number): unknown;
}

/** The queue's own source if it has one and none of its methods were replaced. */
export function ownSource(queue: PollableQueue, policy: RetryPolicy): MessageSource | undefined {
  const port = (queue as { [messageSource]?: SourcePort })[messageSource];
  // A mocking library may have put anything in its place.
  if (port === null || typeof port !== 'object' || typeof port.open !== 'function')
    return undefined;
  const genuine =
    port.dequeue === queue.dequeue &&
    port.markProcessed === queue.markProcessed &&
    port.cleanup === queue.cleanup;
  return genuine ? port.open(policy) : undefined;
}

/** What a queue may return; a mock of one may return anything. */
type Rows = ReadonlyArray<QueueMessage | null | undefined>;

/** What a {@link DuckSource} remembers of a message that was not settled for good. */
interface Remembered {
  readonly attempts: number;
  readonly dueAt: number;
}

/**
 * Any object with `dequeue`, `markProcessed` and `cleanup` as a source. Such a queue neither
 * claims nor counts attempts nor keeps dead letters, so that failures are remembered here, in
 * memory, for as many messages as the limit allows; what is forgotten is merely tried afresh. A
 * message that used up its attempts is reported as a dead letter once and then retried at the
 * longest delay: it is never marked as processed, so that nothing is lost.
 */
export class DuckSource implements MessageSource {
  readonly leases = false;
  // One by one, because users of such queues (and their tests) expect a message to be marked
  // before the next one is handled.
  readonly settleCountMax = 1;

  readonly #queue: PollableQueue;
  readonly #policy: RetryPolicy;
  readonly #clock: PollClock;
  /** Messages that failed, the least recent first. */
  readonly #failures = new Map<string, Remembered>();
  /** Messages whose handler is running: also those of a poller that stopped waiting for them. */
  readonly #held = new Set<string>();
  /** Messages that were handled since the drain began. */
  readonly #handled = new Set<string>();

  constructor(queue: PollableQueue, policy: RetryPolicy, clock: PollClock) {
    this.#queue = queue;
    this.#policy = policy;
    this.#clock = clock;
  }

  drainStarted(): void {
    this.#handled.clear();
  }

  claim(limit: number): MaybePromise<Claimed[]> {
    const now = this.#clock.now();
    let waiting = 0;
    for (const { dueAt } of this.#failures.values()) if (dueAt > now) waiting += 1;
    return this.#dequeue(limit, waiting, (rows) => this.#hold(this.#due(rows)));
  }

  /** Only the failures that are remembered here count. */
  claimLeastTried(): MaybePromise<Claimed[]> {
    return this.#dequeue(1, this.#failures.size, (rows) => {
      const [first, ...others] = this.#due(rows);
      if (first === undefined) return [];
      const fewer = (one: Claimed, other: Claimed) => (other.attempt < one.attempt ? other : one);
      return this.#hold([others.reduce(fewer, first)]);
    });
  }

  /**
   * The queue returns the oldest messages also when they are not wanted now. Asking for that many
   * more keeps them from hiding the others.
   */
  #dequeue(
    limit: number,
    unwanted: number,
    take: (rows: Rows) => Claimed[],
  ): MaybePromise<Claimed[]> {
    const asked = limit + unwanted + this.#held.size;
    const taken = (rows: unknown) => {
      if (!Array.isArray(rows)) return [];
      if (rows.length < asked) this.#forgetAbsent(rows);
      return take(rows);
    };
    const rows = this.#queue.dequeue(asked);
    return isThenable(rows) ? rows.then(taken) : taken(rows);
  }

  #due(rows: Rows): Claimed[] {
    const now = this.#clock.now();
    const claims: Claimed[] = [];
    for (const message of rows) {
      if (message === null || typeof message !== 'object') continue;
      const { id } = message;
      // A queue (or a mock) that returns what it was told is processed would otherwise be drained
      // without end. Such a message is delivered again by the next poll.
      if (this.#handled.has(id) || this.#held.has(id)) continue;
      const failure = this.#failures.get(id);
      if (failure !== undefined && failure.dueAt > now) continue;
      claims.push({ message, attempt: (failure?.attempts ?? 0) + 1 });
    }
    return claims;
  }

  #hold(claims: Claimed[]): Claimed[] {
    for (const { message } of claims) this.#held.add(message.id);
    return claims;
  }

  /** The queue returned all it has: what is not among it was processed by somebody else. */
  #forgetAbsent(rows: Rows): void {
    if (this.#failures.size === 0) return;
    const present = new Set(rows.map((message) => message?.id));
    for (const id of this.#failures.keys()) if (!present.has(id)) this.#failures.delete(id);
  }

  settle({ completed, failed, released }: Settled): MaybePromise<SettleReport> {
    for (const { message } of released) this.#held.delete(message.id);
    const failures = failed.map(({ claim }) => this.#fail(claim));
    const unmarked: Array<{ claim: Claimed; error: unknown }> = [];
    const report: SettleReport = { failed: failures, stale: [], unmarked };
    const marking: Array<PromiseLike<void>> = [];
    for (const claim of completed) {
      const refused = (error: unknown) => {
        this.#defer(claim);
        unmarked.push({ claim, error });
      };
      try {
        const marked = this.#queue.markProcessed(claim.message.id);
        if (isThenable(marked)) marking.push(marked.then(() => this.#complete(claim), refused));
        else this.#complete(claim);
      } catch (error) {
        refused(error);
      }
    }
    return marking.length === 0 ? report : Promise.all(marking).then(() => report);
  }

  #complete({ message: { id } }: Claimed): void {
    this.#held.delete(id);
    this.#failures.delete(id);
    this.#handled.add(id);
    bound(this.#handled);
  }

  #fail(claim: Claimed): SettleReport['failed'][number] {
    const { maxAttempts, retryDelayMs, retryDelayMsMax } = this.#policy;
    const { attempt } = claim;
    const retryInMs = Math.min(retryDelayMs * 2 ** (attempt - 1), retryDelayMsMax);
    this.#remember(claim, { attempts: attempt, dueAt: this.#clock.now() + retryInMs });
    return { claim, dead: attempt === maxAttempts, retryInMs };
  }

  /** Handled, but the queue did not take note: it comes again, and no attempt is counted. */
  #defer(claim: Claimed): void {
    const dueAt = this.#clock.now() + this.#policy.retryDelayMs;
    this.#remember(claim, { attempts: claim.attempt - 1, dueAt });
  }

  #remember({ message: { id } }: Claimed, failure: Remembered): void {
    this.#held.delete(id);
    this.#failures.delete(id);
    this.#failures.set(id, failure);
    bound(this.#failures);
  }

  extend(): readonly Claimed[] {
    return [];
  }

  cleanup(retentionHours?: number): unknown {
    // Without an argument the queue applies the retention that it was made with.
    return retentionHours === undefined
      ? this.#queue.cleanup()
      : this.#queue.cleanup(retentionHours);
  }

  onDoorbell(): () => void {
    return () => {};
  }
}

/** Drops the oldest entries over the limit. */
function bound(remembered: Map<string, unknown> | Set<string>): void {
  for (const id of remembered.keys()) {
    if (remembered.size <= limits.rememberedMessagesMax) return;
    remembered.delete(id);
  }
}
