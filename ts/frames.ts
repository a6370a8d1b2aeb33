import { IpcError } from './errors.js';

/** Longest sequence of bytes that one UTF-16 unit can become. */
const UTF8_BYTES_PER_UNIT = 3;

/**
 * A message as `JSON.stringify` sees it, `toJSON` included, with this `id` in place of none.
 *
 * @throws {IpcError} `ERR_IPC_UNSERIALIZABLE` when JSON has no form for it, or it is not an object.
 */
export function withId(message: object, id: unknown): object {
  const prototype: unknown = Object.getPrototypeOf(message);
  if (prototype === Object.prototype && !('toJSON' in message)) return { ...message, id };
  const plain: unknown = JSON.parse(jsonOf(message));
  if (typeof plain !== 'object' || plain === null || Array.isArray(plain)) {
    throw unserializable('a message without an id must be an object, to be given one');
  }
  return { ...plain, id };
}

/**
 * The JSON text of a message.
 *
 * @throws {IpcError} `ERR_IPC_UNSERIALIZABLE` when JSON has no form for it,
 * `ERR_IPC_FRAME_TOO_LARGE` when that form is longer than `maxFrameBytes`.
 */
export function stringify(message: unknown, maxFrameBytes: number): string {
  const text = jsonOf(message);
  if (text.length * UTF8_BYTES_PER_UNIT > maxFrameBytes) {
    const bytes = Buffer.byteLength(text);
    if (bytes > maxFrameBytes) {
      throw new IpcError(
        'ERR_IPC_FRAME_TOO_LARGE',
        `The message is too large: ${bytes} bytes exceed maxFrameBytes (${maxFrameBytes})`,
      );
    }
  }
  return text;
}

function jsonOf(message: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(message);
  } catch (error) {
    throw unserializable((error as Error)?.message, { cause: error });
  }
  if (text === undefined) throw unserializable(`it is ${typeof message}`);
  return text;
}

function unserializable(why: string, options?: { cause: unknown }): IpcError {
  const text = `The message cannot be sent as JSON: ${why}`;
  return new IpcError('ERR_IPC_UNSERIALIZABLE', text, options);
}

/** A frame whose body is not one JSON value. */
export class MalformedFrame {
  constructor(readonly error: IpcError) {}
}

/** The message of a frame that is read by itself; a {@link MalformedFrame} if it is not JSON. */
export function parseFrame(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    return new MalformedFrame(malformed((error as Error)?.message, error));
  }
}

/** What stands for a frame that there was no memory for. */
export function unreadable(error: unknown): MalformedFrame {
  return new MalformedFrame(malformed((error as Error)?.message, error));
}

function malformed(why: string, cause?: unknown): IpcError {
  return new IpcError('ERR_IPC_MALFORMED_FRAME', `A frame is not JSON: ${why}`, { cause });
}
