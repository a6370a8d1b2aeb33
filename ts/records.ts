import { ID, PAYLOAD, TIMESTAMP, TYPE } from './columns.js';
import { IpcError } from './errors.js';
import { describe, object } from './options.js';
import type { QueueMessage } from './types.js';
import { chooseNotes } from './value-habit.js';
import type { ValueBuffer } from './value-writer.js';

/** The columns of a message, checked so far as they are not the core's to check. */
function columns(message: QueueMessage, which: string): QueueMessage {
  object(`message${which}`, message);
  const id = message[ID];
  const type = message[TYPE];
  const payload = message[PAYLOAD];
  const timestamp = message[TIMESTAMP];
  if (!isText(id)) throw invalid(`message${which}: id`, 'a string of whole characters', id);
  if (!isText(type)) throw invalid(`message${which}: type`, 'a string of whole characters', type);
  if (typeof timestamp !== 'number') {
    throw invalid(`message${which}: timestamp`, 'a number', timestamp);
  }
  return { id, type, timestamp, payload };
}

function payloadJson(payload: unknown, which: string): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(payload);
  } catch (error) {
    throw new IpcError(
      'ERR_IPC_UNSERIALIZABLE',
      `message${which}: payload cannot be stored as JSON: ${(error as Error)?.message}`,
      { cause: error },
    );
  }
  if (json === undefined) throw invalid(`message${which}: payload`, 'a JSON value', payload);
  return json;
}

/** The columns of a message, its payload as JSON. */
export function fields(message: QueueMessage, which: string) {
  const { id, type, payload, timestamp } = columns(message, which);
  return { id, type, payload: payloadJson(payload, which), timestamp };
}

/**
 * Whether it is a string that has a form in UTF-8. Half of a surrogate pair has none: it would
 * be stored as U+FFFD, and the id would be another one.
 */
export function isText(value: unknown): value is string {
  return typeof value === 'string' && value.isWellFormed();
}

/** A message of the queue on its way to the addon. */
export class QueueRecord {
  readonly #columns: QueueMessage;
  readonly #which: string;

  /** @throws {IpcError} `ERR_IPC_INVALID_MESSAGE`. */
  constructor(message: QueueMessage, which: string) {
    this.#columns = columns(message, which);
    this.#which = which;
    const { timestamp } = this.#columns;
    if (!Number.isFinite(timestamp)) {
      throw invalid(`message${which}: timestamp`, 'a finite number', timestamp);
    }
  }

  /**
   * Adds it to `values`. False if it must or had better be left to {@link QueueRecord.json}. With its
   * payload last, the payload is not read; see `src/queue/message.rs`.
   */
  addTo(values: ValueBuffer): boolean {
    const { payload } = this.#columns;
    // What JSON has no form for would be left out.
    if (payload === undefined || typeof payload === 'function' || typeof payload === 'symbol') {
      return false;
    }
    return chooseNotes() && values.add(this.#columns, Number.MAX_SAFE_INTEGER);
  }

  /**
   * Its JSON text.
   *
   * @throws {IpcError} `ERR_IPC_INVALID_MESSAGE`, `ERR_IPC_UNSERIALIZABLE`.
   */
  json(): string {
    const { id, type, timestamp, payload } = this.#columns;
    const json = payloadJson(payload, this.#which);
    return `{"id":${JSON.stringify(id)},"type":${JSON.stringify(type)},"timestamp":${timestamp},"payload":${json}}`;
  }
}

function invalid(what: string, expected: string, value: unknown): IpcError {
  return new IpcError(
    'ERR_IPC_INVALID_MESSAGE',
    `${what} must be ${expected}, not ${describe(value)}`,
  );
}
