import { dialectOfInstalledZod } from './dialect.js';
import { fromNative, IpcError, invalidArgument, isError } from './errors.js';
import { attach, detach, type Endpoint, KeepAlive, nativeHub } from './event-loop.js';
import { limits } from './limits.js';
import {
  type Claimed,
  type MaybePromise,
  type MessageSource,
  messageSource,
  type RetryPolicy,
  type Settled,
  type SettleReport,
  type SourcePort,
} from './message-source.js';
import { addon, type NativeDialect, type NativeQueue } from './native.js';
import { describe, object, string, text, wholeNumber } from './options.js';
import { areTimersFaked } from './poll-clock.js';
import { privateFile, removePrivateFile } from './private-file.js';
import type { QueueMessage } from './types.js';

/** What a resolved or returned `enqueue` survives. */
export type Durability = 'full' | 'normal';

/** Options of {@link SQLiteQueue}. */
export interface SQLiteQueueConfig {
  /** The database file. Missing folders and the file are made, readable by their owner only. */
  dbPath: string;
  /** Hours that processed messages are kept by `cleanup()`. Default 24. */
  retentionHours?: number | undefined;
  /**
   * `full` (default): what `enqueue` returned from survives power loss. `normal`: it survives the
   * death of every process, but the newest messages may be gone after power loss.
   */
  durability?: Durability | undefined;
  /** Whether messages must satisfy `QueueMessageSchema` to be stored. Default false. */
  validate?: boolean | undefined;
  /** Milliseconds that a synchronous call waits for another process's lock. Default 250. */
  busyTimeoutMs?: number | undefined;
}

/** {@link SQLiteQueueConfig} by the name that services use. */
export type QueueConfig = SQLiteQueueConfig;

/** Counters of a queue file, whichever process wrote to it. */
export interface QueueStats {
  /** Messages to be delivered that nobody holds, those that wait for a retry included. */
  pending: number;
  /** Messages that somebody holds a claim on. */
  claimed: number;
  /** Pending messages that failed and wait for their next delivery. */
  waiting: number;
  /** Messages processed and not yet cleaned up. */
  processed: number;
  /** Dead letters. */
  dead: number;
  /** `timestamp` of the oldest pending or claimed message, or null. */
  oldestPending: number | null;
  /** Size of the database file in bytes. */
  fileBytes: number;
  /** The part of it that is free for new messages, in bytes. */
  freeBytes: number;
  /** Size of its write-ahead log in bytes. */
  walBytes: number;
}

/** A message held for one consumer. */
export interface ClaimedMessage {
  readonly message: QueueMessage;
  /** Fencing token: grows with every claim of the file, and a stale one is refused. */
  readonly token: number;
  /** Which delivery of the message this is, from 1. */
  readonly attempt: number;
}

/** Options of {@link SQLiteQueue.claim}. */
export interface ClaimOptions {
  /** Messages to claim at most. Default 50. */
  limit?: number | undefined;
  /** Milliseconds that the claim holds unless it is extended. Default 60000. */
  leaseMs?: number | undefined;
  /**
   * Deliveries after which a message becomes a dead letter instead of being claimed once more,
   * also when none of them was reported as failed, because each was cut short; `Infinity` for
   * never. Give `fail()` the same number. Default 10.
   */
  maxAttempts?: number | undefined;
}

/** What became of a message after {@link SQLiteQueue.fail}. */
export type FailResult =
  | { readonly outcome: 'retry'; readonly retryInMs: number }
  | { readonly outcome: 'dead' }
  | { readonly outcome: 'stale' };

/** Options of {@link SQLiteQueue.fail}. */
export interface FailOptions {
  /** Deliveries after which the message becomes a dead letter. Default 10. */
  maxAttempts?: number | undefined;
  /** Wait before the second delivery in milliseconds; it doubles with each. Default 1000. */
  retryDelayMs?: number | undefined;
  /** Longest such wait in milliseconds. Default 300000. */
  maxRetryDelayMs?: number | undefined;
}

