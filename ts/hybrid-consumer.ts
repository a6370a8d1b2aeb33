import { checkSocketPath } from './client.js';
import { Deliveries, type Delivery } from './deliveries.js';
import { deliveryStore } from './delivery-store.js';
import { DuplicateGate } from './duplicate-gate.js';
import { Emitter } from './emitter.js';
import { IpcError, invalidArgument } from './errors.js';
import { HandledLog } from './handled-log.js';
import { validation } from './lazy-validation.js';
import { limits } from './limits.js';
import {
  type Channel,
  type IntakeCounts,
  type IntakeHost,
  inHandlerScope,
  type MessageInfo,
  MessageIntake,
  Refusal,
} from './message-intake.js';
import type { PollableQueue } from './message-source.js';
import { callable, DELAY_MS_MAX, object, oneOf, text, wholeNumber } from './options.js';
import { NotHandled } from './poll-loop.js';
import {
  type ClaimHandler,
  type DeadLetterInfo,
  onClaim,
  type PollerPhase,
  type PollerStats,
  SQLiteQueuePoller,
  type SQLiteQueuePollerOptions,
} from './poller.js';
import { closeWithin, SQLiteQueue } from './queue.js';
import {
  type ConnectionInfo,
  deliverTo,
  UnixSocketServer,
  type UnixSocketServerConfig,
  type UnixSocketServerStats,
} from './server.js';
import type { DeadlineOptions, IPCMessage, QueueMessage } from './types.js';

export type { Channel, MessageInfo } from './message-intake.js';

/**
 * Handles one message, whichever channel it came by. It is handled when the handler returns or its
 * promise resolves; when it throws or rejects, the message comes again by the queue.
 *
 * It is declared as a method's type, so that a handler may ask for a narrower message.
 */
export type HybridMessageHandler = {
  handle(message: IPCMessage, info: MessageInfo): unknown;
}['handle'];

/** Options of {@link HybridConsumer}: those of the server and of the poller, and these. */
export interface HybridConsumerConfig
  extends Omit<UnixSocketServerConfig, 'concurrency' | 'validate'>,
    Omit<SQLiteQueuePollerOptions, 'queue' | 'onMessage' | 'concurrency'> {
  /** The queue's file. */
  dbPath: string;
  /** Called for each message. Without it the consumer is iterated over. */
  onMessage?: HybridMessageHandler | undefined;
  /**
   * Handlers that run at once, for both channels together. Default 64; 1 keeps their order. A
   * handler that takes its time keeps its own place, and the others go on without it.
   */
  concurrency?: number | undefined;
  /**
   * How copies of a message are recognised by its `id`. `memory` (default): by this process;
   * `durable`: also by the file, so that a restart forgets nothing within `retentionHours`.
   */
  dedup?: 'memory' | 'durable' | undefined;
  /**
   * Newest ids that are remembered in memory at least; at most twice as many are. Default 100000;
   * with 0 only copies that come during the handler are recognised there, and with `durable` those
   * that come before the file knows of it.
   */
  dedupWindow?: number | undefined;
  /**
   * Whether messages must satisfy `QueueMessageSchema`, whichever channel they come by; no handler
   * sees one that does not. By the socket it is refused, so that its publisher stores it. In the
   * queue it fails with `ERR_IPC_INVALID_MESSAGE`, as if its handler had thrown that, and ends as a
   * dead letter. Default false.
   */
  validate?: boolean | undefined;
}

/** Events of {@link HybridConsumer}, with what listeners receive. */
export interface HybridConsumerEvents {
  /** `start()` has succeeded. */
  listening: [];
  /** `stop()` has come to its end. */
  close: [];
  /** A publisher connected. */
  connection: [connection: ConnectionInfo];
  /** A publisher's connection ended; with an error if it was cut for a reason. */
  disconnect: [connection: ConnectionInfo, error: IpcError | undefined];
  /** A copy of a message that was handled was dropped. */
  duplicate: [message: IPCMessage, info: MessageInfo];
  /** A message failed `maxAttempts` times in the queue, and is a dead letter now. */
  deadLetter: [message: QueueMessage, info: DeadLetterInfo];
  /** Nothing is due in the queue any more, and none is being handled; `handled` deliveries were. */
  drained: [handled: number];
  /**
   * Something failed, and the consumer goes on. `error` is what was thrown, whatever that is.
   * Without a listener it goes to `console.error`.
   */
  error: [error: unknown, context: HybridErrorContext];
}

