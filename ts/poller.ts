import { AsyncLocalStorage } from 'node:async_hooks';
import { Emitter } from './emitter.js';
import { IpcError, invalidArgument } from './errors.js';
import { limits } from './limits.js';
import {
  type Claimed,
  DuckSource,
  type MessageSource,
  ownSource,
  type PollableQueue,
  type RetryPolicy,
} from './message-source.js';
import { callable, DELAY_MS_MAX, describe, object, wholeNumber } from './options.js';
import { PollClock } from './poll-clock.js';
import {
  type PollerPhase,
  PollLoop,
  type PollLoopHost,
  type PollLoopOptions,
} from './poll-loop.js';
import type { DeadlineOptions, QueueMessage } from './types.js';

export type { PollableQueue } from './message-source.js';
export type { PollerPhase } from './poll-loop.js';
export type { QueueMessage } from './types.js';

/**
 * Handles one message. The message counts as handled when the handler returns or its promise
 * resolves; when it throws or rejects, the message is delivered again. It may also be delivered
 * again after a crash, so that handlers have to tolerate that.
 *
 * It is declared as a method's type, so that a handler may ask for a narrower message.
 */
export type QueueMessageHandler = {
  handle(message: QueueMessage): Promise<void> | void;
}['handle'];

/** Options of {@link SQLiteQueuePoller}. Times are in milliseconds. */
export interface SQLiteQueuePollerConfig {
  /** A `SQLiteQueue`, or any object with `dequeue`, `markProcessed` and `cleanup`. */
  queue: PollableQueue;
  /** Called for each message, oldest first. */
  onMessage: QueueMessageHandler;
  /** Wait between two polls of a drained queue; default 1000. */
  pollInterval?: number | undefined;
  /** Messages taken at a time; default 50. A poll goes on until the queue is drained. */
  batchSize?: number | undefined;
  /**
   * Handlers that may run at once; default 1, which keeps the order. A handler that takes its time
   * keeps its own place, and the others go on without it.
   */
  concurrency?: number | undefined;
  /**
   * Failures of its handler after which a message is a dead letter; default 10, `Infinity` for
   * never. A delivery that was cut short, because its process died or its lease ran out, is none.
   * But where a `SQLiteQueue` has a message that was cut short so often, it is delivered alone: no
   * other handler of this poller runs meanwhile, except those that have run for 30 seconds. When
   * that was cut short 5 times too, the message is what ends its consumers, and a dead letter.
   */
  maxAttempts?: number | undefined;
  /**
   * Wait before a failed message is due again; it doubles with every failure, up to 5 minutes.
   * Default 1000, or `pollInterval` where that is shorter. A message that is due is delivered by
   * the next poll.
   */
  retryDelayMs?: number | undefined;
  /**
   * How long a message taken from a `SQLiteQueue` is held for this poller alone; default 60,000.
   * It is extended while the handler runs.
   */
  leaseMs?: number | undefined;
  /** Wait between two cleanups; default one hour. The first follows the first drained poll. */
  cleanupIntervalMs?: number | undefined;
  /** What `cleanup` is told to keep, in hours; by default the queue applies its own retention. */
  retentionHours?: number | undefined;
}

/** {@link SQLiteQueuePollerConfig} by its shorter name. */
export type QueuePollerConfig = SQLiteQueuePollerConfig;
/** {@link SQLiteQueuePollerConfig} by its shortest name. */
export type PollerConfig = SQLiteQueuePollerConfig;

/** The options with a handler that may follow by {@link SQLiteQueuePoller.setOnMessage}. */
export type SQLiteQueuePollerOptions = Omit<SQLiteQueuePollerConfig, 'onMessage'> &
  Partial<Pick<SQLiteQueuePollerConfig, 'onMessage'>>;

/** What the poller was doing when something failed, and with which message if with one. */
export interface PollerErrorContext {
  /**
   * `claim`: taking messages from the queue; `handle`: the handler; `settle`: telling the queue
   * what became of messages (they will come again); `extend`: extending leases; `cleanup`.
   */
  phase: PollerPhase;
  message?: QueueMessage;
}

/** Why a message was given up. */
export interface DeadLetterInfo {
  /** Deliveries begun: those that failed, and those that were cut short. */
  attempts: number;
  /** What the handler threw at the last of them. */
  error: unknown;
}