/** A message that was set aside. */
export interface DeadLetter {
  /** Id of the message; null if the row has none that can be read. */
  readonly id: string | null;
  /** The message, or null if the row cannot be read as one. */
  readonly message: QueueMessage | null;
  /** What can be read of such a row, the payload as its text; else null. */
  readonly raw: {
    readonly id: string | null;
    readonly type: string | null;
    readonly payload: string | null;
    readonly timestamp: number | null;
  } | null;
  /** Deliveries that failed. */
  readonly attempts: number;
  /** `attempts`: its deliveries failed too often; `corrupt`: the row cannot be read. */
  readonly reason: 'attempts' | 'corrupt';
  /** What failed last, or null if nothing is known of it. */
  readonly error: string | null;
  /** When it was set aside, in milliseconds since 1970. */
  readonly diedAt: number;
}

/** Options of {@link SQLiteQueue.deadLetters}. */
export interface DeadLetterOptions {
  /** Dead letters to return at most. Default 50. */
  limit?: number | undefined;
  /** Dead letters to skip, for paging. Default 0. */
  offset?: number | undefined;
}

/** The answer of `settle`: places of stale claims, and what became of the failed ones. */
interface SettleAnswer {
  stale: number[];
  failed: { dead: boolean; retryInMs: number }[];
}

/** A promise that the addon's worker thread settles. */
interface Ticket {
  /** Whether its value is of interest to whoever waits. */
  answered: boolean;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

/** How a class that extends the queue reaches the addon. @internal */
export const callNative: unique symbol = Symbol('callNative');

const COUNT = { min: 1, max: 2 ** 31 - 1 };
const MS = { min: 0, max: 2 ** 31 - 1 };

/**
 * The durable queue in one SQLite file, shared by any number of processes.
 *
 * Every method is synchronous and throws on failure, except those that end in `Async`. An open
 * queue alone does not keep the process alive; unfinished asynchronous work does.
 */
export class SQLiteQueue {
  readonly #dbPath: string;
  readonly #retentionHours: number;
  readonly #native: NativeQueue;
  readonly #key: number;
  readonly #dialect: NativeDialect | undefined;
  readonly #keepAlive = new KeepAlive();
  readonly #tickets = new Map<number, Ticket>();
  readonly #doorbells = new Set<() => void>();
  /** The file behind `:memory:`, which goes with the queue. */
  #privateFile: string | undefined;
  #lastTicket = 0;
  #closed = false;
  /** Messages of this tick for the worker thread, as JSON texts. */
  #outgoing: string[] = [];
  #firstOutgoing = 0;

  /**
   * Opens the file, or makes it. Files of the original package open in place.
   *
   * @throws {IpcError} `ERR_IPC_INVALID_ARGUMENT`; SQLite's code when the file cannot be used
   * (`SQLITE_NOTADB`, `SQLITE_CANTOPEN`, `SQLITE_READONLY`, …); `ERR_IPC_FOREIGN_DATABASE`;
   * `ERR_IPC_NETWORK_FILESYSTEM`. The file is unchanged then.
   */
  constructor(config: SQLiteQueueConfig, /** @internal */ runtime = false) {
    object('config', config);
    this.#dbPath = text('dbPath', config.dbPath);
    this.#retentionHours = hours('retentionHours', config.retentionHours, limits.retentionHours);
    const { durability = 'full', validate = false } = config;
    if (durability !== 'full' && durability !== 'normal') {
      throw invalidArgument(`durability must be 'full' or 'normal', not ${describe(durability)}`);
    }
    const busyTimeoutMs = wholeNumber('busyTimeoutMs', config.busyTimeoutMs, undefined, MS);
    this.#dialect = validate ? dialectOfInstalledZod() : undefined;
    const path = this.#dbPath === ':memory:' ? privateFile() : this.#dbPath;
    if (path !== this.#dbPath) this.#privateFile = path;
    try {
      this.#native = new addon.NativeQueue(nativeHub(), {
        path,
        fullDurability: durability === 'full',
        busyTimeoutMs,
        validate: this.#dialect,
        runtime,
      });
    } catch (error) {
      throw fromNative(error);
    }
    this.#key = this.#native.key;
    attach(this.#key, this.#endpoint);
  }

