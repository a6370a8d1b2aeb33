import type { SocketLevel, Unacknowledged } from './ack-sender.js';
import { ID, PAYLOAD, TIMESTAMP, TYPE } from './columns.js';
import { IpcError, textOf } from './errors.js';
import type { HeldMessages } from './held-messages.js';
import { limits } from './limits.js';
import { type MessageBody, type Notebook, release } from './message-body.js';
import { describe, object } from './options.js';
import { isText } from './records.js';
import { utf8Fits } from './utf8.js';

/** A message to publish: the columns of the queue, of which two are made when they are missing. */
export interface PublishableMessage {
  /**
   * What duplicates are recognised by: unique per message, the same when it is published again.
   * Made when missing. Other content under an id that is known may be taken for a copy.
   */
  id?: string | undefined;
  /** What kind of message it is, not empty. */
  type: string;
  /** Anything that JSON can hold; null when missing. */
  payload?: unknown;
  /**
   * When it was made, in milliseconds since 1970. Now when missing. It does not matter when the
   * message is published again: what was stored first stays.
   */
  timestamp?: number | undefined;
}

/** What is known of a message that was accepted. */
export interface PublishReceipt {
  /** The message's id, also when it was made here. */
  readonly id: string;
  /** The channel that it took. */
  readonly via: 'socket' | 'queue';
  /**
   * `handled`: a consumer's handler resolved. `durable`: it is in the queue, committed, and survives
   * power loss. `received`: a server of the original package that sends no replies has read it.
   */
  readonly level: 'handled' | 'durable' | 'received';
}

/** Where a publication is. */
export const Place = {
  /** It waits for room. */
  Outside: 0,
  /** It waits for a connection, or for its acknowledgement. */
  Socket: 1,
  /** It is being stored. */
  Queue: 2,
  /** It has its outcome. */
  Done: 3,
} as const;
export type Place = (typeof Place)[keyof typeof Place];

/** Who decides what follows from the news of a publication. */
export interface PublicationHost {
  acknowledged(publication: Publication, level: SocketLevel): void;
  /** The socket has not delivered it, and will not. */
  undelivered(publication: Publication, error: IpcError): void;
}

/**
 * What the order of a message is kept by, as its publisher's `orderKey` has it.
 *
 * @throws {IpcError} `ERR_IPC_INVALID_MESSAGE` when that throws.
 */
export function keyOf(
  message: PublishableMessage,
  orderKey: ((message: PublishableMessage) => string | undefined) | undefined,
): string | undefined {
  try {
    return orderKey?.(message);
  } catch (error) {
    const text = `orderKey failed for the message: ${textOf(error)}`;
    throw new IpcError('ERR_IPC_INVALID_MESSAGE', text, { cause: error });
  }
}

/** A message on its way. */
export class Publication implements Unacknowledged {
  number = 0;
  isAbandoned = false;
  holder: HeldMessages | undefined;
  place: Place = Place.Outside;
  /** When it is stored if it was not acknowledged, on the clock of `performance`. */
  spillAt = 0;
  /** Why it was not delivered or stored so far. */
  failure: IpcError | undefined;
  /** A commit reported a failure, and may have happened all the same. */
  isStoredPerhaps = false;
  /** Its neighbours in the room of its publisher. */
  older: Publication | undefined;
  newer: Publication | undefined;
  /** It was the first to be sent after the consumer fell silent. */
  isProbe = false;
  readonly length: number;
  readonly #host: PublicationHost;

  constructor(
    host: PublicationHost,
    readonly id: string,
    /** What is sent; as JSON text it is also the record of the queue. */
    public body: MessageBody,
    /** What its order is kept by. */
    readonly key: string | undefined,
    /** When its publisher has to have an answer, on the clock of `performance`. */
    readonly deadline: number,
    readonly resolve: (receipt: PublishReceipt) => void,
    readonly reject: (error: unknown) => void,
  ) {
    this.#host = host;
    this.length = body.length;
  }

