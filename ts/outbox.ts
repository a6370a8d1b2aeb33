import { MARK } from './acknowledgements.js';
import type { Burst } from './burst.js';
import type { IpcError } from './errors.js';
import type { FrameWriter } from './frame-writer.js';
import { stringify, withId } from './frames.js';
import type { MessageBody, NotedMessage } from './message-body.js';
import { chooseNotes } from './value-habit.js';
import { ValueBuffer } from './value-writer.js';

/** Room for the length of a frame, which the addon writes; see `src/frame.rs`. */
const HEADER_PLACE = '\n\0\0\0';

/**
 * A text longer than this is sent without waiting for the end of the tick, in UTF-16 units: the
 * receiver can begin while the sender goes on, and V8 keeps shorter strings among its young objects.
 */
const BATCH_LENGTH_MAX = 48 * 1024;

/** The same in bytes of a {@link ValueBuffer}, which become some 48 KiB of JSON. */
const BATCH_BYTES_MAX = 28 * 1024;

/** A longer text is not copied into a {@link ValueBuffer}, in UTF-16 units. */
const COPIED_LENGTH_MAX = 16 * 1024;

/** So many messages that somebody awaits the answer to leave together at most. */
const AWAITED_COUNT_MAX = 20;

interface Batch {
  promise: Promise<void>;
  resolve: () => void;
  reject: (error: unknown) => void;
}