  /**
   * Stores a message. When this returns, the message survives what `durability` says.
   *
   * @throws {IpcError} `SQLITE_CONSTRAINT_PRIMARYKEY` when the id is stored already;
   * `ERR_IPC_INVALID_MESSAGE`; `ERR_IPC_QUEUE_CLOSED`; SQLite's code (`SQLITE_BUSY`,
   * `SQLITE_FULL`, …): the message is not stored then.
   */
  enqueue(message: QueueMessage): void {
    if (this.#dialect !== undefined) {
      this.enqueueMany([message]);
      return;
    }
    const { id, type, payload, timestamp } = fields(message, '');
    this.#call(() => this.#native.enqueue(id, type, payload, timestamp));
  }

  /**
   * Stores messages in one transaction: all or none. Returns how many.
   *
   * @throws {IpcError} as `enqueue()`; the text names the message that is to blame.
   */
  enqueueMany(messages: readonly QueueMessage[]): number {
    if (!Array.isArray(messages)) {
      throw invalidArgument(`messages must be an array, not ${describe(messages)}`);
    }
    const batch = `[${messages.map((message, index) => record(message, ` ${index}`)).join(',')}]`;
    return this.#call(() => this.#native.enqueueMany(batch));
  }

  /**
   * Stores a message without blocking the event loop. Messages that wait at the same time share
   * one commit. The promise resolves when the message survives what `durability` says.
   *
   * @throws {IpcError} as `enqueue()`; `ERR_IPC_QUEUE_FULL` when too much waits already.
   */
  enqueueAsync(message: QueueMessage): Promise<void> {
    let json: string;
    try {
      this.#assertOpen();
      json = record(message, '');
    } catch (error) {
      return Promise.reject(error);
    }
    const first = this.#outgoing.length === 0;
    const promise = this.#ticket(false);
    if (first) {
      this.#firstOutgoing = this.#lastTicket;
      SETTLED.then(this.#sendOutgoing);
    }
    this.#outgoing.push(json);
    return promise as Promise<void>;
  }

  readonly #sendOutgoing = (): void => {
    const batch = this.#outgoing;
    if (batch.length === 0) return;
    this.#outgoing = [];
    const first = this.#firstOutgoing;
    try {
      this.#native.enqueueLater(first, `[${batch.join(',')}]`);
    } catch (error) {
      for (let index = 0; index < batch.length; index++) {
        this.#take(first + index)?.reject(fromNative(error));
      }
    }
  };

