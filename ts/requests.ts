import { randomBytes } from 'node:crypto';
import { abortReason, IpcError } from './errors.js';
import { limits } from './limits.js';
import type { AbortSignalLike, IPCMessage } from './types.js';

/** What a reply is recognised by. */
export type RequestId = string | number;

interface Waiting {
  resolve: (reply: unknown) => void;
  reject: (error: unknown) => void;
}

/** The requests of one client: which ids are in use, and who waits for which reply. */
export class Requests {
  /** Ids of requests under way, those between two attempts included. */
  readonly #active = new Set<RequestId>();
  readonly #waiting = new Map<RequestId, Waiting>();
  /** Ids whose reply may still come although nobody waits for it any more, the oldest first. */
  readonly #given = new Set<RequestId>();
  readonly #pauses = new Set<{ reject: (error: unknown) => void }>();
  readonly #prefix = randomBytes(9).toString('base64url');
  #count = 0;
  #onIdle: (() => void) | undefined;
  /** Replies that came when nobody waited for them any more. */
  late = 0;

  /** Requests under way. */
  get size(): number {
    return this.#active.size;
  }

  /** An id that no other client makes. */
  newId(): string {
    this.#count++;
    return `${this.#prefix}-${this.#count.toString(36)}`;
  }

  /** Runs `work` with an id of its own. */
  async reserve<Result>(id: RequestId, work: () => Promise<Result>): Promise<Result> {
    if (this.#active.has(id)) {
      throw new IpcError(
        'ERR_IPC_DUPLICATE_REQUEST_ID',
        `A request with the id ${JSON.stringify(id)} waits for its reply already`,
      );
    }
    this.#active.add(id);
    try {
      return await work();
    } finally {
      this.#active.delete(id);
      if (this.#active.size === 0) this.#onIdle?.();
    }
  }

  /** Sends, and waits for the reply to `id`. */
  reply(
    id: RequestId,
    timeoutMs: number,
    signal: AbortSignalLike | undefined,
    send: () => Promise<void>,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const text = `Connection gave no reply to the request ${JSON.stringify(id)} within ${timeoutMs}ms`;
        waiting.reject(new IpcError('ERR_IPC_REQUEST_TIMEOUT', text));
      }, timeoutMs);
      // The connection keeps the process alive as long as a reply can come.
      (timer as { unref?: () => void }).unref?.();
      const onAbort = () => waiting.reject(abortReason(signal as AbortSignalLike));
      const end = () => {
        this.#waiting.delete(id);
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      };
      const waiting: Waiting = {
        resolve: (reply) => {
          end();
          resolve(reply);
        },
        reject: (error) => {
          end();
          this.#expectLate(id);
          reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.set(id, waiting);
      send().catch(waiting.reject);
    });
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

  #expectLate(id: RequestId): void {
    this.#given.add(id);
    if (this.#given.size <= limits.lateRepliesMax) return;
    for (const oldest of this.#given) {
      this.#given.delete(oldest);
      return;
    }
  }

  /** Takes a message from the server; false if it is no reply to any request. */
  take(message: IPCMessage): boolean {
    const id = message?.id as RequestId | undefined;
    if (id === undefined) return false;
    const waiting = this.#waiting.get(id);
    if (waiting !== undefined) {
      waiting.resolve(message);
      return true;
    }
    if (!this.#given.has(id)) return false;
    this.late++;
    return true;
  }

  /** Every reply that is waited for will not come. */
  fail(error: unknown): void {
    for (const waiting of [...this.#waiting.values()]) waiting.reject(error);
  }

  /** Resolves when no request is under way. */
  async idle(): Promise<void> {
    while (this.#active.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
  }
}
