import { randomBytes } from 'node:crypto';
import { Emitter } from './emitter.js';
import { fromNative, IpcError, invalidArgument, isError } from './errors.js';
import { attach, detach, type Endpoint, KeepAlive, nativeHub } from './event-loop.js';
import { MalformedFrame, Outbox, parseBatch, stringify } from './frames.js';
import { limits } from './limits.js';
import type { NativeClientOptions } from './native.js';
import { DELAY_MS_MAX, object, text, wholeNumber } from './options.js';
import type { AbortSignalLike, DeadlineOptions, IPCMessage } from './types.js';

/** Options of {@link UnixSocketClient}. */
export interface UnixSocketClientConfig {
  /** Path of the server's socket; at most 107 bytes on Linux, 103 on macOS. */
  socketPath: string;
  /** Milliseconds that `connect()` may take. Default 5000. */
  connectTimeout?: number;
  /**
   * Base of the wait before a lost connection is made again, in milliseconds; it doubles with
   * every attempt, and each wait is random between 0 and that. Default 1000.
   */
  reconnectDelay?: number;
  /** Longest such wait, in milliseconds. Default 30000. */
  maxReconnectDelay?: number;
  /** Whether a lost connection is made again by itself. Default true. */
  reconnect?: boolean;
  /** Longest message in both directions, in bytes of JSON. Default 64 MiB. */
  maxFrameBytes?: number;
  /** Bytes that may wait for a server that does not read. Default 256 MiB. */
  maxOutboundBytes?: number;
  /**
   * Milliseconds that `connect()` waits for a refusal (too many connections, wrong user), which
   * servers can only tell after the kernel has connected. Default 20.
   */
  refusalGraceMs?: number;
}

/** Options of {@link UnixSocketClient.connect}. */
export interface ConnectOptions {
  /** Ends the wait; the promise rejects with the signal's reason. */
  signal?: AbortSignalLike;
}

/** Options of {@link UnixSocketClient.request}. */
export interface RequestOptions {
  /** Milliseconds to wait for the reply. Default 30000. */
  timeoutMs?: number;
  /** Ends the wait; the promise rejects with the signal's reason. */
  signal?: AbortSignalLike;
}

/** Events of {@link UnixSocketClient}, with what listeners receive. */
export interface UnixSocketClientEvents {
  /** A connection was made, by `connect()` or again by itself. */
  connect: [];
  /** The connection was lost, or ended by `disconnect()` (then without an error). */
  disconnect: [error: IpcError | undefined];
  /** The next attempt to connect begins after `waitMs`. */
  reconnecting: [info: { attempt: number; waitMs: number; error: IpcError | undefined }];
  /** Something came from the server that is not the reply to a request. */
  message: [message: IPCMessage];
  /** The server sent something that is not JSON. The connection lives on. */
  error: [error: IpcError];
}

/** Counters of {@link UnixSocketClient}. */
export interface UnixSocketClientStats {
  /** Whether there is a connection. */
  connected: boolean;
  /** Connections made since the client was made. */
  connections: number;
  /** Messages sent. */
  messagesSent: number;
  /** Messages received, also those that nobody waited for. */
  messagesReceived: number;
  /** Bytes received. */
  bytesReceived: number;
  /** Bytes that wait for the server. */
  outboundBytes: number;
  /** Requests without a reply yet. */
  pendingRequests: number;
}

interface PendingRequest {
  resolve: (reply: unknown) => void;
  reject: (error: unknown) => void;
}

interface Attempt {
  promise: Promise<void>;
  resolve: () => void;
  reject: (error: unknown) => void;
  /** Callers that have not given up. */
  callers: number;
}

const NOT_CONNECTED = 'Not connected to Unix socket';

/**
 * The sending side of the fast channel.
 *
 * A connected client keeps the process alive, a disconnected one does not, not even while it
 * tries to connect again by itself.
 */
export class UnixSocketClient extends Emitter<UnixSocketClientEvents> {
  readonly #options: NativeClientOptions;
  readonly #maxFrameBytes: number;
  readonly #keepAlive = new KeepAlive();
  /** The client in the addon, while there is a connection or a wish for one. */
  #key: number | undefined;
  #connected = false;
  #attempt: Attempt | undefined;
  #outbox: Outbox | undefined;
  readonly #requests = new Map<string | number, PendingRequest>();
  #requestCount = 0;
  #requestPrefix: string | undefined;
  #closing: Promise<void> | undefined;
  /** Counters of native clients that are gone. */
  #past = { connections: 0, framesSent: 0, framesReceived: 0, bytesReceived: 0 };

