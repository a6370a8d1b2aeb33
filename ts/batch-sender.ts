import { Emitter } from './emitter.js';
import { IpcError, invalidArgument } from './errors.js';
import { limits } from './limits.js';
import { callable, DELAY_MS_MAX, describe, object, wholeNumber } from './options.js';
import type { DeadlineOptions } from './types.js';

/** What happens to a new item when the buffer is full. */
export type OverflowPolicy = 'reject' | 'drop-oldest' | 'drop-newest';

/** Options of {@link BatchSender}. */
export interface BatchSenderConfig<Item> {
  /**
   * Sends one batch, for example by `client.request()`. When it rejects, the batch stays at the
   * head of the buffer and is sent again after a growing wait: the receiver may see it twice.
   */
  send: (batch: Item[]) => Promise<unknown>;
  /** Items sent together at most; a full batch leaves at once. Default 100. */
  maxBatchSize?: number | undefined;
  /** Milliseconds that an item may wait for others. Default 100. */
  flushIntervalMs?: number | undefined;
  /** Items that may wait, those of the batch under way included. Default 10000. */
  maxBuffered?: number | undefined;
  /** `reject` (default): `add()` throws; `drop-oldest`, `drop-newest`: items are lost, and counted. */
  overflow?: OverflowPolicy | undefined;
}

/** Events of {@link BatchSender}, with what listeners receive. */
export interface BatchSenderEvents<Item> {
  /** A batch was sent. */
  sent: [batch: Item[]];
  /** A batch could not be sent; it stays in the buffer, and is tried again after `waitMs`. */
  error: [error: unknown, info: { batch: Item[]; attempt: number; waitMs: number }];
  /** Items were dropped because the buffer was full. */
  drop: [items: Item[]];
}

/** Counters of {@link BatchSender}. */
export interface BatchSenderMetrics {
  /** Items waiting, those of the batch under way included. */
  buffered: number;
  /** Items added. */
  added: number;
  /** Items sent. */
  sent: number;
  /** Batches sent. */
  batches: number;
  /** Items dropped because the buffer was full. */
  dropped: number;
  /** Items refused because the buffer was full. */
  rejected: number;
  /** Attempts that failed. */
  failures: number;
}

/**
 * Collects items and sends them in batches, one batch at a time and in order.
 *
 * Waiting items keep the process alive; an empty sender does not.
 */
export class BatchSender<Item> extends Emitter<BatchSenderEvents<Item>> {
  readonly #send: (batch: Item[]) => Promise<unknown>;
  readonly #maxBatchSize: number;
  readonly #flushIntervalMs: number;
  readonly #maxBuffered: number;
  readonly #overflow: OverflowPolicy;
  #buffer: Item[] = [];
  /** Items at the head of the buffer that are being sent, and may not be dropped. */
  #underWay = 0;
  #failuresInRow = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether batches are being sent, and the promise of the last time that they were. */
  #works = false;
  #working = Promise.resolve();
  #wake: (() => void) | undefined;
  #closed = false;
  readonly #counts = { added: 0, sent: 0, batches: 0, dropped: 0, rejected: 0, failures: 0 };

