import { internal } from './errors.js';
import { addon } from './native.js';
import { utf8Fits } from './utf8.js';
import { chooseNotes } from './value-habit.js';
import { jsonBytesAtMost, ValueBuffer } from './value-writer.js';

/**
 * What a message was when it was taken over, whatever becomes of the object: its notes, or its JSON
 * text where it has none.
 */
export type MessageBody = NotedMessage | string;

/**
 * When messages have filled so many bytes of a buffer, the next ones share another: it stays as long
 * as one of them does.
 */
const SHARED_BYTES_MAX = 64 * 1024;

/** The notes of a message, in a buffer that others have a part of. */
export class NotedMessage {
  /** About how many UTF-16 units its JSON text has. */
  readonly length: number;
  /** Its JSON text is no longer than this. */
  readonly jsonBytesMax: number;
  readonly begin: number;
  readonly end: number;
  #values: ValueBuffer | undefined;

  /** The message that was added last to `values`, from `begin` on. */
  constructor(values: ValueBuffer, begin: number) {
    this.#values = values.share();
    this.begin = begin;
    this.end = values.length;
    this.length = values.jsonLength;
    this.jsonBytesMax = jsonBytesAtMost(this.end - begin, values.keyBytes);
  }

  /** Where it is. */
  get values(): ValueBuffer {
    if (this.#values === undefined) throw internal('The notes of a message were given up');
    return this.#values;
  }

  /** Its JSON text. */
  json(): string {
    return this.values.handTo(addon.printValues, this.begin, this.end);
  }

  /** It is not needed any more. */
  release(): void {
    this.#values?.release();
    this.#values = undefined;
  }
}

/** Takes notes of messages that are to be marked, as they come. */
export class Notebook {
  #values: ValueBuffer | undefined;

  /** `undefined` if it must or had better be left to `JSON.stringify`. */
  choose(message: unknown, jsonBytesMax: number): NotedMessage | undefined {
    return chooseNotes() ? this.add(message, jsonBytesMax) : undefined;
  }

  /** `undefined` if it must be left to `JSON.stringify`; see {@link ValueBuffer.add}. */
  add(message: unknown, jsonBytesMax: number): NotedMessage | undefined {
    this.#values ??= ValueBuffer.take();
    const values = this.#values;
    const begin = values.length;
    if (!values.add(message, jsonBytesMax, true)) return undefined;
    if (values.length <= SHARED_BYTES_MAX) return new NotedMessage(values, begin);
    this.#values = undefined;
    const isLong = values.length - begin > SHARED_BYTES_MAX / 4;
    const own = isLong ? values.split(begin) : values;
    const noted = new NotedMessage(own, begin);
    if (isLong) own.release();
    values.release();
    return noted;
  }
}

/** Whether the JSON text of a body has at most so many bytes. */
export function fits(body: MessageBody, jsonBytesMax: number): boolean {
  if (typeof body === 'string') return utf8Fits(body, jsonBytesMax);
  return body.jsonBytesMax <= jsonBytesMax || Buffer.byteLength(body.json()) <= jsonBytesMax;
}

/** Gives a body up. */
export function release(body: MessageBody): void {
  if (typeof body !== 'string') body.release();
}
