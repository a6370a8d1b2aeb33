import { DuplicateGate } from './duplicate-gate.js';
import { IpcError, messageOf } from './errors.js';
import { Fifo } from './fifo.js';
import type { HandledLog } from './handled-log.js';
import { isThenable } from './thenable.js';

/** The channel that a message came by. */
export type Channel = 'socket' | 'queue';

/** What a handler is told about a message. */
export interface MessageInfo {
  /** The channel that this copy of the message came by. */
  readonly via: Channel;
  /** Which delivery of the queue it is, from 1; always 1 on the socket. */
  readonly attempt: number;
}

/** Called for each message; what it throws or rejects with makes the message come again. */
export type Handle = (message: unknown, info: MessageInfo) => unknown;

/** The counters of a {@link MessageIntake}. */
export interface IntakeCounts {
  handled: number;
  failed: number;
  duplicates: number;
  viaSocket: number;
  viaQueue: number;
}

/** What the handler threw, on its way through the server or the poller. */
export class HandlerFailure extends Error {
  constructor(readonly thrown: unknown) {
    super(messageOf(thrown));
  }
}

interface Waiting {
  start: () => void;
  refuse: (error: unknown) => void;
}

/** What the intake needs of its consumer. */
export interface IntakeHost {
  handle: Handle;
  duplicate(message: unknown, info: MessageInfo): void;
  failed(error: unknown, message: unknown, info: MessageInfo): void;
}

/**
 * The one way to the handler for the messages of both channels: drops copies, and lets so many
 * handlers run at once, the channels in turn.
 *
 * A message that need not wait for anything is handled in the call itself, without a promise.
 */
export class MessageIntake {
  readonly counts: IntakeCounts;
  readonly gate: DuplicateGate;
  readonly #log: HandledLog | undefined;
  readonly #concurrency: number;
  readonly #host: IntakeHost;
  readonly #waiting: Record<Channel, Fifo<Waiting>> = { socket: new Fifo(), queue: new Fifo() };
  #next: Channel = 'socket';
  #running = 0;
  #starting = false;
  #closed = false;

  /** With a `log`, ids are also looked up and recorded there. Counts on in `counts`. */
  constructor(
    gate: DuplicateGate,
    log: HandledLog | undefined,
    concurrency: number,
    counts: IntakeCounts,
    host: IntakeHost,
  ) {
    this.counts = counts;
    this.gate = gate;
    this.#log = log;
    this.#concurrency = concurrency;
    this.#host = host;
  }

  /** Handlers that run. */
  get running(): number {
    return this.#running;
  }

  /** Messages that wait for a handler to end. */
  get waiting(): number {
    return this.#waiting.socket.size + this.#waiting.queue.size;
  }

  /** No handler is started any more: whoever waits is refused. */
  close(): void {
    this.#closed = true;
    for (const channel of ['socket', 'queue'] as const) {
      const queue = this.#waiting[channel];
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        next.refuse(stopped());
      }
    }
  }

  /**
   * Handles a message, unless a copy of it was handled. Returns or resolves when that is done, and
   * throws or rejects when the message has to come again.
   */
  take(message: unknown, info: MessageInfo): void | Promise<void> {
    if (this.#closed) throw stopped();
    const id = idOf(message);
    if (id === undefined) return this.#admit(message, info, undefined);
    if (this.gate.knows(id)) return this.#drop(message, info);
    const flight = this.gate.flightOf(id);
    if (flight !== undefined) {
      return DuplicateGate.outcomeOf(flight).then(() => this.#drop(message, info));
    }
    this.gate.begin(id);
    return this.#log === undefined
      ? this.#admit(message, info, id)
      : this.#lookUp(this.#log, message, info, id);
  }

  async #lookUp(log: HandledLog, message: unknown, info: MessageInfo, id: string): Promise<void> {
    let isHandled: boolean;
    try {
      isHandled = await log.has(id);
    } catch (error) {
      this.gate.end(id, false, error);
      throw error;
    }
    if (!isHandled) return this.#admit(message, info, id);
    this.gate.end(id, true);
    this.#drop(message, info);
  }

  #drop(message: unknown, info: MessageInfo): void {
    this.counts.duplicates++;
    this.#host.duplicate(message, info);
  }

  #admit(message: unknown, info: MessageInfo, id: string | undefined): void | Promise<void> {
    if (this.#running < this.#concurrency && this.waiting === 0) {
      return this.#run(message, info, id);
    }
    return new Promise((resolve, reject) => {
      const refuse = (error: unknown) => {
        if (id !== undefined) this.gate.end(id, false, error);
        reject(error);
      };
      const start = () => {
        try {
          resolve(this.#run(message, info, id));
        } catch (error) {
          reject(error);
        }
      };
      if (this.#closed) refuse(stopped());
      else this.#waiting[info.via].push({ start, refuse });
    });
  }

  #run(message: unknown, info: MessageInfo, id: string | undefined): void | Promise<void> {
    this.#running++;
    let result: unknown;
    try {
      result = this.#host.handle(message, info);
      if (isThenable(result)) {
        // `resolve` hears a thenable once, whatever it calls and throws.
        return Promise.resolve(result).then(
          () => this.#succeeded(info, id),
          (error: unknown) => this.#failed(error, message, info, id),
        );
      }
    } catch (error) {
      this.#failed(error, message, info, id);
    }
    return this.#succeeded(info, id);
  }

  #succeeded({ via }: MessageInfo, id: string | undefined): void | Promise<void> {
    this.counts.handled++;
    if (via === 'socket') this.counts.viaSocket++;
    else this.counts.viaQueue++;
    this.#freeSlot();
    if (id === undefined) return;
    // A row of the queue is its own record.
    if (this.#log === undefined || via === 'queue') this.gate.end(id, true);
    else return this.#record(this.#log, id);
  }

  async #record(log: HandledLog, id: string): Promise<void> {
    try {
      await log.record(id);
      this.gate.end(id, true);
    } catch (error) {
      // Not acknowledged, so that it comes again; then this process still knows it.
      this.gate.remember(id);
      this.gate.end(id, false, error);
      throw error;
    }
  }

  #failed(thrown: unknown, message: unknown, info: MessageInfo, id: string | undefined): never {
    this.counts.failed++;
    this.#freeSlot();
    const failure = new HandlerFailure(thrown);
    if (id !== undefined) this.gate.end(id, false, failure);
    this.#host.failed(thrown, message, info);
    throw failure;
  }

  #freeSlot(): void {
    this.#running--;
    // A handler that ends at once comes back here while the loop below runs.
    if (this.#starting || this.waiting === 0) return;
    this.#starting = true;
    while (this.#running < this.#concurrency) {
      const other = this.#next === 'socket' ? 'queue' : 'socket';
      const next = this.#waiting[this.#next].shift() ?? this.#waiting[other].shift();
      if (next === undefined) break;
      this.#next = other;
      next.start();
    }
    this.#starting = false;
  }
}

function stopped(): IpcError {
  return new IpcError('ERR_IPC_CONSUMER_STOPPED', 'The consumer is stopped');
}

function idOf(message: unknown): string | undefined {
  const id = typeof message === 'object' && message !== null && (message as { id?: unknown }).id;
  return typeof id === 'string' && id !== '' ? id : undefined;
}