  constructor(config: BatchSenderConfig<Item>) {
    super();
    object('config', config);
    callable('send', config.send);
    const count = { min: 1, max: 2 ** 32 - 1 };
    this.#send = config.send;
    this.#maxBatchSize = wholeNumber(
      'maxBatchSize',
      config.maxBatchSize,
      limits.sendBatchSize,
      count,
    );
    this.#flushIntervalMs = wholeNumber(
      'flushIntervalMs',
      config.flushIntervalMs,
      limits.flushIntervalMs,
      { min: 0, max: DELAY_MS_MAX },
    );
    this.#maxBuffered = wholeNumber(
      'maxBuffered',
      config.maxBuffered,
      limits.bufferedItemsMax,
      count,
    );
    const { overflow = 'reject' } = config;
    if (!['reject', 'drop-oldest', 'drop-newest'].includes(overflow)) {
      throw invalidArgument(
        `overflow must be 'reject', 'drop-oldest' or 'drop-newest', not ${describe(overflow)}`,
      );
    }
    this.#overflow = overflow;
  }

  /**
   * Adds an item. False if it was dropped at once.
   *
   * @throws {IpcError} `ERR_IPC_BUFFER_FULL` when the buffer is full and the policy is `reject`;
   * `ERR_IPC_SENDER_CLOSED` after `close()`.
   */
  add(item: Item): boolean {
    if (this.#closed) throw new IpcError('ERR_IPC_SENDER_CLOSED', 'The batch sender is closed');
    if (this.#buffer.length >= this.#maxBuffered && !this.#makeRoom(item)) return false;
    this.#counts.added++;
    this.#buffer.push(item);
    if (this.#buffer.length - this.#underWay >= this.#maxBatchSize) this.#begin();
    else this.#timer ??= setTimeout(() => this.#begin(), this.#flushIntervalMs);
    return true;
  }

  #makeRoom(item: Item): boolean {
    if (this.#overflow === 'reject') {
      this.#counts.rejected++;
      throw new IpcError(
        'ERR_IPC_BUFFER_FULL',
        `The batch sender is full: ${this.#maxBuffered} items wait (maxBuffered)`,
      );
    }
    const oldest = this.#overflow === 'drop-oldest' && this.#buffer.length > this.#underWay;
    const dropped = oldest ? this.#buffer.splice(this.#underWay, 1) : [item];
    this.#counts.dropped++;
    this.tell('drop', dropped);
    return oldest;
  }

  /** Sends everything that waits now; resolves when it has left. */
  async flush(): Promise<void> {
    this.#begin();
    this.#wake?.();
    await this.#working;
  }

  /**
   * Takes no more items, sends what waits, and ends; at the deadline what is left is given up.
   * Returns the items that were not sent.
   */
  async close({ deadlineMs }: DeadlineOptions = {}): Promise<Item[]> {
    const deadline = wholeNumber('deadlineMs', deadlineMs, limits.deadlineMs, {
      min: 0,
      max: DELAY_MS_MAX,
    });
    this.#closed = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, deadline);
    });
    await Promise.race([this.flush(), late]);
    clearTimeout(timer);
    const left = this.#buffer;
    this.#buffer = [];
    this.#wake?.();
    return left;
  }

  /** Counters since the sender was made. */
  metrics(): BatchSenderMetrics {
    return { buffered: this.#buffer.length, ...this.#counts };
  }

  [Symbol.asyncDispose](): Promise<unknown> {
    return this.close();
  }

  #begin(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#works) return;
    // Before the first batch is handed over, since `send` may add items.
    this.#works = true;
    this.#working = this.#work();
  }

  /** Sends batch after batch until nothing waits. */
  async #work(): Promise<void> {
    while (this.#buffer.length > 0) {
      const batch = this.#buffer.slice(0, this.#maxBatchSize);
      this.#underWay = batch.length;
      try {
        await this.#send(batch);
        this.#failuresInRow = 0;
        this.#counts.sent += batch.length;
        this.#counts.batches++;
        this.#buffer.splice(0, batch.length);
        this.#underWay = 0;
        this.tell('sent', batch);
      } catch (error) {
        this.#underWay = 0;
        this.#failuresInRow++;
        this.#counts.failures++;
        const ceiling = limits.requestRetryDelayMs * 2 ** Math.min(this.#failuresInRow - 1, 30);
        const waitMs = Math.min(ceiling, limits.reconnectDelayMsMax);
        this.tell('error', error, { batch, attempt: this.#failuresInRow, waitMs });
        // Nothing is left to wait for when `close()` has given it up.
        if (this.#buffer.length > 0) await this.#pause(waitMs);
      }
    }
    // In the same turn as the look at the buffer: whatever is added from now on begins anew.
    this.#works = false;
  }

  /** Waits, unless `flush()` or `close()` is impatient. */
  async #pause(waitMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, waitMs);
    });
    clearTimeout(timer);
    this.#wake = undefined;
  }
}
