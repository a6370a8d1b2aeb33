/**
 * Whether `JSON.stringify` is as quick with anything but numbers as V8 made it in its version 14, which
 * Node.js has since its version 25.
 */
const IS_STRINGIFY_QUICK = Number.parseInt(process.versions.v8, 10) >= 14;

// The same numbers, for the way in, are in `Habit` of `src/values/mod.rs`.
/** So many messages in a row that were better left to `JSON.stringify`: then the next ones are. */
const UNSUITED = 4;

/** As many as these, before one is looked at again. */
const UNSEEN = 31;

let unsuited = 0;
let unseen = 0;

/**
 * Chooses for the next message, once: whether notes are to be taken of it, or `JSON.stringify` is
 * quicker with it.
 */
export function chooseNotes(): boolean {
  if (unseen === 0) return true;
  unseen--;
  return false;
}

/** Notes were taken of a message with so many strings and numbers with a fraction. */
export function observe(texts: number, doubles: number): void {
  const isSuited = IS_STRINGIFY_QUICK
    ? doubles >= 32 && doubles >= 8 * texts
    : texts <= 8 || 4 * doubles >= 3 * texts;
  if (isSuited) {
    unsuited = 0;
  } else if (++unsuited >= UNSUITED) {
    unsuited = UNSUITED;
    unseen = UNSEEN;
  }
}
