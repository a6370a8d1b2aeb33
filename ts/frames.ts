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

/**
 * The messages of a batch, in order; a {@link MalformedFrame} stands for what is not JSON. See
 * `src/socket/batch.rs` for the form of `text`.
 */
export function parseBatch(text: string, count: number, separator: number): unknown[] {
  let parsed: unknown[] | undefined;
  try {
    parsed = JSON.parse(text) as unknown[];
  } catch {
    // At least one frame is to blame; the others must not suffer.
  }
  if (parsed !== undefined && parsed.length === 2 * count - 1) {
    let at = 1;
    while (at < parsed.length && parsed[at] === separator) at += 2;
    if (at > parsed.length - 1) {
      if (count === 1) return parsed;
      const messages = new Array<unknown>(count);
      for (let index = 0; index < count; index++) messages[index] = parsed[2 * index];
      return messages;
    }
  }
  const frames = text.slice(1, -1).split(`,${separator},`);
  if (frames.length !== count) {
    // A peer guessed the separator: nothing in this batch can be told apart.
    return new Array<unknown>(count).fill(new MalformedFrame(malformed('it imitates a batch')));
  }
  return frames.map((frame) => {
    try {
      return JSON.parse(frame);
    } catch (error) {
      return new MalformedFrame(malformed((error as Error)?.message, error));
    }
  });
}

function malformed(why: string, cause?: unknown): IpcError {
  return new IpcError('ERR_IPC_MALFORMED_FRAME', `A frame is not JSON: ${why}`, { cause });
}