  /** The record of the queue. */
  record(): string {
    const { body } = this;
    if (typeof body === 'string') return body;
    // It may wait for long, and others need the buffer.
    this.body = body.json();
    body.release();
    return this.body;
  }

  /** Whoever still knows it needs its id alone. */
  giveUp(): void {
    release(this.body);
    this.body = '';
  }

  acknowledged(level: SocketLevel): void {
    this.#host.acknowledged(this, level);
  }

  refused(error: IpcError): void {
    this.#host.undelivered(this, error);
  }

  lost(error: IpcError): void {
    this.#host.undelivered(this, error);
  }
}

function isColumn(field: string): boolean {
  return field === ID || field === TYPE || field === PAYLOAD || field === TIMESTAMP;
}

/**
 * The id and the body of a message, with what is missing. Notes are taken in `notebook`, unless the
 * JSON text may be longer than `jsonBytesMax`.
 *
 * @throws {IpcError} `ERR_IPC_INVALID_MESSAGE`, also for fields that the queue has no column for:
 * they would be lost with the channel; `ERR_IPC_UNSERIALIZABLE`.
 */
export function recordOf(
  message: PublishableMessage,
  newId: () => string,
  now: () => number,
  notebook: Notebook,
  jsonBytesMax: number,
): { id: string; body: MessageBody } {
  try {
    return record(message, newId, now, notebook, jsonBytesMax);
  } catch (error) {
    if (error instanceof IpcError) throw error;
    // A getter, a `toJSON` or a trap of the caller's, or more text than a string can hold.
    throw unserializable(error);
  }
}

function record(
  message: PublishableMessage,
  newId: () => string,
  now: () => number,
  notebook: Notebook,
  jsonBytesMax: number,
): { id: string; body: MessageBody } {
  object('message', message);
  let fields = message as PublishableMessage & { toJSON?: unknown };
  if (typeof fields.toJSON === 'function') fields = plain(fields);
  for (const field in fields) {
    if (isColumn(field) || !Object.hasOwn(fields, field)) continue;
    if (fields[field as keyof PublishableMessage] !== undefined) {
      throw invalid(
        `The message has a field ${describe(field)}, which the queue cannot store: put it into payload`,
      );
    }
  }
  const {
    [ID]: id = newId(),
    [TYPE]: type,
    [PAYLOAD]: payload = null,
    [TIMESTAMP]: timestamp = now(),
  } = fields;
  if (!isName(id)) throw invalid(wanted('id', NAME, id));
  if (!isName(type)) throw invalid(wanted('type', NAME, type));
  if (!Number.isFinite(timestamp)) {
    throw invalid(wanted('timestamp', 'a finite number', timestamp));
  }
  // What JSON has no form for would be left out.
  const odd = typeof payload !== 'object' || 'toJSON' in (payload ?? {});
  if (odd && JSON.stringify(payload) === undefined) {
    throw invalid(wanted('payload', 'a JSON value', payload));
  }
  const whole = { id, type, payload, timestamp };
  return { id, body: notebook.choose(whole, jsonBytesMax) ?? JSON.stringify(whole) };
}

const NAME = `a non-empty string of at most ${limits.nameBytesMax} bytes`;

/** What the queue takes as an id and as a type. */
function isName(value: unknown): value is string {
  if (!isText(value) || value === '') return false;
  return utf8Fits(value, limits.nameBytesMax);
}

function plain(message: object): PublishableMessage {
  const copy: unknown = JSON.parse(JSON.stringify(message) ?? 'null');
  object('message', copy);
  return copy as PublishableMessage;
}

function unserializable(cause: unknown): IpcError {
  return new IpcError(
    'ERR_IPC_UNSERIALIZABLE',
    `The message cannot be sent as JSON: ${textOf(cause)}`,
    { cause },
  );
}

function wanted(field: string, expected: string, value: unknown): string {
  return `The message's ${field} must be ${expected}, not ${describe(value)}`;
}

function invalid(text: string): IpcError {
  return new IpcError('ERR_IPC_INVALID_MESSAGE', text);
}