  constructor(config: UnixSocketClientConfig) {
    super();
    object('config', config);
    const ms = { min: 0, max: DELAY_MS_MAX };
    const bytes = { min: 1, max: 2 ** 32 - 1 };
    const reconnect = config.reconnect ?? true;
    this.#options = {
      path: text('socketPath', config.socketPath),
      connectTimeoutMs: wholeNumber('connectTimeout', config.connectTimeout, undefined, ms),
      refusalGraceMs: wholeNumber('refusalGraceMs', config.refusalGraceMs, undefined, ms),
      reconnectDelayMs: reconnect
        ? wholeNumber('reconnectDelay', config.reconnectDelay, undefined, ms)
        : -1,
      maxReconnectDelayMs: wholeNumber(
        'maxReconnectDelay',
        config.maxReconnectDelay,
        undefined,
        ms,
      ),
      maxFrameBytes: wholeNumber('maxFrameBytes', config.maxFrameBytes, undefined, {
        min: 1,
        max: limits.textBytesMax,
      }),
      maxOutboundBytes: wholeNumber('maxOutboundBytes', config.maxOutboundBytes, undefined, bytes),
    };
    this.#maxFrameBytes = this.#options.maxFrameBytes ?? limits.frameBytesMax;
  }

  /**
   * Connects. Calls during an attempt share its outcome; a connected client resolves at once.
   * May be called again after a failure, a loss or `disconnect()`.
   *
   * @throws {IpcError} Node's code when the kernel refuses (`ENOENT`, `ECONNREFUSED`, `EACCES`);
   * `ERR_IPC_CONNECT_TIMEOUT`; `ERR_IPC_MAX_CONNECTIONS` or `ERR_IPC_UID_REFUSED` when the server
   * does; `ERR_IPC_PATH_TOO_LONG`; `ERR_IPC_CONNECTION_CLOSED` when `disconnect()` is called
   * meanwhile.
   */
  async connect({ signal }: ConnectOptions = {}): Promise<void> {
    if (signal?.aborted) throw abortReason(signal);
    if (this.#connected && this.isConnected()) return;
    const attempt = this.#attempt ?? this.#begin();
    attempt.callers++;
    try {
      await abortable(attempt.promise, signal);
    } finally {
      attempt.callers--;
      if (attempt.callers === 0 && this.#attempt === attempt) this.disconnect();
    }
  }

  #begin(): Attempt {
    if (this.#connected) {
      // The kernel knows of a loss that has not been told yet.
      this.#release();
      this.#lost(new IpcError('ERR_IPC_CONNECTION_LOST', 'Connection lost: the peer closed it'));
    }
    let resolve!: () => void;
    let reject!: (error: unknown) => void;
    const promise = new Promise<void>((onResolve, onReject) => {
      resolve = onResolve;
      reject = onReject;
    });
    const attempt = { promise, resolve, reject, callers: 0 };
    // Every caller has its own promise; this one may be left with nobody.
    promise.catch(() => {});
    this.#attempt = attempt;
    try {
      if (this.#key === undefined) {
        this.#key = nativeHub().client(this.#options);
        attach(this.#key, this.#endpoint);
        if (this.#listens) nativeHub().setListening(this.#key, true);
      }
      this.#keepAlive.active = true;
      nativeHub().connect(this.#key);
    } catch (error) {
      this.#attempt = undefined;
      this.#release();
      reject(fromNative(error));
    }
    return attempt;
  }

  /**
   * Sends a message. The promise resolves when the kernel has its bytes; that the server has
   * read or handled it is not known then.
   *
   * @throws {IpcError} `ERR_IPC_NOT_CONNECTED`; `ERR_IPC_CONNECTION_LOST`;
   * `ERR_IPC_UNSERIALIZABLE`; `ERR_IPC_FRAME_TOO_LARGE`; `ERR_IPC_OUTBOUND_FULL` when more than
   * `maxOutboundBytes` would wait.
   */
  send(message: unknown): Promise<void> {
    if (!this.#connected || this.#outbox === undefined) return Promise.reject(notConnected());
    try {
      return this.#outbox.send(stringify(message, this.#maxFrameBytes));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * Sends a message and waits for the reply with its `id`; an `id` is added where none is. The
   * reply is what the server's request handler returned, or `{ success: false, error }` if it
   * threw.
   *
   * A rejection after the message was sent leaves open whether the server handled it.
   *
   * @throws {IpcError} as `send()`; `ERR_IPC_REQUEST_TIMEOUT`; `ERR_IPC_DUPLICATE_REQUEST_ID` when
   * a request with this `id` waits already; `ERR_IPC_INVALID_ARGUMENT`.
   */
  async request<Reply = IPCMessage>(
    message: object,
    { timeoutMs, signal }: RequestOptions = {},
  ): Promise<Reply> {
    object('message', message);
    const timeout = wholeNumber('timeoutMs', timeoutMs, limits.requestTimeoutMs, {
      min: 0,
      max: DELAY_MS_MAX,
    });
    if (signal?.aborted) throw abortReason(signal);
    const own = (message as { id?: unknown }).id;
    const id = own === undefined ? this.#nextId() : own;
    if ((typeof id !== 'string' && typeof id !== 'number') || !id) {
      throw invalidArgument('message.id must be a non-empty string or a number other than 0');
    }
    if (this.#requests.has(id)) {
      throw new IpcError(
        'ERR_IPC_DUPLICATE_REQUEST_ID',
        `A request with the id ${JSON.stringify(id)} waits for its reply already`,
      );
    }
    const outbox = this.#outbox;
    if (!this.#connected || outbox === undefined) throw notConnected();
    const frame = stringify(own === undefined ? { ...message, id } : message, this.#maxFrameBytes);
    this.#listen();
    return new Promise<Reply>((resolve, reject) => {
      const timer = setTimeout(() => {
        pending.reject(
          new IpcError(
            'ERR_IPC_REQUEST_TIMEOUT',
            `Connection gave no reply to the request ${JSON.stringify(id)} within ${timeout}ms`,
          ),
        );
      }, timeout);
      const onAbort = () => pending.reject(abortReason(signal as AbortSignalLike));
      const end = () => {
        this.#requests.delete(id);
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        if (this.#requests.size === 0) this.#onRequestsDone?.();
      };
      const pending: PendingRequest = {
        resolve: (reply) => {
          end();
          resolve(reply as Reply);
        },
        reject: (error) => {
          end();
          reject(error);
        },
      };
      // The connection keeps the process alive as long as a reply can come.
      (timer as { unref?: () => void }).unref?.();
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#requests.set(id, pending);
      outbox.send(frame).catch(pending.reject);
    });
  }

  #nextId(): string {
    this.#requestPrefix ??= randomBytes(9).toString('base64url');
    this.#requestCount++;
    return `${this.#requestPrefix}-${this.#requestCount.toString(36)}`;
  }

  /** Whether there is a connection, as the kernel knows it now. */
  isConnected(): boolean {
    return this.#connected && this.#key !== undefined && nativeHub().isConnected(this.#key);
  }

  /**
   * Ends the connection, every attempt to make one and every pending request, at once. What the
   * kernel has is delivered; what it does not take any more is rejected. Never throws.
   */
  disconnect(): void {
    const closed = new IpcError(
      'ERR_IPC_CONNECTION_CLOSED',
      'Connection closed: disconnect() was called',
    );
    this.#outbox?.flush();
    this.#release();
    const attempt = this.#attempt;
    this.#attempt = undefined;
    attempt?.reject(closed);
    this.#lost(closed, true);
  }

  /**
   * Ends the connection after pending messages have left and pending requests have their reply,
   * at the latest at the deadline.
   */
  close({ deadlineMs }: DeadlineOptions = {}): Promise<void> {
    const deadline = wholeNumber('deadlineMs', deadlineMs, limits.deadlineMs, {
      min: 0,
      max: DELAY_MS_MAX,
    });
    this.#closing ??= this.#finish(deadline).finally(() => {
      this.#closing = undefined;
      this.disconnect();
    });
    return this.#closing;
  }

  async #finish(deadlineMs: number): Promise<void> {
    if (!this.#connected) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, deadlineMs);
    });
    const work = (async () => {
      await this.#outbox?.drained();
      while (this.#connected && this.#requests.size > 0) {
        await new Promise<void>((resolve) => {
          this.#onRequestsDone = resolve;
        });
      }
    })();
    await Promise.race([work, deadline]);
    clearTimeout(timer);
  }

  #onRequestsDone: (() => void) | undefined;

  /** Lets the connection keep the process alive again. */
  ref(): this {
    this.#keepAlive.referenced = true;
    return this;
  }

  /** Lets the process end although the client is connected. */
  unref(): this {
    this.#keepAlive.referenced = false;
    return this;
  }

  /** Counters since the client was made. */
  stats(): UnixSocketClientStats {
    const now = this.#key === undefined ? null : nativeHub().clientStats(this.#key);
    const past = this.#past;
    return {
      connected: this.isConnected(),
      connections: past.connections + (now?.connections ?? 0),
      messagesSent: past.framesSent + (now?.framesSent ?? 0),
      messagesReceived: past.framesReceived + (now?.framesReceived ?? 0),
      bytesReceived: past.bytesReceived + (now?.bytesReceived ?? 0),
      outboundBytes: now?.outboundBytes ?? 0,
      pendingRequests: this.#requests.size,
    };
  }

  [Symbol.dispose](): void {
    this.disconnect();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  override on<Name extends keyof UnixSocketClientEvents>(
    event: Name,
    listener: (...args: UnixSocketClientEvents[Name]) => void,
  ): this {
    if (event === 'message') this.#listen();
    return super.on(event, listener);
  }

  override addListener<Name extends keyof UnixSocketClientEvents>(
    event: Name,
    listener: (...args: UnixSocketClientEvents[Name]) => void,
  ): this {
    return this.on(event, listener);
  }

  override prependListener<Name extends keyof UnixSocketClientEvents>(
    event: Name,
    listener: (...args: UnixSocketClientEvents[Name]) => void,
  ): this {
    if (event === 'message') this.#listen();
    return super.prependListener(event, listener);
  }

  override once<Name extends keyof UnixSocketClientEvents>(
    event: Name,
    listener: (...args: UnixSocketClientEvents[Name]) => void,
  ): this {
    if (event === 'message') this.#listen();
    return super.once(event, listener);
  }

  /** Whether received messages are handed over. Until somebody asks they are only counted. */
  #listens = false;

  #listen(): void {
    if (this.#listens) return;
    this.#listens = true;
    if (this.#key !== undefined) nativeHub().setListening(this.#key, true);
  }

  /** Gives the native client up. */
  #release(): void {
    this.#keepAlive.active = false;
    const key = this.#key;
    if (key === undefined) return;
    this.#key = undefined;
    const stats = nativeHub().clientStats(key);
    if (stats !== null) {
      this.#past.connections += stats.connections;
      this.#past.framesSent += stats.framesSent;
      this.#past.framesReceived += stats.framesReceived;
      this.#past.bytesReceived += stats.bytesReceived;
    }
    detach(key);
    nativeHub().dropClient(key);
  }

  /** The connection is gone, for whatever reason. */
  #lost(error: IpcError, wanted = false): void {
    if (!this.#connected) return;
    this.#connected = false;
    this.#keepAlive.active = false;
    const outbox = this.#outbox;
    this.#outbox = undefined;
    outbox?.fail(error);
    for (const request of [...this.#requests.values()]) request.reject(error);
    this.tell('disconnect', wanted ? undefined : error);
  }

  readonly #endpoint: Endpoint = {
    onConnected: () => {
      const key = this.#key as number;
      this.#connected = true;
      this.#keepAlive.active = true;
      this.#outbox = new Outbox((frames) => {
        try {
          return nativeHub().write(key, frames);
        } catch (error) {
          throw fromNative(error);
        }
      });
      const attempt = this.#attempt;
      this.#attempt = undefined;
      attempt?.resolve();
      this.tell('connect');
    },
    onConnectFailed: (code, message) => {
      const attempt = this.#attempt;
      this.#attempt = undefined;
      this.#release();
      attempt?.reject(new IpcError(code, message));
    },
    onDisconnected: (code, message) => {
      if (this.#options.reconnectDelayMs === -1) this.#release();
      this.#lost(new IpcError(code, message));
    },
    onRetryScheduled: (attempt, waitMs, code, message) => {
      const error = code === null ? undefined : new IpcError(code, message as string);
      this.tell('reconnecting', { attempt, waitMs, error });
    },
    onFlushed: (written) => this.#outbox?.onFlushed(written),
    onBadFrame: (_connection, code, message) => this.tell('error', new IpcError(code, message)),
    onFrames: (frames, runs) => {
      for (const message of parseBatch(frames, runs[1] as number, nativeHub().separator)) {
        if (message instanceof MalformedFrame) {
          this.tell('error', message.error);
        } else {
          this.#receive(message as IPCMessage);
        }
      }
    },
  };

  #receive(message: IPCMessage): void {
    const id = message?.id as string | number | undefined;
    const request = id === undefined ? undefined : this.#requests.get(id);
    if (request === undefined) {
      this.tell('message', message);
      return;
    }
    request.resolve(message);
  }
}

function notConnected(): IpcError {
  return new IpcError('ERR_IPC_NOT_CONNECTED', NOT_CONNECTED);
}

/** What Node's own functions reject with. */
function abortReason(signal: AbortSignalLike): unknown {
  if (isError(signal.reason)) return signal.reason;
  const error = new Error('The operation was aborted', { cause: signal.reason });
  error.name = 'AbortError';
  return Object.assign(error, { code: 'ABORT_ERR' });
}

/** The outcome of `promise`, unless `signal` comes first. */
function abortable(promise: Promise<void>, signal: AbortSignalLike | undefined): Promise<void> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(abortReason(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
