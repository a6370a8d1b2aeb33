import { nodeCrypto } from './builtins.js';
import { abortReason, IpcError } from './errors.js';
import { limits } from './limits.js';
import { OwedReplies } from './owed-replies.js';
import type { AbortSignalLike, IPCMessage } from './types.js';

/** What a reply is recognised by. */
export type RequestId = string | number;

/** A request that waits for its reply. */
class Waiting {
  /** Those it left with, and its place among them. */
  group: Group | undefined;
  place = 0;
  /** What listens to the signal of the request. */
  onAbort: (() => void) | undefined;

  constructor(
    readonly id: RequestId,
    public resolve: (reply: unknown) => void,
    public reject: (error: unknown) => void,
    public signal: AbortSignalLike | undefined,
  ) {}

  /**
   * It has its outcome. An old table of the `Map` it was in may keep it for a while, see
   * `SentMessages`: not with the caller that waited for it.
   */
  forget(): void {
    this.group = undefined;
    this.onAbort = undefined;
    this.resolve = nothing;
    this.reject = nothing;
    this.signal = undefined;
  }
}

const nothing = (): void => {};

/** Requests that left in one batch: their bytes have one fate, and they one deadline and timer. */
class Group {
  readonly #waiting: (Waiting | undefined)[] = [];
  readonly #timer: ReturnType<typeof setTimeout>;
  #size = 0;
  /** Nobody waits any more, and nobody may join. */
  isOver = false;