  /**
   * Unprocessed messages, oldest `timestamp` first. They are not claimed: a second call returns
   * them again, here and elsewhere. Rows that cannot be read are set aside as dead letters.
   */
  dequeue(batchSize?: number): QueueMessage[] {
    const limit = wholeNumber('batchSize', batchSize, limits.batchSize, { ...COUNT, min: 0 });
    return JSON.parse(this.#call(() => this.#native.dequeue(limit))) as QueueMessage[];
  }

  /** Marks a message as processed. Unknown ids are ignored. */
  markProcessed(id: string): void {
    const known = string('id', id);
    this.#call(() => isText(known) && this.#native.markProcessed(known));
  }

  /** Marks messages as processed in one transaction. Returns how many were not before. */
  markProcessedMany(ids: readonly string[]): number {
    if (!Array.isArray(ids)) throw invalidArgument(`ids must be an array, not ${describe(ids)}`);
    const known = stored(ids);
    return this.#call(() => this.#native.markProcessedMany(known));
  }

  /**
   * Deletes processed messages that are older than the retention, in small transactions. Returns
   * how many. Pending messages and dead letters are never deleted.
   */
  cleanup(retentionHours?: number): number {
    const kept = hours('retentionHours', retentionHours, this.#retentionHours);
    return this.#call(() => this.#native.cleanup(kept));
  }

  /**
   * Takes the oldest messages that are due and that nobody holds, for this queue object alone.
   * Settle each with `complete()`, `fail()` or `release()`; a claim that is not settled ends with
   * its lease, or at once when its process dies.
   */
  claim({ limit, leaseMs, maxAttempts }: ClaimOptions = {}): ClaimedMessage[] {
    const count = wholeNumber('limit', limit, limits.batchSize, COUNT);
    const lease = wholeNumber('leaseMs', leaseMs, limits.leaseMs, MS);
    const attempts = attemptsAllowed(maxAttempts);
    return JSON.parse(
      this.#call(() => this.#native.claim(count, lease, attempts)),
    ) as ClaimedMessage[];
  }

  /** Marks a claimed message as processed. False if the claim was no longer held. */
  complete(claim: ClaimedMessage): boolean {
    const { id, token } = held(claim);
    return this.#call(() => this.#native.complete(id, token));
  }

  /** Gives a claimed message back after a failure: it is delivered again later, or dies. */
  fail(claim: ClaimedMessage, error: unknown, options: FailOptions = {}): FailResult {
    const { id, token } = held(claim);
    const attempts = attemptsAllowed(options.maxAttempts);
    const base = wholeNumber('retryDelayMs', options.retryDelayMs, limits.retryDelayMs, MS);
    const max = wholeNumber('maxRetryDelayMs', options.maxRetryDelayMs, limits.retryDelayMsMax, MS);
    const why = reason(error);
    return JSON.parse(
      this.#call(() => this.#native.fail(id, token, why, attempts, base, max)),
    ) as FailResult;
  }

  /** Gives a claimed message back untried. False if the claim was no longer held. */
  release(claim: ClaimedMessage): boolean {
    const { id, token } = held(claim);
    return this.#call(() => this.#native.release(id, token));
  }

  /** Holds a claim for another `leaseMs` from now. False if it was no longer held. */
  extend(claim: ClaimedMessage, leaseMs?: number): boolean {
    const { id, token } = held(claim);
    const lease = wholeNumber('leaseMs', leaseMs, limits.leaseMs, MS);
    return this.#call(() => this.#native.extend(id, token, lease));
  }

  /** Messages that were set aside, the oldest message first. */
  deadLetters({ limit, offset }: DeadLetterOptions = {}): DeadLetter[] {
    const count = wholeNumber('limit', limit, limits.batchSize, COUNT);
    const skipped = wholeNumber('offset', offset, 0, { min: 0, max: 2 ** 32 - 1 });
    return JSON.parse(this.#call(() => this.#native.deadLetters(count, skipped))) as DeadLetter[];
  }

  /**
   * Makes dead letters pending again with all their attempts, by default every one. Returns how
   * many; rows that still cannot be read stay where they are.
   */
  redrive(ids?: readonly string[]): number {
    const known = selected(ids);
    return this.#call(() => this.#native.redrive(known));
  }

  /** Deletes dead letters for good, by default every one. Returns how many. */
  purgeDeadLetters(ids?: readonly string[]): number {
    const known = selected(ids);
    return this.#call(() => this.#native.purgeDead(known));
  }

  /** Counters of the file. Reads the index of all rows: not for a hot path. */
  stats(): QueueStats {
    return JSON.parse(this.#call(() => this.#native.stats())) as QueueStats;
  }

  /** Gives space of deleted rows back to the file system and empties the write-ahead log. */
  compact(): void {
    this.#call(() => this.#native.compact());
  }

  /**
   * Closes the file. Asynchronous work that has begun is finished first; claims of this queue
   * object are given back. Closing again does nothing.
   */
  close(): void {
    if (this.#closed) return;
    this.#sendOutgoing();
    this.#closed = true;
    this.#doorbells.clear();
    try {
      this.#native.close();
    } catch (error) {
      throw fromNative(error);
    } finally {
      if (this.#tickets.size === 0) this.#forget();
      if (this.#privateFile !== undefined) removePrivateFile(this.#privateFile);
    }
  }

  /** Closed, and nobody waits for the worker any more. */
  #forget(): void {
    detach(this.#key);
    this.#native.forget();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** How `SQLiteQueuePoller` takes messages: with claims, on the worker thread. @internal */
  get [messageSource](): SourcePort {
    const { dequeue, markProcessed, cleanup } = SQLiteQueue.prototype;
    return { dequeue, markProcessed, cleanup, open: (policy) => this.#source(policy) };
  }

  #source(policy: RetryPolicy): MessageSource {
    this.#assertOpen();
    const native = this.#native;
    // On the worker thread, which takes real time. Where a test has faked the timers nothing may
    // depend on that: there the same work is done at once.
    const run = <T, Result>(
      now: () => T,
      later: (ticket: number) => void,
      use: (answer: T) => Result,
    ): MaybePromise<Result> =>
      areTimersFaked()
        ? use(this.#call(now))
        : this.#later(later).then((json) => use(JSON.parse(json as string) as T));
    return {
      leases: true,
      settleCountMax: limits.settleCountMax,
      claim: (limit, leaseMs) => {
        const attempts = attemptsMax(policy.maxAttempts);
        return run(
          () => JSON.parse(native.claim(limit, leaseMs, attempts)) as ClaimedMessage[],
          (ticket) => native.claimLater(ticket, limit, leaseMs, attempts),
          (claims) => claims,
        );
      },
      settle: ({ completed, failed, released }: Settled) => {
        const claims = { completed: ids(completed), released: ids(released) };
        const failures = failed.map(({ claim, error }) => [...id(claim), error]);
        const request = JSON.stringify({
          ...claims,
          failed: failures,
          attemptsMax: attemptsMax(policy.maxAttempts),
          // The core counts whole milliseconds.
          retryDelayMs: Math.ceil(policy.retryDelayMs),
          retryDelayMsMax: Math.ceil(policy.retryDelayMsMax),
        });
        return run(
          () => JSON.parse(native.settle(request)) as SettleAnswer,
          (ticket) => native.settleLater(ticket, request),
          ({ stale, failed: outcomes }): SettleReport => {
            const all = [...completed, ...failed.map(({ claim }) => claim), ...released];
            const lost = new Set(stale.map((index) => all[index] as Claimed));
            return {
              failed: failed.flatMap(({ claim }, index) => {
                const outcome = outcomes[index];
                return lost.has(claim) || outcome === undefined ? [] : [{ claim, ...outcome }];
              }),
              stale: [...lost],
              unmarked: [],
            };
          },
        );
      },
      extend: (claims, leaseMs) =>
        run(
          () => ids(claims).map(([id, token]) => native.extend(id, token, leaseMs)),
          (ticket) => native.extendLater(ticket, JSON.stringify(ids(claims)), leaseMs),
          (kept) => claims.filter((_, index) => !kept[index]),
        ),
      cleanup: (retentionHours = this.#retentionHours) =>
        run(
          () => native.cleanup(retentionHours),
          (ticket) => native.cleanupLater(ticket, retentionHours),
          (deleted) => deleted,
        ),
      onDoorbell: (listener) => {
        this.#doorbells.add(listener);
        if (this.#doorbells.size === 1) native.watch(true);
        return () => {
          if (this.#doorbells.delete(listener) && this.#doorbells.size === 0 && !this.#closed) {
            native.watch(false);
          }
        };
      },
    };
  }

  #assertOpen(): void {
    if (this.#closed) {
      throw new IpcError('ERR_IPC_QUEUE_CLOSED', `The queue is closed: ${this.#dbPath}`);
    }
  }

  /** @internal */
  [callNative]<T>(work: (native: NativeQueue) => T): T {
    return this.#call(() => work(this.#native));
  }

  #call<T>(work: () => T): T {
    this.#assertOpen();
    try {
      return work();
    } catch (error) {
      throw fromNative(error);
    }
  }

  /** A promise for what the worker thread makes of the next ticket. */
  #ticket(answered: boolean): Promise<unknown> {
    this.#lastTicket++;
    const ticket = this.#lastTicket;
    this.#keepAlive.active = true;
    return new Promise((resolve, reject) => {
      this.#tickets.set(ticket, { answered, resolve, reject });
    });
  }

  #later(begin: (ticket: number) => void): Promise<unknown> {
    try {
      this.#assertOpen();
    } catch (error) {
      return Promise.reject(error);
    }
    // Keeps the order: what was enqueued before is with the worker before.
    this.#sendOutgoing();
    const promise = this.#ticket(true);
    const ticket = this.#lastTicket;
    try {
      begin(ticket);
    } catch (error) {
      this.#take(ticket)?.reject(fromNative(error));
    }
    return promise;
  }

  #take(ticket: number): Ticket | undefined {
    const waiting = this.#tickets.get(ticket);
    this.#tickets.delete(ticket);
    if (this.#tickets.size === 0) {
      this.#keepAlive.active = false;
      if (this.#closed) this.#forget();
    }
    return waiting;
  }

  readonly #endpoint: Endpoint = {
    onCompleted: (ticket, code, value) => {
      const waiting = this.#take(ticket);
      if (code === null) waiting?.resolve(waiting.answered ? value : undefined);
      else waiting?.reject(new IpcError(code, value));
    },
    onDoorbell: () => {
      for (const listener of this.#doorbells) listener();
    },
  };
}

const SETTLED = Promise.resolve();

/** The attempts that a caller allows, as a number for the core. */
function attemptsAllowed(maxAttempts: unknown): number {
  const allowed = { ...COUNT, infinite: true };
  return attemptsMax(wholeNumber('maxAttempts', maxAttempts, limits.attemptsMax, allowed));
}

/** `Infinity` has no form in JSON and none in the core, where 0 stands for "never". */
function attemptsMax(attempts: number): number {
  return attempts === Number.POSITIVE_INFINITY ? 0 : attempts;
}

/** The columns of a message, its payload as JSON. */
function fields(message: QueueMessage, which: string) {
  object(`message${which}`, message);
  const { id, type, payload, timestamp } = message;
  if (!isText(id)) throw invalid(`message${which}: id`, 'a string of whole characters', id);
  if (!isText(type)) throw invalid(`message${which}: type`, 'a string of whole characters', type);
  if (typeof timestamp !== 'number') {
    throw invalid(`message${which}: timestamp`, 'a number', timestamp);
  }
  let json: string | undefined;
  try {
    json = JSON.stringify(payload);
  } catch (error) {
    throw new IpcError(
      'ERR_IPC_UNSERIALIZABLE',
      `message${which}: payload cannot be stored as JSON: ${(error as Error)?.message}`,
      { cause: error },
    );
  }
  if (json === undefined) throw invalid(`message${which}: payload`, 'a JSON value', payload);
  return { id, type, payload: json, timestamp };
}

/**
 * Whether it is a string that has a form in UTF-8. Half of a surrogate pair has none: it would
 * be stored as U+FFFD, and the id would be another one.
 */
export function isText(value: unknown): value is string {
  return typeof value === 'string' && !/\p{Surrogate}/u.test(value);
}

/** The ids among these that a stored message can have. */
function stored(ids: readonly string[]): string[] {
  return ids.map((id, index) => string(`ids[${index}]`, id)).filter(isText);
}

/** The ids of messages to select; all messages where it is missing. */
function selected(ids: readonly string[] | undefined): string[] | undefined {
  if (ids === undefined) return undefined;
  if (!Array.isArray(ids)) throw invalidArgument(`ids must be an array, not ${describe(ids)}`);
  for (const [index, id] of ids.entries()) text(`ids[${index}]`, id);
  return stored(ids);
}

/** A message in the form that the addon reads batches in. */
function record(message: QueueMessage, which: string): string {
  const { id, type, payload, timestamp } = fields(message, which);
  if (!Number.isFinite(timestamp)) {
    throw invalid(`message${which}: timestamp`, 'a finite number', timestamp);
  }
  return `{"id":${JSON.stringify(id)},"type":${JSON.stringify(type)},"payload":${payload},"timestamp":${timestamp}}`;
}

/** What went wrong, as text for people. */
function reason(thrown: unknown): string {
  try {
    return isError(thrown) ? String(thrown.message) : String(thrown);
  } catch {
    // An object of the user's that has no text, or throws instead of giving it.
    return 'Unknown error';
  }
}

function invalid(what: string, expected: string, value: unknown): IpcError {
  return new IpcError(
    'ERR_IPC_INVALID_MESSAGE',
    `${what} must be ${expected}, not ${describe(value)}`,
  );
}

function hours(name: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number' || !(value >= 0)) {
    throw invalidArgument(`${name} must be a number of hours, at least 0, not ${describe(value)}`);
  }
  return value;
}

function held(claim: ClaimedMessage): { id: string; token: number } {
  object('claim', claim);
  const { token } = claim;
  if (!Number.isSafeInteger(token)) throw invalidArgument('claim.token must be a whole number');
  return { id: text('claim.message.id', claim.message?.id), token };
}

function id(claim: Claimed): [id: string, token: number] {
  const { message, token } = claim as ClaimedMessage;
  return [message.id, token];
}

function ids(claims: readonly Claimed[]): [id: string, token: number][] {
  return claims.map(id);
}
