import type { NativeHub } from './native.js';

/** Of a shorter text, a call of V8 takes longer than it saves, in UTF-16 units. */
const LENGTH_MIN = 256;

/** A longer text is handed over as it is, in UTF-16 units. */
const LENGTH_MAX = 64 * 1024;

/** UTF-8 has at most so many bytes for a unit. */
const BYTES_PER_UNIT = 3;

/** Used again for every text: the addon has read it when its call returns. */
let room: Buffer | undefined;

/**
 * Sends frames as {@link NativeHub.write} does. V8 makes UTF-8 of what is not ASCII in half the time that
 * the addon takes, but quickly only in a buffer of JavaScript.
 */
export function writeText(hub: NativeHub, connection: number, frames: string): number {
  if (frames.length < LENGTH_MIN || frames.length > LENGTH_MAX) {
    return hub.write(connection, frames);
  }
  // Not of the pool that Node shares: it is kept.
  room ??= Buffer.from(new ArrayBuffer(LENGTH_MAX * BYTES_PER_UNIT));
  return hub.writeBytes(connection, room, room.write(frames));
}

/** Lets go of the buffer. */
export function forgetRoom(): void {
  room = undefined;
}
