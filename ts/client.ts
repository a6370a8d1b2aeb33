import { AckSender } from './ack-sender.js';
import { MARK } from './acknowledgements.js';
import { burst } from './burst.js';
import { idOf } from './columns.js';
import { Emitter } from './emitter.js';
import { abortReason, DeliveryError, fromNative, IpcError, invalidArgument } from './errors.js';
import { attach, detach, type Endpoint, KeepAlive, nativeHub } from './event-loop.js';
import { writerTo } from './frame-writer.js';
import { MalformedFrame, stringify, withId } from './frames.js';
import { limits } from './limits.js';
import { Notebook, release } from './message-body.js';
import type { NativeClientOptions } from './native.js';
import { DELAY_MS_MAX, object, text, wholeNumber } from './options.js';
import { Outbox } from './outbox.js';
import { PlainIds } from './plain-ids.js';
import { Requests } from './requests.js';
import { idText, Send, type SendReceipt } from './send.js';
import type { AbortSignalLike, DeadlineOptions, IPCMessage } from './types.js';

/** Options of {@link UnixSocketClient}. */
export interface UnixSocketClientConfig {
  /** Path of the server's socket; at most 107 bytes on Linux, 103 on macOS. */
  socketPath: string;
  /** Milliseconds that `connect()` may take. Default 5000. */
  connectTimeout?: number | undefined;
  /**
   * Base of the wait before a lost connection is made again, in milliseconds; it doubles with
   * every attempt, and each wait is random between 0 and that. Default 1000.
   */
  reconnectDelay?: number | undefined;
  /** Longest such wait, in milliseconds. Default 30000. */
  maxReconnectDelay?: number | undefined;
  /** Whether a lost connection is made again by itself. Default true. */
  reconnect?: boolean | undefined;
  /** Longest message in both directions, in bytes of JSON. Default 64 MiB. */
  maxFrameBytes?: number | undefined;
  /**
   * Bytes that may wait for a server that does not read; also about the length of the messages, in
   * UTF-16 units of JSON, that wait for room in its window of acknowledged ones. Default 256 MiB.
   */
  maxOutboundBytes?: number | undefined;
  /**
   * Milliseconds that `connect()` waits for a refusal (too many connections, wrong user), which
   * servers can only tell after the kernel has connected. Default 10.
   */
  refusalGraceMs?: number | undefined;
}

/** Options of {@link UnixSocketClient.connect}. */
export interface ConnectOptions {
  /** Ends the wait; the promise rejects with the signal's reason. */
  signal?: AbortSignalLike | undefined;
}

/** Options of {@link UnixSocketClient.request}. */
export interface RequestOptions {
  /** Milliseconds to wait for the reply, of each attempt. Default 30000. */
  timeoutMs?: number | undefined;
  /** How often the request is sent at most, always under the same id. Default 1. */
  attempts?: number | undefined;
  /**
   * Base of the wait before another attempt, in milliseconds; it doubles with every attempt, and
   * each wait is random between 0 and that. Default 100.
   */
  retryDelayMs?: number | undefined;
  /** Ends the wait; the promise rejects with the signal's reason. */
  signal?: AbortSignalLike | undefined;
}

/** Options of {@link UnixSocketClient.send}. */
export interface SendOptions {
  /** Whether to wait until the server has handled the message. Default false. */
  ack?: boolean | undefined;
  /** Milliseconds to wait for that. Default 30000. */
  timeoutMs?: number | undefined;
}

/** How a publisher reaches the acknowledged messages of a client's connection. @internal */
export const ackSender: unique symbol = Symbol('ackSender');

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
  /** The server sent something that is not JSON, or a malformed acknowledgement. The connection lives on. */
  error: [error: IpcError];
}

export type { SendReceipt } from './send.js';

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
  /** Replies that came too late and were dropped. */
  lateReplies: number;
}

interface Attempt {
  promise: Promise<void>;
  resolve: () => void;
  reject: (error: unknown) => void;
  /** Callers that have not given up. */
  callers: number;
}

