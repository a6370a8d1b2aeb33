const V8_VERSION = Number.parseInt(process.versions.v8, 10);

/**
 * Whether `JSON.stringify` is as quick with anything but numbers as V8 made it in its version 14, which
 * Node.js has since its version 25.
 */
const IS_STRINGIFY_QUICK = V8_VERSION >= 14;

/** As much is saved with so many whole numbers then. */
const INTEGERS_PER_DOUBLE = 4;

/**
 * A message with so few strings, and no fewer numbers than these or flags, had better be noted even then: what a call of
 * `JSON.stringify` costs by itself is saved, and twice that where a string was put together just before, as
 * ids often are. V8 is quick only with strings that lie in one piece, which they do when they get older.
 */
const FEW_TEXTS = 4;

/** Whether it takes as long for strings as in the version 11 of V8, which Node.js had in its version 20. */
const ARE_STRINGS_SLOW = V8_VERSION < 12;

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

/** What a message consists of whose notes were taken. */
export interface Makeup {
  /** Strings, and keys that were noted with their object. */
  texts: number;
  /** Those of them that were not plain ASCII, and these keys. */
  slowTexts: number;
  integers: number;
  /** Numbers with a fraction. */
  doubles: number;
  /** `true`, `false` and `null`. */
  flags: number;
}

/** Notes were taken of a message. */
export function observe({ texts, slowTexts, integers, doubles, flags }: Makeup): void {
  const quicker = ARE_STRINGS_SLOW ? slowTexts : texts;
  const saved = doubles + integers / INTEGERS_PER_DOUBLE;
  const isMostlyNumbers =
    texts > 0 && texts <= FEW_TEXTS && integers + doubles >= Math.max(texts, flags);
  const isSuited = IS_STRINGIFY_QUICK
    ? isMostlyNumbers || (saved >= 32 && saved >= 8 * texts)
    : quicker <= 8 || 4 * doubles >= 3 * quicker;
  if (isSuited) {
    unsuited = 0;
  } else if (++unsuited >= UNSUITED) {
    unsuited = UNSUITED;
    unseen = UNSEEN;
  }
}
