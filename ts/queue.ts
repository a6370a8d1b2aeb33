import { type DeliveryStore, deliveryStore, openDeliveryStore } from './delivery-store.js';
import { dialectOfInstalledZod } from './dialect.js';
import { fromNative, IpcError, invalidArgument, textOf } from './errors.js';
import { attach, detach, type Endpoint, nativeHub } from './event-loop.js';
import { limits } from './limits.js';
import {
  type MessageSource,
  messageSource,
  type RetryPolicy,
  type SourcePort,
} from './message-source.js';
import { addon, type NativeDialect, type NativeQueue } from './native.js';
import { array, describe, object, string, text, wholeNumber } from './options.js';
import { privateFile, removePrivateFile } from './private-file.js';
import { queueSource } from './queue-source.js';
import type {
  ClaimedMessage,
  ClaimOptions,
  DeadLetter,
  DeadLetterOptions,
  EnqueueOptions,
  FailOptions,
  FailResult,
  QueueStats,
  SQLiteQueueConfig,
  StatsOptions,
} from './queue-types.js';
import { fields, isText, QueueRecord } from './records.js';
import { attemptsMax, type ClaimKey, type SettleAnswer, settleRequest } from './settlement.js';
import type { QueueMessage } from './types.js';
import { readPackage, ShapeTable } from './value-reader.js';
import { ValueBuffer } from './value-writer.js';
import { WorkerCalls } from './worker-calls.js';

