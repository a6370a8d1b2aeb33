import { Acknowledgements, refusalCodeOf } from './acknowledgements.js';
import type { Answer } from './answer.js';
import { idOf } from './columns.js';
import { dialectOfInstalledZod } from './dialect.js';
import { Emitter } from './emitter.js';
import { fromNative, IpcError, invalidArgument, messageOf } from './errors.js';
import { attach, detach, type Endpoint, KeepAlive, nativeHub } from './event-loop.js';
import { Fifo } from './fifo.js';
import { writerTo } from './frame-writer.js';
import { MalformedFrame } from './frames.js';
import { limits } from './limits.js';
import type { NativeServerOptions, NativeServerStats } from './native.js';
import { callable, DELAY_MS_MAX, object, text, wholeNumber } from './options.js';
import { Outbox } from './outbox.js';
import { isThenable } from './thenable.js';
import type { DeadlineOptions, IPCMessage } from './types.js';

/**
 * Receives messages. Declared as a method, so that handlers with narrower parameters fit; a
 * result is ignored.
 */
export type MessageHandler = {
  handle(message: IPCMessage): unknown;
}['handle'];

/**
 * Receives messages and answers them. Its result, an object, becomes the reply `{ id, ...result }`
 * to a message with an `id`; `undefined` sends none.
 */
export type RequestHandler = {
  handle(message: IPCMessage): unknown;
}['handle'];

/** Options of {@link UnixSocketServer}. */
export interface UnixSocketServerConfig {
  /** Path of the socket file; at most 107 bytes on Linux, 103 on macOS. */
  socketPath: string;
  /** Clients served at once; more are refused with a typed error. Default 100. */
  maxConnections?: number | undefined;
  /** Longest message, in bytes of JSON; a longer one closes its connection. Default 64 MiB. */
  maxFrameBytes?: number | undefined;
  /** Messages in handlers, or waiting for one, at which reading pauses. Default 1024. */
  highWaterMark?: number | undefined;
  /** Handlers that run at once. Default unlimited, that is `highWaterMark`. */
  concurrency?: number | undefined;
  /** Permission bits of the socket file. Default 0o600. */
  mode?: number | undefined;
  /** Users that are served. Default one's own and root; `'any'` serves everybody. */
  allowedUids?: readonly number[] | 'any' | undefined;
  /** Milliseconds within which a begun frame must be complete. Default 30000. */
  frameTimeoutMs?: number | undefined;
  /** Bytes of replies that may wait for one client; more closes its connection. Default 64 MiB. */
  maxOutboundBytes?: number | undefined;
  /**
   * Whether messages must satisfy `QueueMessageSchema`. One that does not is an `error` event and,
   * with a request handler, a failed reply; no handler sees it. Default false.
   */
  validate?: boolean | undefined;
}

/** A client of the server. */
export interface ConnectionInfo {
  /** Unique in this process. */
  id: number;
  /** User id of the client's process, as the kernel says. */
  uid: number;
  /** Process id of the client, as the kernel says; 0 where the system does not tell. */
  pid: number;
}

/** Events of {@link UnixSocketServer}, with what listeners receive. */
export interface UnixSocketServerEvents {
  /** `start()` has succeeded. */
  listening: [];
  /** `stop()` has come to its end. */
  close: [];
  /** A client connected. */
  connection: [connection: ConnectionInfo];
  /** A client's connection ended; with an error if it was cut for a reason. */
  disconnect: [connection: ConnectionInfo, error: IpcError | undefined];
  /**
   * Something went wrong that the server survives: a handler threw, a frame was no JSON, a client
   * was refused, replies piled up. Without a listener, errors of handlers go to `console.error`.
   */
  error: [error: unknown, connection: ConnectionInfo | undefined];
}

