import { IpcError } from './errors.js';

/** Room for the length of a frame, which the addon writes; see `src/frame.rs`. */
const HEADER_PLACE = '\n\0\0\0';

/**
 * A batch longer than this is sent without waiting for the end of the tick, in UTF-16 units: the
 * receiver can begin while the sender goes on, and V8 keeps shorter strings among its young objects.
 */
const BATCH_LENGTH_MAX = 48 * 1024;

/** Longest sequence of bytes that one UTF-16 unit can become. */
const UTF8_BYTES_PER_UNIT = 3;

/**
 * The JSON text of an object as `JSON.stringify` makes it, `toJSON` included, with this `id` in
 * place of none.
 */
function withId(message: unknown, id: unknown): string {
  const prototype: unknown = Object.getPrototypeOf(message);
  if (prototype === Object.prototype && !('toJSON' in (message as object))) {
    return JSON.stringify({ ...(message as object), id });
  }
  const plain: unknown = JSON.parse(JSON.stringify(message) ?? 'null');
  if (typeof plain !== 'object' || plain === null || Array.isArray(plain)) {
    throw new TypeError('a message without an id must be an object, to be given one');
  }
  return JSON.stringify({ ...plain, id });
}

/**
 * The JSON text of a message. With an `id`, the message is given that one.
 *
 * @throws {IpcError} `ERR_IPC_UNSERIALIZABLE` when JSON has no form for it,
 * `ERR_IPC_FRAME_TOO_LARGE` when that form is longer than `maxFrameBytes`.
 */
export function stringify(message: unknown, maxFrameBytes: number, id?: unknown): string {
  let text: string | undefined;
  try {
    text = id === undefined ? JSON.stringify(message) : withId(message, id);
  } catch (error) {
    throw new IpcError(
      'ERR_IPC_UNSERIALIZABLE',
      `The message cannot be sent as JSON: ${(error as Error)?.message}`,
      { cause: error },
    );
  }
  if (text === undefined) {
    throw new IpcError(
      'ERR_IPC_UNSERIALIZABLE',
      `The message cannot be sent as JSON: it is ${typeof message}`,
    );
  }
  if (text.length * UTF8_BYTES_PER_UNIT > maxFrameBytes) {
    const bytes = Buffer.byteLength(text);
    if (bytes > maxFrameBytes) {
      throw new IpcError(
        'ERR_IPC_FRAME_TOO_LARGE',
        `The message is too large: ${bytes} bytes exceed maxFrameBytes (${maxFrameBytes})`,
      );
    }
  }
  return text;
}

/** A frame whose body is not one JSON value. */
export class MalformedFrame {
  constructor(readonly error: IpcError) {}
}

/**
 * The messages of a batch, in order; a {@link MalformedFrame} stands for what is not JSON. See
 * `src/socket/batch.rs` for the form of `text`.
 */
export function parseBatch(text: string, count: number, separator: number): unknown[] {
  let parsed: unknown[] | undefined;
  try {
    parsed = JSON.parse(text) as unknown[];
  } catch {
    // At least one frame is to blame; the others must not suffer.
  }
  if (parsed !== undefined && parsed.length === 2 * count - 1) {
    let at = 1;
    while (at < parsed.length && parsed[at] === separator) at += 2;
    if (at > parsed.length - 1) {
      if (count === 1) return parsed;
      const messages = new Array<unknown>(count);
      for (let index = 0; index < count; index++) messages[index] = parsed[2 * index];
      return messages;
    }
  }
  const frames = text.slice(1, -1).split(`,${separator},`);
  if (frames.length !== count) {
    // A peer guessed the separator: nothing in this batch can be told apart.
    return new Array<unknown>(count).fill(new MalformedFrame(malformed('it imitates a batch')));
  }
  return frames.map((frame) => {
    try {
      return JSON.parse(frame);
    } catch (error) {
      return new MalformedFrame(malformed((error as Error)?.message, error));
    }
  });
}

function malformed(why: string, cause?: unknown): IpcError {
  return new IpcError('ERR_IPC_MALFORMED_FRAME', `A frame is not JSON: ${why}`, { cause });
}

/** So many messages that somebody awaits the answer to leave together at most. */
const AWAITED_COUNT_MAX = 32;

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
  readonly #write: (text: string) => number;
  /** Called at once when everything that was added has been offered to the kernel. */
  onFlush: ((error: IpcError | undefined) => void) | undefined;
  #text = '';
  #awaited = 0;
  #batch: Batch | undefined;
  /** Batches that the kernel has not taken yet, each with the byte count that says it has. */
  #waiting: { until: number; batch: Batch }[] = [];
  #scheduled = false;
  readonly #flush = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  /** `write` returns 0 when the kernel took all, else the byte count after which it has. */
  constructor(write: (text: string) => number) {
    this.#write = write;
  }

  /** Adds a message; the promise resolves when the kernel has its bytes. */
  send(text: string): Promise<void> {
    this.#batch ??= newBatch();
    const { promise } = this.#batch;
    this.post(text);
    return promise;
  }

  /**
   * Adds a message that nobody waits for. If it cannot be sent, `onFlush` tells; on a server, the
   * addon then closes the connection, because what was to be told is lost.
   */
  post(text: string): void {
    this.#text += HEADER_PLACE + text;
    if (this.#text.length > BATCH_LENGTH_MAX) {
      this.flush();
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      // A promise job, because test runners may replace `nextTick` and `queueMicrotask`.
      SETTLED.then(this.#flush);
    }
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
    if (text === '') return;
    this.#awaited = 0;
    const batch = this.#batch;
    this.#text = '';
    this.#batch = undefined;
    try {
      const until = this.#write(text);
      if (until === 0) batch?.resolve();
      else if (batch !== undefined) this.#waiting.push({ until, batch });
    } catch (error) {
      batch?.reject(error);
      this.onFlush?.(error as IpcError);
      return;
    }
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
