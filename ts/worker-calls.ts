import { fromNative, IpcError, invalidArgument } from './errors.js';
import { KeepAlive } from './event-loop.js';
import { limits } from './limits.js';
import type { NativeQueue } from './native.js';
import type { ClaimedMessage } from './queue-types.js';
import type { QueueRecord } from './records.js';
import { ValueBuffer } from './value-writer.js';

/** Whoever waits for the worker thread. */
interface Waiting {
  done(answer: unknown): void;
  failed(error: IpcError): void;
}

/** What was claimed. */
export interface ClaimAnswer {
  claims: ClaimedMessage[];
  /** It ended in front of a message that is to be delivered alone, or consists of one. */
  suspects: boolean;
}

/** `[place, code, text]` of a message that was not stored. */
type Refused = [place: number, code: string, text: string];

/**
 * Of many messages of one tick so many go to the worker thread at a time, in bytes of values, which
 * become some 64 KiB of JSON: it stores the first ones while the others are made.
 */
const HANDOVER_BYTES_MAX = 40 * 1024;

/** Messages that go to the worker thread together, and the promises for them. */
class Batch implements Waiting {
  readonly #settle: { resolve: () => void; reject: (error: unknown) => void }[] = [];

  get count(): number {
    return this.#settle.length;
  }

  add(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settle.push({ resolve, reject });
    });
  }

  done(answer: unknown): void {
    const refused = answer as Refused[];
    const errors = new Map(
      refused.map(([place, code, text]) => [place, new IpcError(code, text)] as const),
    );
    for (const [place, { resolve, reject }] of this.#settle.entries()) {
      const error = errors.get(place);
      if (error === undefined) resolve();
      else reject(error);
    }
  }

  failed(error: IpcError): void {
    // An error of its own for each: whoever catches one may add to it.
    for (const { reject } of this.#settle) reject(new IpcError(error.code, error.message));
  }
}

/** Messages of one tick that go to the worker thread together. */
class OutgoingBatch extends Batch {
  readonly values = ValueBuffer.take();

  constructor(readonly idempotent: boolean) {
    super();
  }

  /** Whether there is enough for the worker to begin with. */
  get isLarge(): boolean {
    return this.values.length > HANDOVER_BYTES_MAX || this.count >= limits.groupRequestsMax;
  }
}

const SETTLED = Promise.resolve();

/**
 * What a queue asked of its worker thread, and who waits for it. Requests reach the thread in the
 * order of the calls. The process stays alive while one is not answered.
 */
export class WorkerCalls {
  readonly #native: NativeQueue;
  readonly #assertOpen: () => void;
  readonly #onIdle: () => void;
  readonly #keepAlive = new KeepAlive();
  readonly #waiting = new Map<number, Waiting>();
  #lastTicket = 0;
  /** Messages of this tick. */
  #outgoing: OutgoingBatch | undefined;
  #scheduled = false;
  readonly #flushAtEnd = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  /** `assertOpen` throws once the queue is closed; `onIdle` is called when nobody waits any more. */
  constructor(native: NativeQueue, assertOpen: () => void, onIdle: () => void) {
    this.#native = native;
    this.#assertOpen = assertOpen;
    this.#onIdle = onIdle;
  }

  /** Whether the worker thread was ever asked for anything. */
  get isUsed(): boolean {
    return this.#lastTicket > 0;
  }

  get isIdle(): boolean {
    return this.#waiting.size === 0;
  }

  /** Stores the record with others of this tick. */
  enqueue(record: QueueRecord, idempotent: boolean): Promise<void> {
    let batch = this.#batchOf(idempotent);
    if (!record.addTo(batch.values)) {
      // What this calls may enqueue something too.
      const json = record.json();
      batch = this.#batchOf(idempotent);
      if (!batch.values.addJson(json)) {
        this.flush();
        batch = this.#batchOf(idempotent);
        if (!batch.values.addJson(json)) throw invalidArgument('the message is too long');
      }
    }
    const stored = batch.add();
    if (batch.isLarge) this.flush();
    return stored;
  }

  #batchOf(idempotent: boolean): OutgoingBatch {
    if (this.#outgoing !== undefined && this.#outgoing.idempotent !== idempotent) this.flush();
    if (this.#outgoing === undefined) {
      this.#outgoing = new OutgoingBatch(idempotent);
      if (!this.#scheduled) SETTLED.then(this.#flushAtEnd);
      this.#scheduled = true;
    }
    return this.#outgoing;
  }

  /** Stores the records of the delivery layer, JSON texts, in one commit, now. */
  store(records: readonly string[]): Promise<void>[] {
    if (records.length === 0) return [];
    this.flush();
    const batch = new Batch();
    const promises = records.map(() => batch.add());
    this.#begin(batch, (native, ticket) => native.deliverLater(ticket, records));
    return promises;
  }

  /** Hands over the messages of this tick. */
  readonly flush = (): void => {
    const batch = this.#outgoing;
    if (batch === undefined) return;
    this.#outgoing = undefined;
    const { values, idempotent, count } = batch;
    if (count > 0) {
      this.#begin(batch, (native, ticket) =>
        values.handTo((...all) => native.enqueueLater(ticket, ...all, idempotent)),
      );
    }
    values.release();
  };

  /** Asks for something else; `begin` hands the request over. Resolves with the answer. */
  ask(begin: (native: NativeQueue, ticket: number) => void): Promise<unknown> {
    // Keeps the order: what was enqueued before is with the worker before.
    this.flush();
    return new Promise((resolve, reject) => {
      this.#begin({ done: resolve, failed: reject }, begin);
    });
  }

  /** The worker thread's answer. */
  completed(ticket: number, code: string | null, value: string): void {
    const waiting = this.#take(ticket);
    if (code === null) waiting?.done(JSON.parse(value));
    else waiting?.failed(new IpcError(code, value));
  }

  /** Its answer to a claim. */
  claimed(ticket: number, answer: ClaimAnswer): void {
    this.#take(ticket)?.done(answer);
  }

  #begin(waiting: Waiting, begin: (native: NativeQueue, ticket: number) => void): void {
    try {
      this.#assertOpen();
    } catch (error) {
      waiting.failed(error as IpcError);
      return;
    }
    this.#lastTicket++;
    const ticket = this.#lastTicket;
    this.#waiting.set(ticket, waiting);
    this.#keepAlive.active = true;
    try {
      begin(this.#native, ticket);
    } catch (error) {
      this.#take(ticket)?.failed(fromNative(error));
    }
  }

  #take(ticket: number): Waiting | undefined {
    const waiting = this.#waiting.get(ticket);
    this.#waiting.delete(ticket);
    if (this.#waiting.size === 0) {
      this.#keepAlive.active = false;
      this.#onIdle();
    }
    return waiting;
  }
}