/** Counters of {@link SQLiteQueuePoller} since it was made. */
export interface PollerStats {
  /** Whether it was started and not stopped since. */
  running: boolean;
  /** Messages whose handler succeeded. */
  handled: number;
  /** Deliveries whose handler failed. */
  failed: number;
  /** Of the last deliveries, how many failed without a success in between. */
  failuresInRow: number;
  /** Messages given up. */
  dead: number;
  /** Failures of the queue, not of handlers. */
  queueErrors: number;
  /** Of the last polls, how many failed because of the queue without a success in between. */
  failedPollsInRow: number;
}

/** The events of {@link SQLiteQueuePoller}, each with the arguments of its listeners. */
export interface PollerEvents {
  /**
   * Something failed; the poller goes on. `error` is what was thrown, whatever that is. Without a
   * listener it goes to `console.error`.
   */
  error: [error: unknown, context: PollerErrorContext];
  /**
   * A message failed `maxAttempts` times. A `SQLiteQueue` has put it among its dead letters. Any
   * other queue has no place for them: the message stays in it and is retried every 5 minutes.
   * Not announced is a message that a `SQLiteQueue` put there because it ended its consumers.
   */
  deadLetter: [message: QueueMessage, info: DeadLetterInfo];
  /**
   * Nothing is due any more, and no handler runs. `handled` counts the deliveries of this poll, with
   * those of polls that its handlers outlasted; polls that find nothing are not announced, except
   * the first.
   */
  drained: [handled: number];
}

/**
 * The option of a handler that is also told which delivery it is, and whose owner knows by itself
 * whether `stop()` is called from inside it: here it counts as called from outside. @internal
 */
export const onClaim: unique symbol = Symbol('onClaim');

/** See {@link onClaim}. @internal */
export interface ClaimHandler {
  /** Calls `park` for a message that waits for another copy. */
  handle(claim: Claimed, park: () => void): unknown;
  /** The queue has taken note that these were handled. */
  settled(claims: readonly Claimed[]): void;
}

interface ClaimOptions {
  [onClaim]?: ClaimHandler;
}

/** One call of a handler, found again by whatever the handler calls. */
interface HandlerCall {
  readonly poller: SQLiteQueuePoller;
  readonly loop: PollLoop;
  readonly claim: Claimed;
}

/**
 * Tells a `stop()` that is called from inside a handler from all others, also after the handler
 * has awaited something: it must not wait for the handler that waits for it.
 */
const handlerCalls = new AsyncLocalStorage<HandlerCall>();

/**
 * Takes messages from a queue and hands them to a handler, in order, until told to stop.
 *
 * A poll drains the queue; polls follow each other after `pollInterval`, and at once when a
 * `SQLiteQueue` announces new messages. A message is marked as processed after its handler
 * resolved, and delivered again after a growing wait when it did not. When at least 100 different
 * messages (twice the batch size, if that is more) fail in a row, the poller pauses for
 * `retryDelayMs`, then tries one message at a time until one succeeds: the oldest that was never
 * tried, with pauses of at most half a second; when there is none, the one with the fewest attempts,
 * with pauses that double up to 5 seconds.
 *
 * A running poller keeps the process alive.
 */
export class SQLiteQueuePoller extends Emitter<PollerEvents> {
  readonly #queue: PollableQueue;
  readonly #policy: RetryPolicy;
  readonly #options: PollLoopOptions;
  readonly #clock = new PollClock();
  readonly #host: PollLoopHost;
  #onMessage: QueueMessageHandler | undefined;
  readonly #onClaim: ClaimHandler | undefined;
  /** Kept from start to start, because it remembers how often which message failed. */
  #duck: DuckSource | undefined;
  /** The loop of a running poller. */
  readonly #counts = { handled: 0, failed: 0, failuresInRow: 0, dead: 0, queueErrors: 0 };
  #loop: PollLoop | undefined;
  /** The loop that is being stopped, until that is done. */
  #ending: { readonly done: Promise<void> } | undefined;

