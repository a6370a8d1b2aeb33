import { Fifo } from './fifo.js';
import type { Channel, MessageInfo } from './message-intake.js';
import { GivenUp, NotHandled } from './poll-loop.js';
import type { IPCMessage } from './types.js';

/** A message of a consumer that is iterated over. Settle it with `ack()` or `nack()`. */
export class Delivery {
  /** The message as it came. */
  readonly message: IPCMessage;
  /** The channel that this copy came by. */
  readonly via: Channel;
  /** Which delivery of the queue it is, from 1; always 1 on the socket. */
  readonly attempt: number;
  readonly #settle: (isHandled: boolean, error: unknown) => void;

  /** @internal */
  constructor(
    message: unknown,
    { via, attempt }: MessageInfo,
    settle: (isHandled: boolean, error: unknown) => void,
  ) {
    this.message = message as IPCMessage;
    this.via = via;
    this.attempt = attempt;
    this.#settle = settle;
  }

  /** The message's `id`. */
  get id(): string | undefined {
    return this.message?.id;
  }

  /** The message's `type`. */
  get type(): string | undefined {
    return this.message?.type;
  }

  /** The message's `payload`. */
  // biome-ignore lint/suspicious/noExplicitAny: payloads are the service's own.
  get payload(): any {
    return this.message?.payload;
  }

  /** The message's `timestamp`. */
  get timestamp(): number | undefined {
    return this.message?.timestamp;
  }

  /** The message is handled. Does nothing if it was settled before. */
  ack(): void {
    this.#settle(true, undefined);
  }

  /** The message was not handled and is to come again. Does nothing if it was settled before. */
  nack(error: unknown = new Error('nack() was called')): void {
    this.#settle(false, error);
  }
}

/** The reason why a message comes again that was not settled when its iteration ended. */
const NOT_SETTLED = 'The message was not settled when the iteration ended';

/** The messages of a consumer as an async iterator. */
export class Deliveries implements AsyncIterableIterator<Delivery> {
  readonly #begin: () => Promise<void>;
  readonly #end: () => Promise<void>;
  #begun: Promise<void> | undefined;
  #isDraining = false;
  #isFinished = false;
  /** Messages that nobody has asked for yet, each with the way to give it back. */
  readonly #ready = new Fifo<{ delivery: Delivery; giveBack: () => void }>();
  readonly #readers = new Fifo<{ resolve: (result: IteratorResult<Delivery>) => void }>();
  /** Messages that were handed out. */
  readonly #unsettled = new Set<Delivery>();

  /** `begin` and `end` start and stop the consumer. */
  constructor(begin: () => Promise<void>, end: () => Promise<void>) {
    this.#begin = begin;
    this.#end = end;
  }

  /** The handler of the consumer: resolves when the message is settled. */
  handle(message: unknown, info: MessageInfo): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#isDraining) {
        reject(new NotHandled());
        return;
      }
      const delivery = new Delivery(message, info, (isHandled, error) => {
        this.#unsettled.delete(delivery);
        if (isHandled) resolve();
        else reject(error);
      });
      const reader = this.#readers.shift();
      if (reader === undefined) {
        this.#ready.push({ delivery, giveBack: () => reject(new NotHandled()) });
      } else {
        this.#unsettled.add(delivery);
        reader.resolve({ done: false, value: delivery });
      }
    });
  }

  /** No message is handed out any more; those that were may still be settled. */
  drain(): void {
    this.#isDraining = true;
    for (let next = this.#ready.shift(); next !== undefined; next = this.#ready.shift()) {
      next.giveBack();
    }
    for (let next = this.#readers.shift(); next !== undefined; next = this.#readers.shift()) {
      next.resolve(DONE);
    }
  }

  /** Nobody settles what was handed out: it comes again, and has not failed. */
  finish(): void {
    this.#isFinished = true;
    this.drain();
    for (const delivery of [...this.#unsettled]) delivery.nack(new GivenUp(NOT_SETTLED));
  }

  async next(): Promise<IteratorResult<Delivery>> {
    if (this.#isDraining) return DONE;
    this.#begun ??= this.#begin();
    try {
      await this.#begun;
    } catch (error) {
      // Who asks again after a failure hears that this is over.
      this.finish();
      throw error;
    }
    const ready = this.#ready.shift();
    if (ready !== undefined) {
      this.#unsettled.add(ready.delivery);
      return { done: false, value: ready.delivery };
    }
    if (this.#isDraining) return DONE;
    return new Promise((resolve) => {
      this.#readers.push({ resolve });
    });
  }

  async return(): Promise<IteratorResult<Delivery>> {
    const isRunning = this.#begun !== undefined && !this.#isFinished;
    this.finish();
    if (isRunning) await this.#end();
    return DONE;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

const DONE: IteratorReturnResult<undefined> = Object.freeze({ done: true, value: undefined });
