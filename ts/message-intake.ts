import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { refusalCode } from './acknowledgements.js';
import { type Answer, Outcome } from './answer.js';
import { idOf } from './columns.js';
import { DuplicateGate, keyOf } from './duplicate-gate.js';
import { textOf } from './errors.js';
import { Fifo } from './fifo.js';
import type { Flight } from './flights.js';
import type { HandledLog } from './handled-log.js';
import { NotHandled } from './poll-loop.js';
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

/** The counters of a {@link MessageIntake}. */
export interface IntakeCounts {
  handled: number;
  failed: number;
  duplicates: number;
  viaSocket: number;
  viaQueue: number;
}

/** What the intake needs of its consumer. */
export interface IntakeHost {
  /** May throw; what it returns is awaited. */
  handle(message: unknown, info: MessageInfo): unknown;
  duplicate(message: unknown, info: MessageInfo): void;
  failed(error: unknown, phase: 'handle' | 'dedup', message: unknown, info: MessageInfo): void;
}

/** Why a message has to come again, on its way through the server or the poller; told already. */
export class Refusal extends Error {
  /** What the sender is told. */
  readonly [refusalCode]: string;

  constructor(
    readonly reason: unknown,
    code: string,
  ) {
    super(textOf(reason));
    this[refusalCode] = code;
  }
}

const NOT_RECORDED = 'ERR_IPC_NOT_RECORDED';

/**
 * Tells a `stop()` that is called from inside a handler from all others, also after the handler
 * has awaited something: it must not wait for the handler that waits for it.
 */
const handlerCalls = new AsyncLocalStorage<Job>();

/**
 * Before Node.js 24 the storage keeps what it stores at the resource that runs. That is the global object
 * in a call from an addon, where each property costs as much as all the rest. Since then each `run` makes
 * two maps, one to go back with; a resource goes back to what was there before it.
 */
const STORES_AT_RESOURCE = Number.parseInt(process.versions.node, 10) < 24;

/** The context that the handlers of a batch begin in, as long as the batch is handled. */
let batchScope: AsyncResource | undefined;

/**
 * Calls `work`, from the addon, where it can call handlers at a low price. The resource is made anew each
 * time: it holds the context that it is made in, and what handlers put there.
 */
export function inHandlerScope(work: () => void): void {
  const scope = new AsyncResource('FlowtraceIpcHandlers');
  if (STORES_AT_RESOURCE) {
    scope.runInAsyncScope(work);
    return;
  }
  const outer = batchScope;
  batchScope = scope;
  try {
    work();
  } finally {
    batchScope = outer;
  }
}

type Handle = IntakeHost['handle'];

/** Calls a handler so that it, and what it begins, can be told from others. */
function callHandler(handle: Handle, job: Job): unknown {
  return batchScope === undefined
    ? handlerCalls.run(job, handle, job.message, job.info)
    : batchScope.runInAsyncScope(enterHandler, undefined, handle, job);
}

function enterHandler(handle: Handle, job: Job): unknown {
  handlerCalls.enterWith(job);
  return handle(job.message, job.info);
}

/** A message on its way to the handler, and the call of its handler. */
class Job {
  /** Its handler has ended. */
  isDone = false;
  /** By which copies wait for its outcome; none are possible before it waits for anything. */
  flight: Flight | undefined;

  constructor(
    readonly intake: MessageIntake,
    readonly message: unknown,
    readonly info: MessageInfo,
    /** Missing where the message cannot have copies. */
    readonly id: string | undefined,
    /** What the gate knows it by. */
    readonly key: string | undefined,
    readonly answer: Answer,
  ) {}
}

/**
 * The one way to the handler for the messages of both channels: drops copies, and lets so many
 * handlers run at once, the channels in turn.
 *
 * A message that need not wait for anything is handled in the call itself, without a promise.
 */
export class MessageIntake {
  readonly #counts: IntakeCounts;
  readonly #gate: DuplicateGate;
  readonly #log: HandledLog | undefined;
  readonly #concurrency: number;
  readonly #host: IntakeHost;
  readonly #waiting: Record<Channel, Fifo<Job>> = { socket: new Fifo(), queue: new Fifo() };
  #waitingCount = 0;
  /** Whose turn it is when both wait. */
  #turn: Channel = 'socket';
  #running = 0;
  #starting = false;
  #isQueueShut = false;
  #isShut = false;