/** Counters of {@link UnixSocketServer} since `start()`. */
export interface UnixSocketServerStats {
  /** Whether the server accepts connections. */
  listening: boolean;
  /** Connections now. */
  connections: number;
  /** Connections accepted. */
  accepted: number;
  /** Connections refused, over `maxConnections` or by `allowedUids`. */
  refused: number;
  /** Messages received, malformed ones included. */
  messagesReceived: number;
  /** Messages that no handler saw: not JSON or, with `validate`, against the rules. */
  malformed: number;
  /** Bytes received. */
  bytesReceived: number;
  /** Replies sent. */
  messagesSent: number;
  /** Messages in handlers or waiting for one. */
  inFlight: number;
  /** Handlers that threw. */
  handlerErrors: number;
  /** Messages that came while no handler was set. */
  unhandled: number;
  /** Bytes of replies that wait for clients. */
  outboundBytes: number;
  /** Connections that are not read because of `highWaterMark`. */
  stalledConnections: number;
}

const NO_STATS = Object.freeze({
  connections: 0,
  accepted: 0,
  refused: 0,
  framesReceived: 0,
  badFrames: 0,
  bytesReceived: 0,
  framesSent: 0,
  outboundBytes: 0,
  inFlight: 0,
  stalledConnections: 0,
});

/** How a consumer sets what takes its messages. @internal */
export const deliverTo: unique symbol = Symbol('deliverTo');

/** See {@link deliverTo}. @internal */
export interface Taker {
  /** Calls `all`, which gives messages to `take` that have come together. */
  batch(all: () => void): void;
  /** Takes a message, whose sender hears from `answer` what became of it. Must not throw. */
  take(message: unknown, answer: Answer): void;
}

/**
 * The receiving side of the fast channel.
 *
 * A listening server keeps the process alive. Errors of handlers never end the process.
 */
export class UnixSocketServer extends Emitter<UnixSocketServerEvents> {
  readonly #options: NativeServerOptions;
  readonly #concurrency: number;
  readonly #maxReplyBytes: number;
  #taker: Taker | undefined;
  #messageHandler: MessageHandler | undefined;
  #requestHandler: RequestHandler | undefined;
  #run: Run | undefined;
  /** The run that was stopped last; its end is what a further `stop()` waits for. */
  #stopping: Promise<void> | undefined;
  /** The run that began last, for its counters. */
  #last: Run | undefined;
  #referenced = true;

