import { IpcError } from './errors.js';
import { describe, object } from './options.js';
import type { QueueMessage } from './types.js';

/** The columns of a message, its payload as JSON. */
export function fields(message: QueueMessage, which: string) {
  object(`message${which}`, message);
  const { id, type, payload, timestamp } = message;
  if (!isText(id)) throw invalid(`message${which}: id`, 'a string of whole characters', id);
  if (!isText(type)) throw invalid(`message${which}: type`, 'a string of whole characters', type);
  if (typeof timestamp !== 'number') {
    throw invalid(`message${which}: timestamp`, 'a number', timestamp);
  }
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
  return { id, type, payload: json, timestamp };
}

/**
 * Whether it is a string that has a form in UTF-8. Half of a surrogate pair has none: it would
 * be stored as U+FFFD, and the id would be another one.
 */
export function isText(value: unknown): value is string {
  return typeof value === 'string' && value.isWellFormed();
}

/**
 * A message in the form that the addon reads. With its payload last, the payload is not read; see
 * `src/queue/message.rs`.
 */
export function record(message: QueueMessage, which: string): string {
  const { id, type, payload, timestamp } = fields(message, which);
  if (!Number.isFinite(timestamp)) {
    throw invalid(`message${which}: timestamp`, 'a finite number', timestamp);
  }
  return `{"id":${JSON.stringify(id)},"type":${JSON.stringify(type)},"timestamp":${timestamp},"payload":${payload}}`;
}

function invalid(what: string, expected: string, value: unknown): IpcError {
  return new IpcError(
    'ERR_IPC_INVALID_MESSAGE',
    `${what} must be ${expected}, not ${describe(value)}`,
  );
}