/** What failed. */
export interface HybridErrorContext {
  /** The channel that it concerns. */
  via: Channel;
  /**
   * What was being done: a phase of the poller; `dedup`: looking up or recording an id, whose
   * message is refused then and comes again; `connection`: serving the socket; `close`: closing the
   * queue's file.
   */
  phase: PollerPhase | 'dedup' | 'connection' | 'close';
  /** The message, if there was one. */
  message?: IPCMessage | undefined;
}

/** Counters of {@link HybridConsumer} since it was made. */
export interface HybridConsumerStats {
  /** Whether it was started and not stopped since. */
  running: boolean;
  /** Messages whose handler resolved. */
  handled: number;
  /** Of these, the ones that came by the socket. */
  viaSocket: number;
  /** And by the queue. */
  viaQueue: number;
  /** Handlers that failed. */
  failed: number;
  /** Copies that were dropped. */
  duplicates: number;
  /** Handlers that run. */
  inFlight: number;
  /** Messages that wait for one of them to end. */
  waiting: number;
  /** Ids remembered in memory. */
  remembered: number;
  /** Counters of the socket's part, of the last run. */
  server: UnixSocketServerStats | undefined;
  /** Counters of the queue's part, of the last run. */
  poller: PollerStats | undefined;
}

/** The parts of one run. */
interface Parts {
  server: UnixSocketServer;
  poller: SQLiteQueuePoller;
  queue: SQLiteQueue;
  intake: MessageIntake;
}

/**
 * Receives what a `HybridPublisher` publishes, by the socket and by the queue, and hands each
 * message to one handler, once: copies are recognised by their `id`. `docs/delivery.md` has the
 * promise and its limits.
 *
 * Also takes messages of `UnixSocketClient`, `SQLiteQueue` and the original package. A running
 * consumer keeps the process alive.
 */
