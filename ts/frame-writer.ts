import { fromNative } from './errors.js';
import { nativeHub } from './event-loop.js';
import type { TakeValues } from './native.js';
import { writeText } from './text-writer.js';

/**
 * How frames reach the addon. Both return 0 when the kernel took all, else the byte count after
 * which it has.
 */
export interface FrameWriter {
  text(frames: string): number;
  /** With parameters of its own: a list of all of them would be made for each call. */
  readonly values: TakeValues<number>;
}

/** Writes to the connection of a client, or to one of a server. What it throws is an `IpcError`. */
export function writerTo(connection: number): FrameWriter {
  return {
    text(frames) {
      try {
        return writeText(nativeHub(), connection, frames);
      } catch (error) {
        throw fromNative(error);
      }
    },
    values(bytes, begin, end, shapesBegin, shapesEnd) {
      try {
        return nativeHub().writeValues(connection, bytes, begin, end, shapesBegin, shapesEnd);
      } catch (error) {
        throw fromNative(error);
      }
    },
  };
}