/** How the delivery layer closes a queue. @internal */
export const closeWithin: unique symbol = Symbol('closeWithin');

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
  readonly #work: WorkerCalls;
  /** Those of messages that were asked for on this thread. */
  readonly #shapes = new ShapeTable();
  /** Those of messages that the worker thread has claimed. */
  readonly #workerShapes = new ShapeTable();
  readonly #doorbells = new Set<() => void>();
  /** The file behind `:memory:`, which goes with the queue. */
  #privateFile: string | undefined;
  #closed = false;
  #delivery: DeliveryStore | undefined;

  /**
   * Opens the file, or makes it. Files of the original package open in place.
   *
   * @throws {IpcError} `ERR_IPC_INVALID_ARGUMENT`; SQLite's code when the file cannot be used
   * (`SQLITE_NOTADB`, `SQLITE_CANTOPEN`, `SQLITE_READONLY`, …); `ERR_IPC_FOREIGN_DATABASE`;
   * `ERR_IPC_NETWORK_FILESYSTEM`; `ERR_IPC_ANOTHER_COPY` when another copy of this package has it
   * open in this process. The file is unchanged then.
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
    this.#work = new WorkerCalls(
      this.#native,
      () => this.#assertOpen(),
      () => this.#forgetIfDone(),
    );
    this.#key = this.#native.key;
    attach(this.#key, this.#endpoint);
  }

  /**
   * Stores a message. When this returns, the message survives what `durability` says.
   *
   * @throws {IpcError} `SQLITE_CONSTRAINT_PRIMARYKEY` when the id is stored already;
   * with `idempotent`, `ERR_IPC_ID_CONFLICT` when another message is stored under the id;
   * `ERR_IPC_INVALID_MESSAGE`; `ERR_IPC_QUEUE_CLOSED`; SQLite's code (`SQLITE_BUSY`,
   * `SQLITE_FULL`, …): the message is not stored then.
   */
  enqueue(message: QueueMessage, options?: EnqueueOptions): void {
    if (this.#dialect !== undefined) {
      this.enqueueMany([message], options);
      return;
    }
    const idempotent = isIdempotent(options);
    const { id, type, payload, timestamp } = fields(message, '');
    this.#call(() => this.#native.enqueue(id, type, payload, timestamp, idempotent));
  }

  /**
   * Stores messages in one transaction: all or none. Returns how many, with `idempotent` those
   * included that were stored already.
   *
   * @throws {IpcError} as `enqueue()`; the text names the message that is to blame.
   */
  enqueueMany(messages: readonly QueueMessage[], options?: EnqueueOptions): number {
    const idempotent = isIdempotent(options);
    const values = ValueBuffer.take();
    try {
      for (const [index, message] of array('messages', messages).entries()) {
        const record = new QueueRecord(message as QueueMessage, ` ${index}`);
        if (!record.addTo(values) && !values.addJson(record.json())) {
          throw invalidArgument('messages are too long for one call');
        }
      }
      return this.#call(() =>
        values.handTo((...all) => this.#native.enqueueMany(...all, idempotent)),
      );
    } finally {
      values.release();
    }
  }

  /**
   * Stores a message without blocking the event loop. Messages that wait at the same time share
   * one commit. The promise resolves when the message survives what `durability` says.
   *
   * @throws {IpcError} as `enqueue()`; `ERR_IPC_QUEUE_FULL` when too much waits already.
   */
  enqueueAsync(message: QueueMessage, options?: EnqueueOptions): Promise<void> {
    try {
      this.#assertOpen();
      const idempotent = isIdempotent(options);
      return this.#work.enqueue(new QueueRecord(message, ''), idempotent);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Unprocessed messages, oldest `timestamp` first. They are not claimed: a second call returns
   * them again, here and elsewhere. Rows that cannot be read are set aside as dead letters.
   */
  dequeue(batchSize?: number): QueueMessage[] {
    const limit = wholeNumber('batchSize', batchSize, limits.batchSize, { ...COUNT, min: 0 });
    return this.#read((native) => native.dequeue(limit)) as QueueMessage[];
  }

  /** Marks a message as processed. Unknown ids are ignored. */
  markProcessed(id: string): void {
    const known = string('id', id);
    this.#call(() => isText(known) && this.#native.markProcessed(known));
  }

  /** Marks messages as processed in one transaction. Returns how many were not before. */
  markProcessedMany(ids: readonly string[]): number {
    const known = stored(array('ids', ids));
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
  claim(options: ClaimOptions = {}): ClaimedMessage[] {
    object('options', options);
    const { limit, leaseMs, maxAttempts, owner } = options;
    const count = wholeNumber('limit', limit, limits.batchSize, COUNT);
    const lease = wholeNumber('leaseMs', leaseMs, limits.leaseMs, MS);
    const attempts = attemptsAllowed(maxAttempts);
    if (owner !== undefined && text('owner', owner).length > limits.ownerNameLengthMax) {
      throw invalidArgument(`owner must have at most ${limits.ownerNameLengthMax} letters`);
    }
    return this.#read((native) => native.claim(count, lease, attempts, owner)) as ClaimedMessage[];
  }

  /** Marks a claimed message as processed. False if the claim was no longer held. */
  complete(claim: ClaimedMessage): boolean {
    const { id, token } = held(claim);
    return this.#call(() => this.#native.complete(id, token));
  }

  /**
   * Marks claimed messages as processed in one transaction. Says of each whether its claim was
   * still held.
   */
  completeMany(claims: readonly ClaimedMessage[]): boolean[] {
    const completed = array('claims', claims).map((claim): ClaimKey => {
      const { id, token } = held(claim);
      return [id, token];
    });
    const request = settleRequest({ completed });
    const { stale } = JSON.parse(this.#call(() => this.#native.settle(request))) as SettleAnswer;
    const lost = new Set(stale);
    return completed.map((_, index) => !lost.has(index));
  }

  /** Gives a claimed message back after a failure: it is delivered again later, or dies. */
  fail(claim: ClaimedMessage, error: unknown, options: FailOptions = {}): FailResult {
    const { id, token } = held(claim);
    object('options', options);
    const attempts = attemptsAllowed(options.maxAttempts);
    const base = wholeNumber('retryDelayMs', options.retryDelayMs, limits.retryDelayMs, MS);
    const max = wholeNumber('maxRetryDelayMs', options.maxRetryDelayMs, limits.retryDelayMsMax, MS);
    const why = textOf(error);
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
  deadLetters(options: DeadLetterOptions = {}): DeadLetter[] {
    object('options', options);
    const { limit, offset } = options;
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

  /**
   * Counters of the file. Up to 20,000 messages of each state and 4,000 claims are counted, so
   * that the call takes milliseconds however many there are; with `exact` all of them.
   */
  stats(options: StatsOptions = {}): QueueStats {
    object('options', options);
    const { exact = false } = options;
    if (typeof exact !== 'boolean') {
      throw invalidArgument(`exact must be true or false, not ${describe(exact)}`);
    }
    return JSON.parse(this.#call(() => this.#native.stats(exact))) as QueueStats;
  }

  /** Gives space of deleted rows back to the file system and empties the write-ahead log. */
  compact(): void {
    this.#call(() => this.#native.compact());
  }

  /**
   * Closes the file. Asynchronous work that has begun is finished first; claims of this queue
   * object are given back. Closing again does nothing.
   *
   * The call blocks meanwhile, which takes milliseconds, unless another process holds the file: it
   * waits at most 5 seconds for the work, and `busyTimeoutMs` for the claims. What is not done by
   * then is rejected with `ERR_IPC_QUEUE_CLOSED`, and such claims end with their lease.
   */
  close(): void {
    this.#close(true);
  }

  /**
   * Closes the file without blocking the event loop: gives the asynchronous work and the claims
   * `waitMs`. What has not begun by then is rejected with `ERR_IPC_QUEUE_CLOSED`. @internal
   */
  async [closeWithin](waitMs: number): Promise<void> {
    if (!this.#closed && this.#work.isUsed) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const deadline = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, waitMs);
      });
      // It is answered after everything that was asked before.
      const done = this.#work.ask((native, ticket) => native.releaseAllLater(ticket));
      // Claims that cannot be given back end with their lease.
      await Promise.race([done.catch(() => {}), deadline]);
      clearTimeout(timer);
    }
    this.#close(false);
  }

  #close(wait: boolean): void {
    if (this.#closed) return;
    this.#work.flush();
    this.#closed = true;
    this.#doorbells.clear();
    try {
      this.#native.close(wait);
    } catch (error) {
      throw fromNative(error);
    } finally {
      this.#forgetIfDone();
      if (this.#privateFile !== undefined) removePrivateFile(this.#privateFile);
    }
  }

  /** Closed, and nobody waits for the worker any more. */
  #forgetIfDone(): void {
    if (!this.#closed || !this.#work.isIdle) return;
    detach(this.#key);
    this.#native.forget();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** How `SQLiteQueuePoller` takes messages: with claims, on the worker thread. @internal */
  get [messageSource](): SourcePort {
    return { ...ownMethods(), open: (policy) => this.#source(policy) };
  }

  /** What the delivery layer needs of the queue. @internal */
  get [deliveryStore](): DeliveryStore {
    this.#delivery ??= openDeliveryStore((run) => this.#call(() => run(this.#native)), this.#work);
    return this.#delivery;
  }

  #source(policy: RetryPolicy): MessageSource {
    this.#assertOpen();
    const queue = {
      native: this.#native,
      work: this.#work,
      workerShapes: this.#workerShapes,
      claimNow: (...terms: Parameters<NativeQueue['claim']>) =>
        this.#read((native) => native.claim(...terms)) as ClaimedMessage[],
      keptHours: this.#retentionHours,
      call: <T>(work: () => T) => this.#call(work),
      onDoorbell: (listener: () => void) => this.#onDoorbell(listener),
    };
    return queueSource(queue, policy);
  }

  #onDoorbell(listener: () => void): () => void {
    this.#doorbells.add(listener);
    if (this.#doorbells.size === 1) this.#native.watch(true);
    return () => {
      if (this.#doorbells.delete(listener) && this.#doorbells.size === 0 && !this.#closed) {
        this.#native.watch(false);
      }
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

  /** Reads the package that `take` asks for. */
  #read(take: (native: NativeQueue) => ArrayBuffer): unknown {
    return this.#call(() => {
      this.#shapes.mend(this.#native);
      return readPackage(this.#shapes, take(this.#native));
    });
  }

  readonly #endpoint: Endpoint = {
    onCompleted: (ticket, code, value) => this.#work.completed(ticket, code, value),
    onClaimed: (ticket, claims, suspects) =>
      this.#work.claimed(ticket, { claims: claims as ClaimedMessage[], suspects }),
    shapes: this.#workerShapes,
    onDoorbell: () => {
      for (const listener of this.#doorbells) listener();
    },
  };
}

/** What a poller would call of a queue that nobody has changed. */
function ownMethods(): Pick<SourcePort, 'dequeue' | 'markProcessed' | 'cleanup'> {
  const { dequeue, markProcessed, cleanup } = SQLiteQueue.prototype;
  return { dequeue, markProcessed, cleanup };
}

function isIdempotent(options: EnqueueOptions | undefined): boolean {
  if (options === undefined) return false;
  object('options', options);
  const { idempotent = false } = options;
  if (typeof idempotent !== 'boolean') {
    throw invalidArgument(`idempotent must be true or false, not ${describe(idempotent)}`);
  }
  return idempotent;
}

/** The attempts that a caller allows, as a number for the core. */
function attemptsAllowed(maxAttempts: unknown): number {
  const allowed = { ...COUNT, infinite: true };
  return attemptsMax(wholeNumber('maxAttempts', maxAttempts, limits.attemptsMax, allowed));
}

/** The ids among these that a stored message can have. */
function stored(ids: readonly string[]): string[] {
  return ids.map((id, index) => string(`ids[${index}]`, id)).filter(isText);
}

/** The ids of messages to select; all messages where it is missing. */
function selected(ids: readonly string[] | undefined): string[] | undefined {
  if (ids === undefined) return undefined;
  return stored(array('ids', ids));
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
  // Processes with the original package can store an empty id.
  return { id: string('claim.message.id', claim.message?.id), token };
}
