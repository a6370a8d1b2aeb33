import { IpcError } from './errors.js';
import { Fifo } from './fifo.js';
import type { Channel, MessageInfo } from './message-intake.js';
import type { IPCMessage } from './types.js';

/** A message of a consumer that is iterated over. Settle it with `ack()` or `nack()`. */
export class Delivery {
  /** The message as it came. */
  readonly message: IPCMessage;
  /** The channel that this copy came by. */
  readonly via: Channel;
  /** Which delivery of the queue it is, from 1; always 1 on the socket. */
  readonly attempt: number;
  readonly #settle: (error: unknown, isHandled: boolean) => void;

  /** @internal */
  constructor(
    message: unknown,
    { via, attempt }: MessageInfo,
    settle: (error: unknown, isHandled: boolean) => void,
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
    this.#settle(undefined, true);
  }

  /** The message was not handled and is to come again. Does nothing if it was settled before. */
  nack(error: unknown = new Error('nack() was called')): void {
    this.#settle(error, false);
  }
}

/** The messages of a consumer as an async iterator. */
export class Deliveries implements AsyncIterableIterator<Delivery> {
  readonly #begin: () => Promise<void>;
  readonly #end: () => Promise<void>;
  #begun: Promise<void> | undefined;
  #ended = false;
  readonly #ready = new Fifo<Delivery>();
  readonly #readers = new Fifo<{ resolve: (result: IteratorResult<Delivery>) => void }>();
  readonly #unsettled = new Set<Delivery>();

  /** `begin` and `end` start and stop the consumer. */
  constructor(begin: () => Promise<void>, end: () => Promise<void>) {
    this.#begin = begin;
    this.#end = end;
  }

  /** The handler of the consumer: resolves when the message is settled. */
  handle(message: unknown, info: MessageInfo): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#ended) {
        reject(left());
        return;
      }
      const delivery = new Delivery(message, info, (error, isHandled) => {
        this.#unsettled.delete(delivery);
        if (isHandled) resolve();
        else reject(error);
      });
      this.#unsettled.add(delivery);
      const reader = this.#readers.shift();
      if (reader === undefined) this.#ready.push(delivery);
      else reader.resolve({ done: false, value: delivery });
    });
  }

  /** No message comes any more; those that were not settled come again. */
  finish(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#ready.clear();
    for (const delivery of [...this.#unsettled]) delivery.nack(left());
    for (let next = this.#readers.shift(); next !== undefined; next = this.#readers.shift()) {
      next.resolve({ done: true, value: undefined });
    }
  }

  async next(): Promise<IteratorResult<Delivery>> {
    if (!this.#ended) {
      this.#begun ??= this.#begin();
      await this.#begun;
    }
    const delivery = this.#ready.shift();
    if (delivery !== undefined) return { done: false, value: delivery };
    if (this.#ended) return { done: true, value: undefined };
    return new Promise((resolve) => {
      this.#readers.push({ resolve });
    });
  }

  async return(): Promise<IteratorResult<Delivery>> {
    this.finish();
    await this.#end();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

function left(): IpcError {
  return new IpcError('ERR_IPC_CONSUMER_STOPPED', 'The consumer is no longer iterated over');
}