  constructor(config: UnixSocketServerConfig) {
    super();
    object('config', config);
    const count = { min: 1, max: 2 ** 32 - 1 };
    this.#options = {
      path: text('socketPath', config.socketPath),
      maxConnections: wholeNumber('maxConnections', config.maxConnections, undefined, {
        min: 0,
        max: 2 ** 32 - 1,
      }),
      maxFrameBytes: wholeNumber('maxFrameBytes', config.maxFrameBytes, undefined, {
        min: 1,
        max: limits.textBytesMax,
      }),
      highWaterMark: wholeNumber('highWaterMark', config.highWaterMark, undefined, count),
      mode: wholeNumber('mode', config.mode, undefined, { min: 0, max: 0o777 }),
      allowedUids: uids(config.allowedUids),
      frameTimeoutMs: wholeNumber('frameTimeoutMs', config.frameTimeoutMs, undefined, {
        min: 1,
        max: DELAY_MS_MAX,
      }),
      maxOutboundBytes: wholeNumber('maxOutboundBytes', config.maxOutboundBytes, undefined, count),
      validate: config.validate ? dialectOfInstalledZod() : undefined,
    };
    this.#concurrency = wholeNumber('concurrency', config.concurrency, Number.POSITIVE_INFINITY, {
      ...count,
      infinite: true,
    });
    this.#maxReplyBytes = this.#options.maxOutboundBytes ?? limits.serverOutboundBytesMax;
  }

  /**
   * Sets what takes messages if there is no handler.
   *
   * @internal
   */
  [deliverTo](taker: Taker): void {
    this.#taker = taker;
  }

  /** Sets or swaps the handler of messages, also while the server runs. */
  setMessageHandler(handler: MessageHandler): void {
    callable('handler', handler);
    this.#messageHandler = handler;
  }

  /** Sets or swaps the handler of requests, which wins over the handler of messages. */
  setRequestHandler(handler: RequestHandler): void {
    callable('handler', handler);
    this.#requestHandler = handler;
  }

  /**
   * Begins to listen.
   *
   * @throws {IpcError} `ERR_IPC_ALREADY_LISTENING`; `EADDRINUSE` when a live server has the path
   * or something other than a socket stands there; `ERR_IPC_PATH_TOO_LONG`; `EACCES`, `ENOENT`.
   */
  async start(): Promise<void> {
    if (this.#run !== undefined) {
      throw new IpcError('ERR_IPC_ALREADY_LISTENING', 'Server is already listening');
    }
    const run = new Run(this.#options, this.#concurrency, this.#maxReplyBytes, {
      handler: () => this.#requestHandler ?? this.#messageHandler,
      taker: () => this.#taker,
      answers: () => this.#requestHandler !== undefined,
      tell: (event, ...args) => this.tell(event, ...args),
      handlerFailed: (error, connection) => {
        if (this.tell('error', error, connection)) return;
        try {
          console.error(error);
        } catch {
          // What was thrown cannot even be shown. That must not end the process either.
        }
      },
    });
    run.keepAlive.referenced = this.#referenced;
    this.#run = run;
    this.#last = run;
    this.tell('listening');
  }

  /**
   * Stops accepting and gives the path up at once; then lets running handlers finish and replies
   * leave, also for messages that clients had sent before; then closes all connections. What is
   * not done at the deadline is cut. A server that does not run is left alone.
   */
  async stop({ deadlineMs }: DeadlineOptions = {}): Promise<void> {
    const deadline = wholeNumber('deadlineMs', deadlineMs, limits.deadlineMs, {
      min: 0,
      max: DELAY_MS_MAX,
    });
    const run = this.#run;
    if (run === undefined) return this.#stopping;
    this.#run = undefined;
    const stopping = run.stop(deadline).then(() => {
      if (this.#stopping === stopping) this.#stopping = undefined;
      this.tell('close');
    });
    this.#stopping = stopping;
    return stopping;
  }

  /** Whether the server accepts connections. */
  isListening(): boolean {
    return this.#run !== undefined;
  }

  /** Lets a listening server keep the process alive again. */
  ref(): this {
    this.#referenced = true;
    if (this.#run !== undefined) this.#run.keepAlive.referenced = true;
    return this;
  }

  /** Lets the process end although the server listens. */
  unref(): this {
    this.#referenced = false;
    if (this.#run !== undefined) this.#run.keepAlive.referenced = false;
    return this;
  }

  /** Counters since `start()`; after `stop()` those of the run that ended. */
  stats(): UnixSocketServerStats {
    return { ...EMPTY_STATS, ...this.#last?.stats(), listening: this.isListening() };
  }

  /** Stops without waiting: what runs is cut. */
  [Symbol.dispose](): void {
    void this.stop({ deadlineMs: 0 });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** What a run needs of its server. */
interface Owner {
  handler(): MessageHandler | undefined;
  /** What takes messages where there is no handler. */
  taker(): Taker | undefined;
  /** Whether results of the handler are sent back. */
  answers(): boolean;
  tell: UnixSocketServer['emit'];
  handlerFailed(error: unknown, connection: ConnectionInfo): void;
}

interface Connection extends ConnectionInfo {
  outbox: Outbox;
  /** Messages that were settled since the addon was told last. */
  settled: number;
  /** What became of messages whose sender asked for it. */
  acks: Acknowledgements | undefined;
}

/** A message on its way to a handler and back. */
interface Delivery {
  connection: Connection;
  message: unknown;
  /** Its number among the marked messages of its connection; 0 if nobody asked for it. */
  number: number;
}

/** The time from a start to the end of its stop. */
class Run implements Endpoint {
  readonly keepAlive = new KeepAlive();
  readonly #key: number;
  readonly #owner: Owner;
  readonly #concurrency: number;
  readonly #maxReplyBytes: number;
  readonly #connections = new Map<number, Connection>();
  /** Messages that wait for a handler, when `concurrency` limits them. */
  readonly #waiting = new Fifo<Delivery>();
  #running = 0;
  #starting = false;
  /** Connections with messages that are done, of which the addon was not told. */
  #settledIn: Connection[] = [];
  #onStopped: (() => void) | undefined;
  #counts = { malformed: 0, handlerErrors: 0, unhandled: 0 };
  /** The addon's counters at the end, when it has forgotten the server. */
  #final: NativeServerStats | undefined;

  constructor(
    options: NativeServerOptions,
    concurrency: number,
    maxReplyBytes: number,
    owner: Owner,
  ) {
    this.#owner = owner;
    this.#concurrency = concurrency;
    this.#maxReplyBytes = maxReplyBytes;
    try {
      this.#key = nativeHub().listen(options);
    } catch (error) {
      throw fromNative(error);
    }
    attach(this.#key, this);
    this.keepAlive.active = true;
  }

  stop(deadlineMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#onStopped = resolve;
      nativeHub().stop(this.#key, deadlineMs);
    });
  }

  stats(): Omit<UnixSocketServerStats, 'listening'> {
    const native = this.#final ?? nativeHub().serverStats(this.#key) ?? NO_STATS;
    const { badFrames, framesReceived, framesSent, ...rest } = native;
    return {
      ...rest,
      ...this.#counts,
      messagesReceived: framesReceived,
      messagesSent: framesSent,
      malformed: badFrames + this.#counts.malformed,
    };
  }

  onAccepted(id: number, uid: number, pid: number): void {
    const outbox = new Outbox(writerTo(id));
    const connection = { id, uid, pid, outbox, settled: 0, acks: undefined };
    this.#connections.set(id, connection);
    attach(id, { onFlushed: (written) => outbox.onFlushed(written) });
    this.#owner.tell('connection', info(connection));
  }

  onPeerClosed(id: number, code: string | null, message: string | null): void {
    const connection = this.#connections.get(id);
    if (connection === undefined) return;
    this.#connections.delete(id);
    detach(id);
    const error = code === null ? undefined : new IpcError(code, message as string);
    this.#owner.tell('disconnect', info(connection), error);
    if (error !== undefined) this.#owner.tell('error', error, info(connection));
  }

  onRefused(uid: number, pid: number, code: string, message: string): void {
    this.#owner.tell('error', new IpcError(code, message), { id: 0, uid, pid });
  }

  onAcceptFailed(code: string, message: string): void {
    this.#owner.tell('error', new IpcError(code, message), undefined);
  }

  onBadFrame(
    id: number,
    code: string,
    message: string,
    messageId: string | null,
    number: number,
  ): void {
    const connection = this.#connections.get(id);
    const replyTo: unknown = messageId === null ? undefined : JSON.parse(messageId);
    if (connection !== undefined && replyTo && this.#owner.answers()) {
      this.#reply(connection, replyTo, { success: false, error: message });
    }
    if (connection === undefined) {
      nativeHub().settle(this.#key, id, 1);
    } else {
      this.#refuse(connection, number, code, message);
      this.#settle(connection);
    }
    this.#owner.tell('error', new IpcError(code, message), connection && info(connection));
  }

  onStopped(cut: number): void {
    this.#final = nativeHub().serverStats(this.#key) ?? undefined;
    detach(this.#key);
    for (const id of this.#connections.keys()) detach(id);
    this.#connections.clear();
    this.#waiting.clear();
    this.keepAlive.active = false;
    if (cut > 0) {
      const error = new IpcError(
        'ERR_IPC_CONNECTION_LOST',
        `Connection cut: ${cut} clients were still connected at the deadline of stop()`,
      );
      this.#owner.tell('error', error, undefined);
    }
    this.#onStopped?.();
  }

  onFrames(messages: unknown[], runs: number[]): void {
    const taker = this.#owner.taker();
    if (taker === undefined) this.#take(messages, runs);
    else taker.batch(() => this.#take(messages, runs));
  }

  #take(messages: unknown[], runs: number[]): void {
    let next = 0;
    for (let at = 0; at < runs.length; at += 3) {
      const connection = this.#connections.get(runs[at] as number);
      const end = next + (runs[at + 1] as number);
      // Those of a marked run count on from its first, those of an unmarked one all have 0.
      let number = runs[at + 2] as number;
      const step = number === 0 ? 0 : 1;
      if (connection === undefined) {
        nativeHub().settle(this.#key, runs[at] as number, end - next);
        next = end;
        continue;
      }
      for (; next < end; next++, number += step) {
        const message = messages[next];
        if (message instanceof MalformedFrame) {
          this.#counts.malformed++;
          this.#refuse(connection, number, message.error.code, message.error.message);
          this.#settle(connection);
          this.#owner.tell('error', message.error, info(connection));
        } else if (this.#running < this.#concurrency && this.#waiting.size === 0) {
          this.#handle(connection, message, number);
        } else {
          this.#waiting.push({ connection, message, number });
        }
      }
    }
  }

  #handle(connection: Connection, message: unknown, number: number): void {
    const handler = this.#owner.handler();
    if (handler === undefined) {
      const taker = this.#owner.taker();
      if (taker !== undefined) {
        this.#running++;
        taker.take(message, {
          handled: () => this.#done(connection, undefined, undefined, number),
          refused: (error) => this.#failed(connection, undefined, error, number),
        });
        return;
      }
      this.#counts.unhandled++;
      this.#refuse(connection, number, 'ERR_IPC_NO_HANDLER', 'the server has no handler');
      this.#settle(connection);
      return;
    }
    // Read before the handler runs, which may change its message.
    const id = this.#owner.answers() ? idOf(message) : undefined;
    this.#running++;
    let result: unknown;
    try {
      result = handler(message as IPCMessage);
      if (isThenable(result)) {
        // `resolve` hears a thenable once, whatever it calls and throws.
        Promise.resolve(result).then(
          (value) => this.#done(connection, id, value, number),
          (error: unknown) => this.#failed(connection, id, error, number),
        );
        return;
      }
    } catch (error) {
      this.#failed(connection, id, error, number);
      return;
    }
    this.#done(connection, id, result, number);
  }

  #done(connection: Connection, id: unknown, result: unknown, number: number): void {
    if (id && result !== undefined) this.#reply(connection, id, result);
    if (number > 0) {
      const why = this.#owner.answers() ? failureOf(result) : undefined;
      if (why === undefined) this.#acksOf(connection).acknowledge(number);
      else this.#refuse(connection, number, 'ERR_IPC_HANDLER_FAILED', why);
    }
    this.#next(connection);
  }

  #failed(connection: Connection, id: unknown, error: unknown, number: number): void {
    const text = messageOf(error);
    if (id) this.#reply(connection, id, { success: false, error: text });
    if (number > 0) this.#refuse(connection, number, refusalCodeOf(error), text);
    this.#counts.handlerErrors++;
    this.#next(connection);
    this.#owner.handlerFailed(error, info(connection));
  }

  #reply(connection: Connection, id: unknown, result: unknown): void {
    if (!this.#connections.has(connection.id)) return;
    try {
      const fields = fieldsOf(result);
      if (typeof fields !== 'object' || Array.isArray(fields)) {
        throw new IpcError(
          'ERR_IPC_UNSERIALIZABLE',
          `The request handler returned ${Array.isArray(fields) ? 'an array' : `a ${typeof fields}`}, a reply must be an object`,
        );
      }
      const reply: Record<string, unknown> = { id, ...fields };
      reply.id = id;
      connection.outbox.post(reply, this.#maxReplyBytes);
    } catch (error) {
      connection.outbox.postText(JSON.stringify({ id, success: false, error: messageOf(error) }));
      this.#owner.tell('error', error, info(connection));
    }
  }

  /** One handler less is running: counts the message and starts the next one. */
  #next(connection: Connection): void {
    this.#running--;
    this.#settle(connection);
    // A handler that ends at once comes back here while the loop below runs.
    if (this.#starting) return;
    this.#starting = true;
    while (this.#running < this.#concurrency) {
      const waiting = this.#waiting.shift();
      if (waiting === undefined) break;
      this.#handle(waiting.connection, waiting.message, waiting.number);
    }
    this.#starting = false;
  }

  #acksOf(connection: Connection): Acknowledgements {
    connection.acks ??= new Acknowledgements();
    return connection.acks;
  }

  #refuse(connection: Connection, number: number, code: string, text: string): void {
    if (number > 0) this.#acksOf(connection).refuse(number, code, text);
  }

  /** Tells the addon that a message is done: all of one tick together, after their replies. */
  #settle(connection: Connection): void {
    if (connection.settled++ > 0) return;
    if (this.#settledIn.length === 0) SETTLED.then(this.#tellSettled);
    this.#settledIn.push(connection);
  }

  readonly #tellSettled = (): void => {
    const settledIn = this.#settledIn;
    this.#settledIn = [];
    for (const connection of settledIn) {
      const { id, acks, outbox, settled } = connection;
      connection.settled = 0;
      if (acks !== undefined && this.#connections.has(id)) {
        for (const news of acks.take()) outbox.postText(news);
      }
      outbox.flush();
      // After the end of the stop nobody counts any more.
      if (this.#final === undefined) nativeHub().settle(this.#key, id, settled);
    }
  };
}

const SETTLED = Promise.resolve();

const EMPTY_STATS: UnixSocketServerStats = {
  listening: false,
  connections: 0,
  accepted: 0,
  refused: 0,
  messagesReceived: 0,
  malformed: 0,
  bytesReceived: 0,
  messagesSent: 0,
  inFlight: 0,
  handlerErrors: 0,
  unhandled: 0,
  outboundBytes: 0,
  stalledConnections: 0,
};

function info({ id, uid, pid }: ConnectionInfo): ConnectionInfo {
  return { id, uid, pid };
}

/** The fields of a handler's result; `JSON.stringify` would let `toJSON` replace the `id` too. */
function fieldsOf(result: unknown): unknown {
  if (typeof result !== 'object' || result === null || !Object.hasOwn(result, 'toJSON')) {
    return result;
  }
  const { toJSON } = result as { toJSON: unknown };
  return typeof toJSON === 'function' ? toJSON.call(result, '') : result;
}

/** Why a request failed, if its result says so, as replies do. */
function failureOf(result: unknown): string | undefined {
  if (typeof result !== 'object' || result === null) return undefined;
  try {
    const { success, error } = result as { success?: unknown; error?: unknown };
    if (success !== false) return undefined;
    return typeof error === 'string' ? error : 'the handler returned success: false';
  } catch {
    // A getter that throws; such a result is not the wire's failed reply.
    return undefined;
  }
}

function uids(value: readonly number[] | 'any' | undefined): number[] | undefined {
  if (value === undefined) return undefined;
  if (value === 'any') return [];
  if (!Array.isArray(value) || value.length === 0) {
    throw invalidArgument("allowedUids must be a non-empty array of user ids, or 'any'");
  }
  return value.map(
    (uid) => wholeNumber('allowedUids[…]', uid, undefined, { min: 0, max: 2 ** 32 - 1 }) as number,
  );
}