const MS = { min: 0, max: DELAY_MS_MAX };
const ATTEMPTS = { min: 1, max: 1_000_000 };

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
  /** There was a connection, and the addon makes it again until `disconnect()`. */
  #reconnects = false;
  #attempt: Attempt | undefined;
  #outbox: Outbox | undefined;
  /** The marked messages of the connection, once there was one. */
  #acks: AckSender | undefined;
  /** The server at this path has acknowledged on an earlier connection. */
  #wasGreeted = false;
  #plainIds = new PlainIds();
  readonly #notebook = new Notebook();
  readonly #requests = new Requests();
  /** Counts calls of `disconnect()`: a request does not connect again after one. */
  #life = 0;
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
      if (attempt.callers === 0 && this.#attempt === attempt) {
        this.#attempt = undefined;
        this.#giveUp();
      }
    }
  }

  #begin(): Attempt {
    if (this.#connected) {
      // The kernel knows of a loss that has not been told yet.
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
      this.#giveUp();
      reject(fromNative(error));
    }
    return attempt;
  }

  /** Nobody waits for a connection any more; one that was lost is still made again by itself. */
  #giveUp(): void {
    if (this.#reconnects) this.#keepAlive.active = false;
    else this.#release();
  }

  /**
   * Sends a message. The promise resolves when the kernel has its bytes; that the server has
   * read or handled it is not known then.
   *
   * With `{ ack: true }` it resolves when the server has handled the message. At most a window of
   * messages (the server's `highWaterMark`) is under way, the others wait here, so far as
   * `maxOutboundBytes` admits. A message that the
   * server refused, or that was not acknowledged in time, rejects with a {@link DeliveryError},
   * which says whether it may have been handled.
   *
   * @throws {IpcError} `ERR_IPC_NOT_CONNECTED`; `ERR_IPC_CONNECTION_LOST`;
   * `ERR_IPC_UNSERIALIZABLE`; `ERR_IPC_FRAME_TOO_LARGE`; `ERR_IPC_OUTBOUND_FULL` when more than
   * `maxOutboundBytes` would wait; with `ack` also `ERR_IPC_REFUSED`, whose `cause` has the
   * server's code, and `ERR_IPC_NOT_ACKNOWLEDGED`.
   */
  send(message: unknown, options?: SendOptions & { ack?: false }): Promise<void>;
  send(message: unknown, options: SendOptions & { ack: true }): Promise<SendReceipt>;
  send(message: unknown, options?: SendOptions): Promise<unknown> {
    if (options?.ack === true) return this.#sendAcknowledged(message, options);
    const outbox = this.#outbox;
    if (!this.#connected || outbox === undefined) return Promise.reject(notConnected());
    try {
      const sent = outbox.send(message, this.#maxFrameBytes);
      (this.#acks ?? this.#plainIds).sentPlain(idOf(message));
      return sent;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #sendAcknowledged(message: unknown, options: SendOptions): Promise<SendReceipt> {
    const timeoutMs = wholeNumber('timeoutMs', options.timeoutMs, limits.ackTimeoutMs, {
      min: 0,
      max: DELAY_MS_MAX,
    });
    const acks = this[ackSender]();
    if (acks === undefined) throw notConnected();
    const max = this.#maxFrameBytes - MARK.length;
    const body = this.#notebook.choose(message, max) ?? stringify(message, max);
    const id = idOf(message);
    if (!acks.admits(body)) {
      release(body);
      throw new DeliveryError(
        'ERR_IPC_FRAME_TOO_LARGE',
        'The message is too large for the server: it exceeds its maxFrameBytes',
        { id: idText(id), indeterminate: false },
      );
    }
    return new Promise((resolve, reject) => {
      acks.send(new Send(body, id, timeoutMs, resolve, reject));
    });
  }

  /** @internal */
  [ackSender](): AckSender | undefined {
    const key = this.#key;
    if (!this.#connected || this.#outbox === undefined || key === undefined) return undefined;
    if (this.#acks === undefined) {
      // An old server has no other way to acknowledge than its reply.
      this.#listen();
      this.#acks = new AckSender(this.#outbox, {
        progress: () => nativeHub().progress(key),
        heldLengthMax: this.#options.maxOutboundBytes ?? limits.clientOutboundBytesMax,
        wasGreeted: this.#wasGreeted,
        owedToPlain: this.#plainIds.owed(this.#plainReplies(key)),
      });
    }
    return this.#acks;
  }

  /** Frames of the connection that were no replies to requests: as long as nothing is acknowledged on
   * it, they can only be replies to plain messages. */
  #plainReplies(key: number): number {
    const frames = nativeHub().progress(key)?.frames ?? 0;
    return Math.max(0, frames - this.#requests.replies);
  }

  /**
   * Sends a message and waits for the reply with its `id`; an `id` is added where none is. The
   * reply is what the server's request handler returned, or `{ success: false, error }` if it
   * threw.
   *
   * With more than one of `attempts`, a request that got no reply is sent again under the same
   * id, after connecting again where that is needed; the handler may then see it more than once.
   *
   * A rejection after the message was sent leaves open whether the server handled it. A reply
   * that comes later is dropped.
   *
   * @throws {IpcError} as `send()`; `ERR_IPC_REQUEST_TIMEOUT`; `ERR_IPC_DUPLICATE_REQUEST_ID` when
   * a request with this `id` is under way; `ERR_IPC_INVALID_ARGUMENT`.
   */
  request<Reply = IPCMessage>(message: object, options: RequestOptions = {}): Promise<Reply> {
    try {
      return this.#request(message, options) as Promise<Reply>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #request(message: object, options: RequestOptions): Promise<unknown> {
    object('message', message);
    const { signal } = options;
    const timeoutMs = wholeNumber('timeoutMs', options.timeoutMs, limits.requestTimeoutMs, MS);
    const retryDelayMs = wholeNumber(
      'retryDelayMs',
      options.retryDelayMs,
      limits.requestRetryDelayMs,
      MS,
    );
    const attempts = wholeNumber('attempts', options.attempts, 1, ATTEMPTS);
    if (signal?.aborted) throw abortReason(signal);
    const given = idOf(message);
    const id = given ?? this.#requests.newId();
    if ((typeof id !== 'string' && typeof id !== 'number') || !id) {
      throw invalidArgument('message.id must be a non-empty string or a number other than 0');
    }
    // Mostly it is added where the message is written, without a copy.
    const isAdded = given === undefined && attempts === 1 && this.#outbox !== undefined;
    const whole = given == null && !isAdded ? withId(message, id) : message;
    const requests = this.#requests;
    const ask = (send: (outbox: Outbox) => Promise<void>) => {
      const outbox = this.#outbox;
      if (outbox === undefined) throw notConnected();
      const sent = send(outbox);
      outbox.hasten();
      return requests.reply(id, timeoutMs, signal, sent);
    };
    this.#listen();
    if (attempts === 1) {
      requests.checkFree(id);
      return ask((outbox) => outbox.send(whole, this.#maxFrameBytes, isAdded ? id : undefined));
    }
    const text = stringify(whole, this.#maxFrameBytes);
    return requests.reserve(id, async () => {
      const life = this.#life;
      for (let attempt = 1; ; attempt++) {
        try {
          if (!this.#connected) await this.connect({ signal });
          return await ask((outbox) => outbox.sendText(text));
        } catch (error) {
          if (attempt === attempts || !isTransient(error)) throw error;
        }
        // Full jitter, as for connections.
        const ceiling = Math.min(retryDelayMs * 2 ** (attempt - 1), limits.reconnectDelayMsMax);
        await requests.pause(Math.random() * ceiling, signal);
        if (life !== this.#life) throw disconnected();
      }
    });
  }

  /** Whether there is a connection, as the kernel knows it now. */
  isConnected(): boolean {
    const key = this.#key;
    return this.#connected && key !== undefined && nativeHub().isConnected(key) === 1;
  }

  /**
   * Ends the connection, every attempt to make one and every pending request, at once. What the
   * kernel has is delivered; what it does not take any more is rejected. Never throws.
   */
  disconnect(): void {
    const closed = disconnected();
    this.#life++;
    this.#outbox?.flush();
    this.#release();
    const attempt = this.#attempt;
    this.#attempt = undefined;
    attempt?.reject(closed);
    this.#lost(closed, true);
    this.#requests.end(closed);
  }

  /**
   * Ends the connection after pending messages have left and pending requests have their reply,
   * at the latest at the deadline.
   */
  async close({ deadlineMs }: DeadlineOptions = {}): Promise<void> {
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
      await this.#acks?.idle();
      await this.#requests.idle();
    })();
    await Promise.race([work, deadline]);
    clearTimeout(timer);
  }

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
      lateReplies: this.#requests.late,
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
    this.#reconnects = false;
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
    const acks = this.#acks;
    this.#outbox = undefined;
    this.#acks = undefined;
    if (acks?.isAcknowledging) this.#wasGreeted = true;
    outbox?.fail(error);
    acks?.end(error);
    this.#requests.fail(error);
    this.tell('disconnect', wanted ? undefined : error);
  }

  readonly #endpoint: Endpoint = {
    onConnected: () => {
      const key = this.#key as number;
      this.#connected = true;
      this.#reconnects = this.#options.reconnectDelayMs !== -1;
      this.#keepAlive.active = true;
      this.#requests.restart();
      this.#plainIds = new PlainIds();
      this.#outbox = new Outbox(writerTo(key), burst);
      const attempt = this.#attempt;
      this.#attempt = undefined;
      attempt?.resolve();
      this.tell('connect');
    },
    onConnectFailed: (code, message) => {
      const attempt = this.#attempt;
      this.#attempt = undefined;
      this.#giveUp();
      attempt?.reject(new IpcError(code, message));
    },
    onDisconnected: (code, message) => {
      if (!this.#reconnects) this.#release();
      this.#lost(new IpcError(code, message));
    },
    onRetryScheduled: (attempt, waitMs, code, message) => {
      const error = code === null ? undefined : new IpcError(code, message as string);
      this.tell('reconnecting', { attempt, waitMs, error });
    },
    onFlushed: (written) => this.#outbox?.onFlushed(written),
    onBadFrame: (_connection, code, message) => this.tell('error', new IpcError(code, message)),
    onFrames: (messages, runs) => {
      // Of the connection that they came on, whatever a listener does to it meanwhile: what is left
      // of the batch after a disconnect() is no more for listeners than it was before.
      const acks = this.#acks;
      let next = 0;
      for (let at = 0; at < runs.length; at += 3) {
        const end = next + (runs[at + 1] as number);
        const isMarked = runs[at + 2] !== 0;
        for (; next < end; next++) this.#receive(messages[next], isMarked, acks);
      }
    },
  };

  #receive(message: unknown, isMarked: boolean, acks: AckSender | undefined): void {
    if (message instanceof MalformedFrame) {
      this.tell('error', message.error);
      return;
    }
    try {
      if (isMarked && acks?.take(message)) return;
    } catch (error) {
      this.tell('error', error as IpcError);
      return;
    }
    if (this.#requests.take(message as IPCMessage)) return;
    // A reply to a message that was sent with `ack` is still a message for whoever listens.
    acks?.takeReply(message);
    this.tell('message', message as IPCMessage);
  }
}

/**
 * Says at once what `connect()` would say of a path that no attempt can make right.
 *
 * @throws {IpcError} `ERR_IPC_PATH_TOO_LONG`, `ERR_IPC_INVALID_ARGUMENT`.
 */
export function checkSocketPath(path: string): void {
  try {
    const hub = nativeHub();
    hub.dropClient(hub.client({ path }));
  } catch (error) {
    throw fromNative(error);
  }
}

function notConnected(): IpcError {
  return new IpcError('ERR_IPC_NOT_CONNECTED', NOT_CONNECTED);
}

function disconnected(): IpcError {
  return new IpcError('ERR_IPC_CONNECTION_CLOSED', 'Connection closed: disconnect() was called');
}

/** Failures that another attempt of the same request may not have. */
const TRANSIENT = new Set([
  'EAGAIN',
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'ERR_IPC_CONNECTION_LOST',
  'ERR_IPC_CONNECT_TIMEOUT',
  'ERR_IPC_MAX_CONNECTIONS',
  'ERR_IPC_NOT_CONNECTED',
  'ERR_IPC_OUTBOUND_FULL',
  'ERR_IPC_REQUEST_TIMEOUT',
]);

function isTransient(error: unknown): boolean {
  return error instanceof IpcError && TRANSIENT.has(error.code);
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