  /** `gate` and `counts` outlive it. With a `log`, ids are also looked up and recorded there. */
  constructor(
    gate: DuplicateGate,
    log: HandledLog | undefined,
    concurrency: number,
    counts: IntakeCounts,
    host: IntakeHost,
  ) {
    this.#gate = gate;
    this.#log = log;
    this.#concurrency = concurrency;
    this.#counts = counts;
    this.#host = host;
  }

  /** Handlers that run. */
  get running(): number {
    return this.#running;
  }

  /** Messages that wait for a handler to end. */
  get waiting(): number {
    return this.#waitingCount;
  }

  /** Whether nobody waits for its handlers any more. */
  get isShut(): boolean {
    return this.#isShut;
  }

  /** Whether the caller was called by a handler that has not ended. */
  get isInside(): boolean {
    const job = handlerCalls.getStore();
    return job !== undefined && job.intake === this && !job.isDone;
  }

  /** No more messages of the queue are handled; those of the socket are, until `shut()`. */
  shutQueue(): void {
    this.#isQueueShut = true;
    this.#refuseWaiting('queue');
  }

  /** No handler is started any more, and nobody waits for those that run. */
  shut(): void {
    this.#isShut = true;
    this.shutQueue();
    this.#refuseWaiting('socket');
    this.#gate.giveUp(new NotHandled());
  }

  /** As {@link deliver}, for a caller that awaits the answer. */
  take(message: unknown, info: MessageInfo, waits?: () => void): void | Promise<void> {
    const outcome = new Outcome();
    this.deliver(message, info, outcome, waits);
    return outcome.get();
  }

  /**
   * Handles a message, unless a copy of it was handled. `answer` hears of it when that is done, maybe
   * before this returns; of a message that has to come again with a {@link Refusal} or with
   * `NotHandled`. Calls `waits` first if it has to wait for the outcome of another copy, which needs no
   * handler.
   */
  deliver(message: unknown, info: MessageInfo, answer: Answer, waits?: () => void): void {
    const id = textIdOf(message);
    const key = id === undefined ? undefined : keyOf(id);
    const job = new Job(this, message, info, id, key, answer);
    if (!this.#admits(info)) this.#refuse(job);
    else if (id === undefined || key === undefined) this.#admit(job);
    else if (this.#gate.knows(key) || this.#log?.owes(id)) this.#dropKnown(job, id);
    else this.#takeNew(job, id, key, waits);
  }

  /** Handles a message that no handler has seen to its end. */
  #takeNew(job: Job, id: string, key: string, waits: (() => void) | undefined): void {
    const flight = this.#gate.flightOf(key);
    if (flight !== undefined) {
      waits?.();
      DuplicateGate.outcomeOf(flight).then(
        () => this.#drop(job),
        (error: unknown) => job.answer.refused(error),
      );
    } else if (this.#log === undefined) {
      this.#admit(job);
    } else {
      void this.#lookUp(this.#log, job, id, key);
    }
  }

  /** The rows of these messages, which were handled, are settled: the file knows them. */
  settled(messages: readonly unknown[]): void {
    if (this.#log === undefined) return;
    for (const message of messages) {
      const id = textIdOf(message);
      if (id !== undefined) this.#gate.settled(keyOf(id));
    }
  }

  #admits({ via }: MessageInfo): boolean {
    return via === 'queue' ? !this.#isQueueShut : !this.#isShut;
  }

  // --- copies ----------------------------------------------------------------------------------

  #drop({ message, info, answer }: Job): void {
    this.#counts.duplicates++;
    this.#host.duplicate(message, info);
    answer.handled();
  }