function newBatch(): Batch {
  let resolve!: () => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

/**
 * Messages on their way to one connection. Those of one tick leave in one call of the addon and
 * share one promise, which resolves when the kernel has all their bytes.
 */
export class Outbox {
  readonly #writer: FrameWriter;
  readonly #burst: Burst | undefined;
  /** Called at once when everything that was added has been offered to the kernel. */
  onFlush: ((error: IpcError | undefined) => void) | undefined;
  /** The newest round of its burst in which it was given something. */
  round = -1;
  // What waits for the end of the tick: a text, or messages of a buffer. One of them is empty, so
  // that messages leave in the order in which they came.
  #text = '';
  #values: ValueBuffer | undefined;
  /** The part of the buffer, if it is not this outbox's alone. */
  #part: { begin: number; end: number } | undefined;
  #awaited = 0;
  #batch: Batch | undefined;
  /** Batches that the kernel has not taken yet, each with the byte count that says it has. */
  #waiting: { until: number; batch: Batch }[] = [];
  #scheduled = false;
  readonly #flush = (): void => {
    this.#scheduled = false;
    this.#burst?.end(this);
    this.flush();
  };

  /** `burst` is told of everything that is added. */
  constructor(writer: FrameWriter, burst?: Burst) {
    this.#writer = writer;
    this.#burst = burst;
  }

  /**
   * Adds a message; the promise resolves when the kernel has its bytes. An object without an id is
   * sent with `id`, if there is one.
   *
   * @throws {IpcError} As {@link stringify} and {@link withId}; nothing was added.
   */
  send(message: unknown, maxFrameBytes: number, id?: string | number): Promise<void> {
    return this.#promise(this.#put(message, maxFrameBytes, id));
  }

  /** As {@link Outbox.send}, a message by its JSON text. */
  sendText(text: string): Promise<void> {
    return this.#promise(this.#putText(text));
  }

  /**
   * Adds a message that nobody waits for. If it cannot be sent, `onFlush` tells; on a server, the
   * addon then closes the connection, because what was to be told is lost.
   *
   * @throws {IpcError} As {@link stringify}; nothing was added.
   */
  post(message: unknown, maxFrameBytes: number): void {
    this.#go(this.#put(message, maxFrameBytes));
  }

  /** As {@link Outbox.post}, a message by its JSON text. */
  postText(text: string): void {
    this.#go(this.#putText(text));
  }

  /**
   * Sends what cannot leave together with this message, and would have to leave before it. Whoever
   * has to know what a call of `onFlush` is about does this before the message counts.
   */
  makeWay(body: MessageBody): void {
    const goesOn =
      typeof body === 'string'
        ? this.#valuesLength === 0
        : this.#part?.end === body.begin && this.#values === body.values;
    if (!goesOn) this.flush();
  }

  /** As {@link Outbox.post}, a message that asks for its acknowledgement. */
  postMarked(body: MessageBody): void {
    this.makeWay(body);
    this.#go(typeof body === 'string' ? this.#putText(body + MARK) : this.#putNoted(body));
  }

  /** Bytes of the buffer that wait. */
  get #valuesLength(): number {
    if (this.#part !== undefined) return this.#part.end - this.#part.begin;
    return this.#values?.length ?? 0;
  }

  /** Adds a message to what waits. Returns how much there is more. */
  #put(message: unknown, maxFrameBytes: number, id?: string | number): number {
    if (this.#part !== undefined) this.flush();
    if (this.#text === '' && chooseNotes()) {
      this.#values ??= ValueBuffer.take();
      const values = this.#values;
      const before = values.length;
      if (values.add(message, maxFrameBytes, false, id)) return values.length - before;
    }
    const whole = id === undefined ? message : withId(message as object, id);
    return this.#putText(stringify(whole, maxFrameBytes));
  }

  #putText(text: string): number {
    if (this.#valuesLength > 0) {
      const isCopied = this.#part === undefined && text.length <= COPIED_LENGTH_MAX;
      if (isCopied && this.#values?.addJson(text)) return text.length;
      this.flush();
    } else {
      // The first message may be on its way into it, with a getter that sends this. It is interrupted
      // thereby, and comes behind.
      this.#values?.release();
      this.#values = undefined;
    }
    this.#text += HEADER_PLACE + text;
    return text.length;
  }

  #putNoted({ values, begin, end }: NotedMessage): number {
    if (this.#part !== undefined) {
      this.#part.end = end;
    } else {
      // It may have one of its own, with nothing in it.
      this.#values?.release();
      this.#values = values.share();
      this.#part = { begin, end };
    }
    return end - begin;
  }

  /** The promise of what was just added. */
  #promise(added: number): Promise<void> {
    this.#batch ??= newBatch();
    const { promise } = this.#batch;
    this.#go(added);
    return promise;
  }

  /** Sends what waits, now if it is much or at the end of the tick. */
  #go(added: number): void {
    if (!this.#scheduled) {
      this.#scheduled = true;
      // A promise job, because test runners may replace `nextTick` and `queueMicrotask`.
      SETTLED.then(this.#flush);
    }
    if (this.#text.length > BATCH_LENGTH_MAX || this.#valuesLength > BATCH_BYTES_MAX) this.flush();
    this.#burst?.add(this, added);
  }

  /**
   * Says that somebody awaits the answer to what was just added: of many such messages the first
   * leave before the end of the tick, so that the peer works on them while the others are made.
   */
  hasten(): void {
    if (++this.#awaited >= AWAITED_COUNT_MAX) this.flush();
  }

  /** Sends what waits in this process, at once. */
  flush(): void {
    const text = this.#text;
    const values = this.#values;
    if (text === '' && this.#valuesLength === 0) return;
    const part = this.#part;
    this.#awaited = 0;
    const batch = this.#batch;
    this.#text = '';
    this.#values = undefined;
    this.#part = undefined;
    this.#batch = undefined;
    let until: number;
    try {
      until =
        text === '' && values !== undefined
          ? values.handTo(this.#writer.values, part?.begin, part?.end)
          : this.#writer.text(text);
    } catch (error) {
      batch?.reject(error);
      this.onFlush?.(error as IpcError);
      return;
    } finally {
      values?.release();
    }
    if (until === 0) batch?.resolve();
    else if (batch !== undefined) this.#waiting.push({ until, batch });
    this.onFlush?.(undefined);
  }

  /** The kernel has `written` bytes since the connection was made. */
  onFlushed(written: number): void {
    let done = 0;
    for (const { until, batch } of this.#waiting) {
      if (until > written) break;
      batch.resolve();
      done++;
    }
    this.#waiting.splice(0, done);
  }

  /** Resolves when everything that was added has left, or was rejected. */
  async drained(): Promise<void> {
    this.flush();
    const last = this.#waiting.at(-1);
    if (last !== undefined) await last.batch.promise.catch(() => {});
  }

  /** The connection is gone. */
  fail(error: unknown): void {
    this.flush();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { batch } of waiting) batch.reject(error);
  }
}

const SETTLED = Promise.resolve();