  /** @throws IpcError `ERR_IPC_INVALID_ARGUMENT` when an option is not what it should be. */
  constructor(config: SQLiteQueuePollerOptions) {
    super();
    object('config', config);
    this.#queue = checkedQueue('queue', config.queue);
    this.#onClaim = (config as ClaimOptions)[onClaim];
    if (this.#onClaim !== undefined) this.#onMessage = () => {};
    else if (config.onMessage !== undefined) this.setOnMessage(config.onMessage);
    const pollIntervalMs = duration('pollInterval', config.pollInterval, limits.pollIntervalMs);
    const retryDelayMs = duration(
      'retryDelayMs',
      config.retryDelayMs,
      // Whoever never heard of the option expects a retry by the next poll.
      Math.min(limits.retryDelayMs, pollIntervalMs),
      DELAY_MS_MAX,
    );
    const maxAttempts = count('maxAttempts', config.maxAttempts, limits.attemptsMax, true);
    this.#policy = {
      maxAttempts,
      retryDelayMs,
      retryDelayMsMax: Math.max(limits.retryDelayMsMax, retryDelayMs),
    };
    this.#options = {
      pollIntervalMs,
      retryDelayMs,
      batchSize: count('batchSize', config.batchSize, limits.batchSize),
      concurrency: count('concurrency', config.concurrency, 1),
      leaseMs: Math.ceil(duration('leaseMs', config.leaseMs, limits.leaseMs, DELAY_MS_MAX)),
      cleanupIntervalMs: duration(
        'cleanupIntervalMs',
        config.cleanupIntervalMs,
        limits.cleanupIntervalMs,
      ),
      retentionHours: checkedRetention(config.retentionHours),
    };
    this.#host = {
      handle: (claim, loop) => {
        if (this.#onClaim !== undefined) return this.#onClaim.handle(claim, () => loop.park(claim));
        const call = { poller: this, loop, claim };
        return handlerCalls.run(call, this.#onMessage as QueueMessageHandler, claim.message);
      },
      succeeded: () => {
        this.#counts.handled++;
        this.#counts.failuresInRow = 0;
      },
      settled: (claims) => this.#onClaim?.settled(claims),
      failed: (error, phase, message) => this.#reportError(error, phase, message),
      dead: (message, attempts, error) => {
        this.#counts.dead++;
        this.#announce('deadLetter', message, { attempts, error });
      },
      drained: (handled) => this.#announce('drained', handled),
    };
  }

  /**
   * Sets or replaces the handler; the next message goes to the new one.
   *
   * @throws IpcError `ERR_IPC_INVALID_ARGUMENT` when it is not a function.
   */
  setOnMessage(onMessage: QueueMessageHandler): void {
    callable('onMessage', onMessage);
    this.#onMessage = onMessage;
  }