  #dropKnown(job: Job, id: string): void {
    // What could not be recorded when it was handled is recorded now. A row is its own record.
    if (job.info.via === 'queue' || !this.#log?.owes(id)) {
      this.#drop(job);
      return;
    }
    this.#log.record(id).then(
      () => this.#drop(job),
      (error: unknown) => job.answer.refused(this.#refusal(error, 'dedup', job, NOT_RECORDED)),
    );
  }

  async #lookUp(log: HandledLog, job: Job, id: string, key: string): Promise<void> {
    const flight = this.#gate.begin(key);
    job.flight = flight;
    let isHandled: boolean;
    try {
      isHandled = await log.has(id);
    } catch (error) {
      const refusal = this.#refusal(error, 'dedup', job);
      this.#gate.end(flight, false, refusal);
      return job.answer.refused(refusal);
    }
    if (isHandled) {
      this.#gate.end(flight, true);
      this.#drop(job);
    } else if (this.#admits(job.info)) {
      this.#admit(job);
    } else {
      // It was shut meanwhile.
      this.#refuse(job);
    }
  }

  // --- so many at once -------------------------------------------------------------------------

  #admit(job: Job): void {
    if (this.#running < this.#concurrency && this.#waitingCount === 0) {
      this.#run(job);
    } else {
      this.#await(job);
      this.#waiting[job.info.via].push(job);
      this.#waitingCount++;
    }
  }

  /** From here on copies may come before it is done. */
  #await(job: Job): void {
    if (job.key !== undefined) job.flight ??= this.#gate.begin(job.key);
  }

  #refuseWaiting(channel: Channel): void {
    const queue = this.#waiting[channel];
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      this.#waitingCount--;
      this.#refuse(next);
    }
  }

  #refuse({ flight, answer }: Job): void {
    const refusal = new NotHandled();
    if (flight !== undefined) this.#gate.end(flight, false, refusal);
    answer.refused(refusal);
  }

  #freeSlot(): void {
    this.#running--;
    // A handler that ends at once comes back here while the loop below runs.
    if (this.#starting || this.#waitingCount === 0) return;
    this.#starting = true;
    while (this.#running < this.#concurrency && this.#waitingCount > 0) {
      const other = this.#turn === 'socket' ? 'queue' : 'socket';
      const channel = this.#waiting[this.#turn].size > 0 ? this.#turn : other;
      this.#turn = channel === 'socket' ? 'queue' : 'socket';
      this.#waitingCount--;
      this.#run(this.#waiting[channel].shift() as Job);
    }
    this.#starting = false;
  }

  // --- handling --------------------------------------------------------------------------------

  #run(job: Job): void {
    this.#running++;
    let result: unknown;
    try {
      result = callHandler(this.#host.handle, job);
      if (isThenable(result)) {
        this.#await(job);
        // `resolve` hears a thenable once, whatever it calls and throws.
        Promise.resolve(result).then(
          () => this.#succeeded(job),
          (error: unknown) => this.#failed(job, error),
        );
        return;
      }
    } catch (error) {
      this.#failed(job, error);
      return;
    }
    this.#succeeded(job);
  }

  #succeeded(job: Job): void {
    const { id, key, info, answer } = job;
    job.isDone = true;
    this.#counts.handled++;
    if (info.via === 'socket') this.#counts.viaSocket++;
    else this.#counts.viaQueue++;
    if (key === undefined || id === undefined) {
      answer.handled();
    } else if (this.#log !== undefined && info.via === 'socket') {
      void this.#record(this.#log, job, id, key);
    } else {
      // Its row will say so. Until then the window might forget it.
      if (this.#log !== undefined) this.#gate.keepUntilSettled(key);
      if (job.flight === undefined) this.#gate.rememberNew(key);
      else this.#gate.end(job.flight, true);
      answer.handled();
    }
    this.#freeSlot();
  }

  /** Not acknowledged when that fails: it comes again, and this process knows it then. */
  async #record(log: HandledLog, job: Job, id: string, key: string): Promise<void> {
    const flight = job.flight ?? this.#gate.begin(key);
    try {
      await log.record(id);
    } catch (error) {
      this.#gate.remember(key);
      const refusal = this.#refusal(error, 'dedup', job, NOT_RECORDED);
      this.#gate.end(flight, false, refusal);
      return job.answer.refused(refusal);
    }
    this.#gate.end(flight, true);
    job.answer.handled();
  }

  #failed(job: Job, thrown: unknown): void {
    job.isDone = true;
    let refusal: Error;
    if (thrown instanceof NotHandled) {
      refusal = thrown;
    } else {
      this.#counts.failed++;
      refusal = this.#refusal(thrown, 'handle', job);
    }
    if (job.flight !== undefined) this.#gate.end(job.flight, false, refusal);
    job.answer.refused(refusal);
    this.#freeSlot();
  }

  #refusal(
    reason: unknown,
    phase: 'handle' | 'dedup',
    { message, info }: Job,
    code = 'ERR_IPC_HANDLER_FAILED',
  ): Refusal {
    this.#host.failed(reason, phase, message, info);
    return new Refusal(reason, code);
  }
}

/** What copies of a message are recognised by. */
function textIdOf(message: unknown): string | undefined {
  const id = idOf(message);
  return typeof id === 'string' && id !== '' ? id : undefined;
}