  constructor(
    /** Settles when the batch has left or is lost. */
    readonly sent: Promise<void>,
    readonly timeoutMs: number,
    /** Ends one that may get its reply all the same. */
    fail: (waiting: Waiting, error: unknown) => void,
    /** Ends one that did not leave. */
    unsent: (waiting: Waiting, error: unknown) => void,
  ) {
    this.#timer = setTimeout(() => {
      this.#end((waiting) => {
        const text = `Connection gave no reply to the request ${JSON.stringify(waiting.id)} within ${timeoutMs}ms`;
        fail(waiting, new IpcError('ERR_IPC_REQUEST_TIMEOUT', text));
      });
    }, timeoutMs);
    // The connection keeps the process alive as long as a reply can come.
    (this.#timer as { unref?: () => void }).unref?.();
    sent.catch((error) => this.#end((waiting) => unsent(waiting, error)));
  }

  join(waiting: Waiting): void {
    waiting.group = this;
    waiting.place = this.#waiting.push(waiting) - 1;
    this.#size++;
  }

  /** A place is emptied at once: who waits for long must not hold the replies of the others. */
  leave(waiting: Waiting): void {
    this.#waiting[waiting.place] = undefined;
    this.#size--;
    if (this.#size > 0) return;
    this.isOver = true;
    clearTimeout(this.#timer);
  }

  #end(fail: (waiting: Waiting) => void): void {
    for (const waiting of this.#waiting) if (waiting !== undefined) fail(waiting);
  }
}

/** The requests of one client: which ids are in use, and who waits for which reply. */
export class Requests {
  readonly #waiting = new Map<RequestId, Waiting>();
  /** Ids of requests with several attempts, which keep them between two. */
  readonly #reserved = new Set<RequestId>();
  /** The requests that were sent last, which the next one may join. */
  #group: Group | undefined;
  /** Ids whose reply may still come although nobody waits for it any more. */
  readonly #given = new OwedReplies(limits.lateRepliesMax);
  readonly #pauses = new Set<{ reject: (error: unknown) => void }>();
  #prefix: string | undefined;
  #count = 0;
  #onIdle: (() => void) | undefined;
  /** Replies that came when nobody waited for them any more. */
  late = 0;
  /** Replies on this connection, the late ones included. */
  replies = 0;

  /** Requests under way. */
  get size(): number {
    let size = this.#waiting.size;
    for (const id of this.#reserved) if (!this.#waiting.has(id)) size++;
    return size;
  }

  /** An id that no other client makes. */
  newId(): string {
    this.#count++;
    this.#prefix ??= nodeCrypto().randomBytes(9).toString('base64url');
    return `${this.#prefix}-${this.#count.toString(36)}`;
  }

  /** Throws if a request with this id is under way. */
  checkFree(id: RequestId): void {
    if (!this.#waiting.has(id) && !this.#reserved.has(id)) return;
    throw new IpcError(
      'ERR_IPC_DUPLICATE_REQUEST_ID',
      `A request with the id ${JSON.stringify(id)} waits for its reply already`,
    );
  }

  /** Runs `work`, during which nobody else may use the id. */
  async reserve<Result>(id: RequestId, work: () => Promise<Result>): Promise<Result> {
    this.checkFree(id);
    this.#reserved.add(id);
    try {
      return await work();
    } finally {
      this.#reserved.delete(id);
      this.#tellIdle();
    }
  }

  /** Waits for the reply to `id`, a request whose batch is on its way as `sent`. */
  reply(
    id: RequestId,
    timeoutMs: number,
    signal: AbortSignalLike | undefined,
    sent: Promise<void>,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const waiting = new Waiting(id, resolve, reject, signal);
      this.#waiting.set(id, waiting);
      let group = this.#group;
      if (group?.sent !== sent || group.timeoutMs !== timeoutMs || group.isOver) {
        group = new Group(sent, timeoutMs, this.#fail, this.#giveUp);
        this.#group = group;
      }
      group.join(waiting);
      if (signal === undefined) return;
      waiting.onAbort = () => this.#fail(waiting, abortReason(signal));
      signal.addEventListener('abort', waiting.onAbort, { once: true });
    });
  }

  readonly #fail = (waiting: Waiting, error: unknown): void => {
    this.#giveUp(waiting, error);
    this.#given.add(waiting.id);
  };

  readonly #giveUp = (waiting: Waiting, error: unknown): void => {
    const { reject } = waiting;
    this.#end(waiting);
    reject(error);
  };

  #end(waiting: Waiting): void {
    this.#waiting.delete(waiting.id);
    waiting.group?.leave(waiting);
    const { signal, onAbort } = waiting;
    if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
    waiting.forget();
    this.#tellIdle();
  }

  #tellIdle(): void {
    if (this.#waiting.size === 0 && this.#reserved.size === 0) this.#onIdle?.();
  }

  /** Waits between two attempts; `end()` ends the wait. */
  pause(ms: number, signal: AbortSignalLike | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => end(resolve), ms);
      const onAbort = () => end(() => reject(abortReason(signal as AbortSignalLike)));
      const pause = { reject: (error: unknown) => end(() => reject(error)) };
      const end = (settle: () => void) => {
        this.#pauses.delete(pause);
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        settle();
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#pauses.add(pause);
    });
  }

  /** Ends every wait between two attempts, and every wait for a reply. */
  end(error: unknown): void {
    for (const pause of [...this.#pauses]) pause.reject(error);
    this.fail(error);
  }

  /** Takes a message from the server; false if it is no reply to any request. */
  take(message: IPCMessage): boolean {
    const id = message?.id as RequestId | undefined;
    if (id === undefined) return false;
    const waiting = this.#waiting.get(id);
    if (waiting !== undefined) {
      this.replies++;
      const { resolve } = waiting;
      this.#end(waiting);
      resolve(message);
      return true;
    }
    // One reply per request that was given up: what comes beyond is for somebody else, such as an
    // acknowledged message under the same id.
    if (!this.#given.take(id)) return false;
    this.replies++;
    this.late++;
    return true;
  }

  /** Every reply that is waited for will not come. */
  fail(error: unknown): void {
    for (const waiting of [...this.#waiting.values()]) this.#fail(waiting, error);
  }

  /** There is a new connection, on which no reply to what was sent before can come. */
  restart(): void {
    this.#given.clear();
    this.replies = 0;
  }

  /** Resolves when no request is under way. */
  async idle(): Promise<void> {
    while (this.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
  }
}
