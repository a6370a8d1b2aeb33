import type { AbortSignalLike } from './types.js';

/**
 * An error of this package. `code` is stable and is what callers match on: `ERR_IPC_…` for rules
 * of this package, Node's own names for system calls, SQLite's extended names for the database.
 * The text is for people.
 */
export class IpcError extends Error {
  /** The stable name of what went wrong; `docs/errors.md` has a heading for each. */
  readonly code: string;
  /** What led to this error, if anything did. */
  declare readonly cause?: unknown;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'IpcError';
    this.code = code;
  }
}

/**
 * The codes that the JavaScript face itself raises; the others are those of `src/error.rs`. A
 * test compares both lists with `docs/errors.md`.
 */
export const faceCodes = [
  'ERR_IPC_ADDON_NOT_FOUND',
  'ERR_IPC_ALREADY_LISTENING',
  'ERR_IPC_ALREADY_RUNNING',
  'ERR_IPC_BUFFER_FULL',
  'ERR_IPC_CONNECTION_CLOSED',
  'ERR_IPC_CONSUMER_STOPPED',
  'ERR_IPC_DUPLICATE_REQUEST_ID',
  'ERR_IPC_HANDLER_FAILED',
  'ERR_IPC_INVALID_ARGUMENT',
  'ERR_IPC_MALFORMED_FRAME',
  'ERR_IPC_NOT_ACKNOWLEDGED',
  'ERR_IPC_NOT_CONNECTED',
  'ERR_IPC_NOT_RECORDED',
  'ERR_IPC_NO_HANDLER',
  'ERR_IPC_PUBLISHER_CLOSED',
  'ERR_IPC_PUBLISH_TIMEOUT',
  'ERR_IPC_QUEUE_CLOSED',
  'ERR_IPC_REFUSED',
  'ERR_IPC_REQUEST_TIMEOUT',
  'ERR_IPC_SENDER_CLOSED',
  'ERR_IPC_STALE_CLAIM',
  'ERR_IPC_UNSERIALIZABLE',
] as const;

/** Why a message was not accepted, and whether that is certain. */
export class DeliveryError extends IpcError {
  /** The `id` of the message, if it has one. */
  readonly id: string | undefined;
  /**
   * False: the message was certainly not accepted. True: it may be, or may have been handled, and
   * nobody lived to say so; sending it again under the same `id` is safe.
   */
  readonly indeterminate: boolean;

  constructor(
    code: string,
    message: string,
    about: { id: string | undefined; indeterminate: boolean; cause?: unknown },
  ) {
    super(code, message, about.cause === undefined ? undefined : { cause: about.cause });
    this.name = 'DeliveryError';
    this.id = about.id;
    this.indeterminate = about.indeterminate;
  }
}

/** An option or argument has the wrong type or lies outside its range. */
export function invalidArgument(message: string): IpcError {
  return new IpcError('ERR_IPC_INVALID_ARGUMENT', message);
}

/** Something that the package itself did not expect. */
export function internal(message: string, cause?: unknown): IpcError {
  return new IpcError('ERR_IPC_INTERNAL', message, cause === undefined ? {} : { cause });
}

/**
 * The error behind what the addon threw. The addon lives in the main realm; test runners load
 * this file in realms of their own, whose `instanceof Error` has to hold.
 */
export function fromNative(thrown: unknown): IpcError {
  const { code, message } = thrown as { code?: unknown; message?: unknown };
  return new IpcError(
    typeof code === 'string' ? code : 'ERR_IPC_INTERNAL',
    typeof message === 'string' ? message : String(thrown),
  );
}

const UNKNOWN = 'Unknown error';

/** The text of whatever was thrown, for people. Never throws. */
export function textOf(thrown: unknown): string {
  try {
    const message: unknown = Object(thrown).message;
    return typeof message === 'string' ? message : String(thrown);
  } catch {
    // An object of the user's that has no text, or throws when it is looked at.
    return UNKNOWN;
  }
}

/**
 * The same for the wire, where the protocol gives the text of an error, whatever its realm, and
 * of nothing else.
 */
export function messageOf(thrown: unknown): string {
  try {
    const isError =
      thrown instanceof Error || Object.prototype.toString.call(thrown) === '[object Error]';
    const message: unknown = isError && (thrown as Error).message;
    return typeof message === 'string' ? message : UNKNOWN;
  } catch {
    return UNKNOWN;
  }
}

/** What a promise rejects with when its signal is aborted: the signal's reason, as on the web. */
export function abortReason(signal: AbortSignalLike): unknown {
  if (signal.reason !== undefined) return signal.reason;
  const error = new Error('The operation was aborted');
  error.name = 'AbortError';
  return Object.assign(error, { code: 'ABORT_ERR' });
}