export class HybridConsumer extends Emitter<HybridConsumerEvents> {
  readonly #config: HybridConsumerConfig;
  readonly #concurrency: number;
  readonly #isDurable: boolean;
  /** Kept from start to start. */
  readonly #gate: DuplicateGate;
  readonly #counts: IntakeCounts = {
    handled: 0,
    failed: 0,
    duplicates: 0,
    viaSocket: 0,
    viaQueue: 0,
  };
  /** The parts of a running consumer. */
  #parts: Parts | undefined;
  /** The parts of the run that began last, for their counters. */
  #last: Parts | undefined;
  #starting: Promise<void> | undefined;
  /** The run that is being stopped, until that is done. */
  #ending: { readonly done: Promise<void>; readonly intake: MessageIntake } | undefined;
  #deliveries: Deliveries | undefined;

  /** @throws {IpcError} `ERR_IPC_INVALID_ARGUMENT`; `ERR_IPC_PATH_TOO_LONG`. */
  constructor(config: HybridConsumerConfig) {
    super();
    object('config', config);
    if (config.onMessage !== undefined) callable('onMessage', config.onMessage);
    const count = { min: 1, max: 2 ** 31 - 1 };
    this.#concurrency = wholeNumber(
      'concurrency',
      config.concurrency,
      limits.consumerConcurrency,
      count,
    );
    const window = wholeNumber('dedupWindow', config.dedupWindow, limits.dedupWindow, {
      min: 0,
      max: 10_000_000,
    });
    this.#isDurable = oneOf('dedup', config.dedup, ['memory', 'durable']) === 'durable';
    this.#gate = new DuplicateGate(window);
    this.#config = { ...config };
    text('dbPath', config.dbPath);
    checkSocketPath(text('socketPath', config.socketPath));
    // The other options are checked by whom they are for.
    void this.#newServer();
    void this.#newPoller(NO_QUEUE, { handle() {}, settled() {} });
  }

  /**
   * Opens the queue's file, listens on the socket, and polls the queue. When one of them fails,
   * nothing is left behind. While the consumer is being stopped, it waits for that.
   *
   * @throws {IpcError} `ERR_IPC_ALREADY_RUNNING`; `ERR_IPC_INVALID_ARGUMENT` without `onMessage`; as
   * `start()` of `UnixSocketServer` and the constructor of `SQLiteQueue`.
   */
  async start(): Promise<void> {
    const { onMessage } = this.#config;
    if (onMessage === undefined) {
      throw invalidArgument('A consumer without onMessage is started by iterating over it');
    }
    await this.#start(onMessage);
  }

  /** Whether the consumer was started and not stopped since. */
  isRunning(): boolean {
    return this.#parts !== undefined;
  }

  /**
   * Accepts no more, lets running handlers finish, also for messages that publishers had sent
   * before, and resolves when their outcomes are acknowledged and settled and the file is closed.
   * What is not done at the deadline is given up: publishers store it, claims are given back, and a
   * handler that ends later is not heard. Messages of the queue that wait for a handler are given
   * back at once. While another process holds the file, outcomes cannot be recorded; where that
   * lasts beyond the deadline, messages come again though their handlers succeeded.
   *
   * Calls while the consumer is being stopped share the outcome of the first. Called from inside
   * `onMessage` it resolves at once, since that handler could not end otherwise. A consumer that
   * does not run is left alone.
   *
   * @throws {IpcError} `ERR_IPC_INVALID_ARGUMENT`.
   */
  async stop({ deadlineMs }: DeadlineOptions = {}): Promise<void> {
    const range = { min: 0, max: DELAY_MS_MAX };
    const deadline = wholeNumber('deadlineMs', deadlineMs, limits.deadlineMs, range);
    if (this.#starting !== undefined) {
      // Whoever started it hears of a failure.
      await this.#starting.catch(() => {});
    }
    const parts = this.#parts;
    if (parts !== undefined) {
      this.#parts = undefined;
      const done = this.#end(parts, deadline);
      this.#ending = { done, intake: parts.intake };
    }
    const ending = this.#ending;
    if (ending !== undefined && !ending.intake.isInside) await ending.done;
  }

  /** Counters since the consumer was made. */
  stats(): HybridConsumerStats {
    const last = this.#parts ?? this.#last;
    return {
      running: this.isRunning(),
      ...this.#counts,
      inFlight: last?.intake.running ?? 0,
      waiting: last?.intake.waiting ?? 0,
      remembered: this.#gate.size,
      server: last?.server.stats(),
      poller: last?.poller.stats(),
    };
  }

  /** The socket's part while the consumer runs, for `checkHealth()`. */
  get server(): UnixSocketServer | undefined {
    return this.#parts?.server;
  }

  /** The queue while the consumer runs, for `checkHealth()` and its dead letters. */
  get queue(): SQLiteQueue | undefined {
    return this.#parts?.queue;
  }

  /** The queue's poller while the consumer runs, for `checkHealth()`. */
  get poller(): SQLiteQueuePoller | undefined {
    return this.#parts?.poller;
  }

  /**
   * The messages, each to be settled with `ack()` or `nack()`; at most `concurrency` are not. The
   * consumer starts with the first one that is asked for. When the loop is left, what was not
   * settled comes again, as a delivery that was cut short and not as one that failed, and the
   * consumer stops; when it is stopped from elsewhere, the loop ends.
   *
   * @throws {IpcError} `ERR_IPC_INVALID_ARGUMENT` for a consumer with `onMessage`. The first
   * `next()` rejects as `start()`, with `ERR_IPC_ALREADY_RUNNING` when it is iterated over already.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Delivery> {
    if (this.#config.onMessage !== undefined) {
      throw invalidArgument('A consumer with onMessage cannot be iterated over');
    }
    const deliveries: Deliveries = new Deliveries(
      () => this.#start((message, info) => deliveries.handle(message, info), deliveries),
      () => this.stop(),
    );
    return deliveries;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #start(handle: HybridMessageHandler, deliveries?: Deliveries): Promise<void> {
    if (this.#parts !== undefined || this.#starting !== undefined) {
      throw new IpcError('ERR_IPC_ALREADY_RUNNING', 'Consumer is already running');
    }
    this.#starting = this.#open(handle, deliveries);
    try {
      await this.#starting;
    } finally {
      this.#starting = undefined;
    }
    this.tell('listening');
  }

  async #open(handle: HybridMessageHandler, deliveries: Deliveries | undefined): Promise<void> {
    await this.#ending?.done;
    const { dbPath, retentionHours } = this.#config;
    const queue = new SQLiteQueue({ dbPath, retentionHours });
    const parts = this.#newParts(queue, handle);
    try {
      await parts.server.start();
      await parts.poller.start();
    } catch (error) {
      await parts.server.stop({ deadlineMs: 0 });
      queue.close();
      throw error;
    }
    this.#parts = parts;
    this.#last = parts;
    this.#deliveries = deliveries;
  }

  #newParts(queue: SQLiteQueue, handle: HybridMessageHandler): Parts {
    const log = this.#isDurable ? new HandledLog(queue[deliveryStore]) : undefined;
    const handler = handle as IntakeHost['handle'];
    const intake = new MessageIntake(this.#gate, log, this.#concurrency, this.#counts, {
      handle: this.#config.validate ? validating(handler) : handler,
      duplicate: (message, info) => this.tell('duplicate', message as IPCMessage, info),
      failed: (error, phase, message, { via }) => {
        // What a handler leaves behind that was given up finds the file closed.
        if (phase === 'dedup' && intake.isShut) return;
        this.#failed(error, { via, phase, message: message as IPCMessage });
      },
    });
    const server = this.#newServer();
    server[deliverTo]({
      batch: inHandlerScope,
      take: (message, answer) => intake.deliver(message, BY_SOCKET, answer),
    });
    server.on('connection', (connection) => this.tell('connection', connection));
    server.on('disconnect', (connection, error) => this.tell('disconnect', connection, error));
    server.on('error', (error) => this.#failed(error, { via: 'socket', phase: 'connection' }));
    const poller = this.#newPoller(queue, {
      handle: ({ message, attempt }, park) => intake.take(message, { via: 'queue', attempt }, park),
      settled: (claims) => intake.settled(claims.map(({ message }) => message)),
    });
    poller.on('drained', (handled) => this.tell('drained', handled));
    poller.on('deadLetter', (message, { attempts, error }) => {
      const reason = error instanceof Refusal ? error.reason : error;
      this.tell('deadLetter', message, { attempts, error: reason });
    });
    poller.on('error', (error, { phase, message }) => {
      if (!intake.isShut) this.#failed(error, { via: 'queue', phase, message });
    });
    return { server, poller, queue, intake };
  }

  /** Never rejects: nobody may be waiting. */
  async #end({ server, poller, queue, intake }: Parts, deadlineMs: number): Promise<void> {
    const deliveries = this.#deliveries;
    const endsAt = performance.now() + deadlineMs;
    const stopped = Promise.all([server.stop({ deadlineMs }), poller.stop({ deadlineMs })]);
    intake.shutQueue();
    deliveries?.drain();
    await stopped;
    intake.shut();
    deliveries?.finish();
    this.#deliveries = undefined;
    try {
      await queue[closeWithin](Math.max(endsAt - performance.now(), limits.closeGraceMs));
    } catch (error) {
      this.#failed(error, { via: 'queue', phase: 'close' });
    }
    this.#ending = undefined;
    this.tell('close');
  }

  #newServer(): UnixSocketServer {
    const { socketPath, maxConnections, maxFrameBytes, highWaterMark } = this.#config;
    const { mode, allowedUids, frameTimeoutMs, maxOutboundBytes, validate } = this.#config;
    return new UnixSocketServer({
      socketPath,
      maxConnections,
      maxFrameBytes,
      highWaterMark,
      mode,
      allowedUids,
      frameTimeoutMs,
      maxOutboundBytes,
      validate,
    });
  }

  #newPoller(queue: PollableQueue, handle: ClaimHandler): SQLiteQueuePoller {
    const { pollInterval, batchSize, maxAttempts, retryDelayMs, leaseMs } = this.#config;
    const { cleanupIntervalMs, retentionHours } = this.#config;
    return new SQLiteQueuePoller({
      queue,
      concurrency: this.#concurrency,
      pollInterval,
      batchSize,
      maxAttempts,
      retryDelayMs,
      leaseMs,
      cleanupIntervalMs,
      retentionHours,
      [onClaim]: handle,
    } as SQLiteQueuePollerOptions);
  }

  #failed(error: unknown, context: HybridErrorContext): void {
    if (isOwn(error)) return;
    if (this.tell('error', error, context)) return;
    try {
      console.error(`HybridConsumer: ${context.phase} failed (${context.via}):`, error);
    } catch {
      // What was thrown cannot even be shown.
    }
  }
}

const BY_SOCKET: MessageInfo = Object.freeze({ via: 'socket', attempt: 1 });

/** Stands for the queue where options are only checked. */
const NO_QUEUE: PollableQueue = { dequeue: () => [], markProcessed() {}, cleanup() {} };

/**
 * The handler, for messages of the queue that satisfy the schema. The server has judged those of
 * the socket before it made messages of them.
 */
function validating(handle: IntakeHost['handle']): IntakeHost['handle'] {
  return (message, info) => {
    if (info.via === 'queue') assertValid(message);
    return handle(message, info);
  };
}

/** @throws {IpcError} `ERR_IPC_INVALID_MESSAGE`. */
function assertValid(message: unknown): void {
  const { success, error } = validation().safeValidateQueueMessage(message);
  if (success) return;
  const broken = error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new IpcError('ERR_IPC_INVALID_MESSAGE', `The message is invalid: ${broken.join('; ')}`);
}

/** Whether it was told already, or says that the consumer is being stopped. */
function isOwn(error: unknown): boolean {
  return error instanceof Refusal || error instanceof NotHandled;
}
