import { IpcError } from './errors.js';
import { utf8Fits } from './utf8.js';

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
  if (utf8Fits(text, maxFrameBytes)) return text;
  throw new IpcError(
    'ERR_IPC_FRAME_TOO_LARGE',
    `The message is too large: ${Buffer.byteLength(text)} bytes exceed maxFrameBytes (${maxFrameBytes})`,
  );
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

/** A frame of which no message can be made. */
export class MalformedFrame {
  constructor(readonly error: IpcError) {}
}

/** The message of a frame that is read by itself; a {@link MalformedFrame} if it is not JSON. */
export function parseFrame(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    const text = `A frame is not JSON: ${(error as Error)?.message}`;
    return new MalformedFrame(new IpcError('ERR_IPC_MALFORMED_FRAME', text, { cause: error }));
  }
}