  /**
   * Starts polling, with a first poll at once; resolves without waiting for its messages. After a
   * `stop()` that still waits for a handler, the first poll waits as well.
   *
   * Rejects with `ERR_IPC_ALREADY_RUNNING` (`Poller is already running`), and with
   * `ERR_IPC_INVALID_ARGUMENT` when there is no handler.
   */
  start(): Promise<void> {
    if (this.#loop !== undefined) {
      return Promise.reject(new IpcError('ERR_IPC_ALREADY_RUNNING', 'Poller is already running'));
    }
    if (this.#onMessage === undefined) {
      return Promise.reject(
        invalidArgument('onMessage handler must be set before starting the poller'),
      );
    }
    try {
      const loop = new PollLoop(this.#source(), this.#options, this.#clock, this.#host);
      this.#loop = loop;
      loop.begin(this.#ending?.done);
    } catch (error) {
      // A queue of our own that is closed cannot be polled.
      return Promise.reject(error);
    }
    return Promise.resolve();
  }

  /**
   * Stops polling and resolves when the running handlers are done and their messages marked, or
   * after `deadlineMs` (default 5000; `Infinity` waits as long as it takes). A handler that is
   * still running then goes on, its message is marked when it is done, and nothing of it keeps the
   * process alive. Messages whose handler was not started are left to the next poller.
   *
   * Calls while the poller is being stopped share the outcome of the first. Called from inside a
   * handler it resolves at once, since that handler could not end otherwise. On a poller that is
   * not running it does nothing.
   *
   * Rejects with `ERR_IPC_INVALID_ARGUMENT` when `deadlineMs` is negative or not a number.
   */
  stop(options: DeadlineOptions = {}): Promise<void> {
    const deadlineMs = options?.deadlineMs ?? limits.deadlineMs;
    if (typeof deadlineMs !== 'number' || !(deadlineMs >= 0)) {
      return Promise.reject(
        invalidArgument(`deadlineMs must be a number of at least 0, not ${describe(deadlineMs)}`),
      );
    }
    const loop = this.#loop;
    if (loop !== undefined) {
      this.#loop = undefined;
      loop.halt();
      if (!loop.isFinished) this.#end(loop, deadlineMs);
    }
    const ending = this.#ending;
    const call = handlerCalls.getStore();
    const inside = call?.poller === this && call.loop.isHandling(call.claim);
    return ending === undefined || inside ? Promise.resolve() : ending.done;
  }

  /** Stops without waiting for the running handler. */
  [Symbol.dispose](): void {
    void this.stop({ deadlineMs: 0 });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Counters since the poller was made. */
  stats(): PollerStats {
    const failedPollsInRow = this.#loop?.failedPolls ?? 0;
    return { running: this.isRunning(), ...this.#counts, failedPollsInRow };
  }

  /** Whether the poller was started and not stopped since. */
  isRunning(): boolean {
    return this.#loop !== undefined;
  }

  #end(loop: PollLoop, deadlineMs: number): void {
    const done = new Promise<void>((resolve) => {
      const giveUp = () => {
        loop.abandon();
        resolve();
      };
      let cancel = () => {};
      if (deadlineMs === 0) giveUp();
      else if (deadlineMs !== Number.POSITIVE_INFINITY) {
        cancel = this.#clock.schedule(deadlineMs, giveUp);
      }
      void loop.finished.then(() => {
        cancel();
        resolve();
      });
    }).then(() => {
      if (this.#ending === ending) this.#ending = undefined;
    });
    const ending = { done };
    this.#ending = ending;
  }

  #source(): MessageSource {
    const own = ownSource(this.#queue, this.#policy);
    if (own !== undefined) return own;
    this.#duck ??= new DuckSource(this.#queue, this.#policy, this.#clock);
    return this.#duck;
  }

  #reportError(error: unknown, phase: PollerPhase, message: QueueMessage | undefined): void {
    if (phase === 'handle') {
      this.#counts.failed++;
      this.#counts.failuresInRow++;
    } else {
      this.#counts.queueErrors++;
    }
    const context: PollerErrorContext = message === undefined ? { phase } : { phase, message };
    if (this.#announce('error', error, context)) return;
    const about = message === undefined ? '' : ` (message ${String(message.id)})`;
    console.error(`${this.constructor.name}: ${phase} failed${about}:`, error);
  }

  /** Emits an event; a listener that throws must not take the loop with it. */
  #announce<Name extends keyof PollerEvents>(event: Name, ...args: PollerEvents[Name]): boolean {
    try {
      return this.emit(event, ...args);
    } catch (error) {
      console.error(`${this.constructor.name}: a listener of '${event}' threw:`, error);
      return true;
    }
  }
}

/** Something that can be polled. */
export function checkedQueue(name: string, queue: unknown): PollableQueue {
  for (const method of ['dequeue', 'markProcessed', 'cleanup']) {
    if (typeof (queue as Record<string, unknown> | null | undefined)?.[method] !== 'function') {
      throw invalidArgument(`${name} must be an object with a method ${method}`);
    }
  }
  return queue as PollableQueue;
}

/** A time in milliseconds, which need not be whole. */
function duration(
  name: string,
  value: unknown,
  fallback: number,
  max = Number.MAX_SAFE_INTEGER,
): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number' || !(value > 0 && value <= max)) {
    throw invalidArgument(
      `${name} must be a number of milliseconds above 0 and at most ${max}, not ${describe(value)}`,
    );
  }
  return value;
}

/** How many of something, at least one. */
function count(name: string, value: unknown, fallback: number, infinite = false): number {
  return wholeNumber(name, value, fallback, { min: 1, max: 2 ** 31 - 1, infinite });
}

function checkedRetention(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) {
    throw invalidArgument(`retentionHours must be a number of at least 0, not ${describe(value)}`);
  }
  return value;
}
