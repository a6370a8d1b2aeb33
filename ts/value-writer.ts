import { types } from 'node:util';
import { internal } from './errors.js';
import type { TakeValues } from './native.js';
import { IS_PLAIN } from './plain-units.js';
import { observe } from './value-habit.js';
import {
  isLikely,
  LAYOUTS_MAX,
  type Layout,
  layoutDefinitionOf,
  learn,
  learnOthers,
  likelyLayout,
  missed,
  secondLayout,
  suited,
} from './value-layouts.js';
import {
  beginObject,
  childOf,
  definitionOf,
  hasKey,
  keyBytesOf,
  SHAPES_MAX,
} from './value-shapes.js';
import { Token } from './value-tokens.js';

// JSON values on their way to the addon, which prints them as `JSON.stringify` would: V8 takes as
// long for one number with a fraction as for a dozen properties, the addon does not. So here a value
// is only walked and its parts are noted, in the form of `src/values/mod.rs`.
//
// Whatever is not plainly walked is left to `JSON.stringify`, so that nothing here has to agree with
// V8 about the unusual.

/** Nested deeper than this, a value is left to `JSON.stringify`; so are circles. */
const DEPTH_MAX = 64;

/** A longer text is copied as it is in V8, which looks at many letters at a time. 251 is the most that a note has. */
const TEXT_LENGTH_MAX = 48;

/** The same of a text that has to be noted as UTF-16. */
const UNITS_LENGTH_MAX = 28;

/** A longer text is noted by itself, in UTF-16 units; see `Letters` in `src/values/mod.rs`. */
const LETTERS_LENGTH_MAX = 0xffff;

/**
 * Texts are noted together if they have so many letters more than `LETTERS_PER_TEXT` for each: letter by
 * letter it takes 3 ns for each and 12 for the text, together 45 for each text and 200 for all of them.
 */
const LETTERS_MIN = 64;
const LETTERS_PER_TEXT = 12;

/** After letters that are not ASCII, which have to be copied twice, so many messages are noted text by text. */
const APART_PAUSE = 31;

/** A message whose texts have more letters together is left to `JSON.stringify`, in UTF-16 units. */
const APART_LENGTH_MAX = 16 * 1024 * 1024;

/** UTF-8 has at most so many bytes for a unit. */
const UTF8_BYTES_PER_UNIT = 3;

/** Bytes that any token takes which has no length of its own in four bytes. */
const SHORT_TOKEN_BYTES_MAX = 64;

/** Bytes of a buffer at the beginning; it doubles as needed. */
const BUFFER_BYTES = 8 * 1024;

/** A buffer does not get longer. */
const BUFFER_BYTES_MAX = 2 ** 31;

/** Bytes of all buffers that are kept for the next messages. */
const KEPT_BYTES_MAX = 4 * 1024 * 1024;

/** No token becomes more than so many times its own bytes of JSON, keys apart. */
const JSON_BYTES_PER_BYTE = 6;

/** Thrown where a value is not plainly walked. */
const LEFT_TO_V8 = new Error('left to JSON.stringify');

/** The buffer in which a shape or a layout has a number, and that number. */
const holders = new Float64Array(SHAPES_MAX + LAYOUTS_MAX);
const places = new Uint16Array(SHAPES_MAX + LAYOUTS_MAX);

// The buffer that is being written. They are variables of the module and not fields, because V8
// reads those again after every store into a buffer.
const NOTHING: Buffer = Buffer.alloc(0);
const NOTHING_VIEW = viewOf(NOTHING);
let bytes = NOTHING;
let view = NOTHING_VIEW;
let at = 0;
/** It does not get longer than this. */
let bytesEnd = 0;
let holder = 0;
let shapes: number[] = [];
/** Bytes of the keys of this message in its JSON text. */
let keyBytes = 0;
/** About how many UTF-16 units the rest of its JSON text has, rather too many than too few. */
let valueLength = 0;
let depth = 0;
/** At which key the value is that is written, as the shape that ends with it; 0 is the message. */
let place = 0;
/** Strings, keys among them, and numbers that were noted of this message. */
let textCount = 0;
let integerCount = 0;
let doubleCount = 0;
/** `true`, `false` and `null`. */
let flagCount = 0;
/** Those of the strings that were noted in UTF-16, and keys of objects that no shape has. */
let slowTextCount = 0;
/** UTF-16 units of these strings. */
let textLength = 0;
/** Those that are noted together, when all are there. */
let isApart = false;
let letters = '';
/** `Object.prototype` has nothing that `for … in` finds. */
let areKeysOwn = true;
/** The id that the message is still to be given. */
let missingId: string | number | undefined;

/** Whether the texts of the message before were so long that they had better be noted together. */
let hadLetters = false;
/** How many messages are still noted text by text. */
let apartPause = 0;

/** Counts the buffers and their lives. */
let lives = 0;
/** Counts the writings, so that one knows whether another one came between. */
let opens = 0;

/** Buffers without a user. */
const kept: ValueBuffer[] = [];
let keptBytes = 0;

/** The JSON text of a message whose notes and keys have so many bytes is no longer than this. */
export function jsonBytesAtMost(notesBytes: number, keyBytes: number): number {
  return notesBytes * JSON_BYTES_PER_BYTE + keyBytes;
}

/** Messages that wait to be handed to the addon, one behind the other. */
export class ValueBuffer {
  #bytes: Buffer;
  #view: DataView;
  #length = 0;
  #keyBytes = 0;
  #jsonLength = 0;
  #holder = ++lives;
  #shapes: number[] = [];
  #users = 1;

  private constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  /** Bytes of the messages. */
  get length(): number {
    return this.#length;
  }

  /** Bytes that the keys of the message that was added last have in its JSON text. */
  get keyBytes(): number {
    return this.#keyBytes;
  }

  /** About how many UTF-16 units its JSON text has. */
  get jsonLength(): number {
    return this.#jsonLength;
  }

  /**
   * Adds a message. False if it is to be left to `JSON.stringify`, also because its JSON text may be
   * longer than `jsonBytesMax`. A marked one asks for an acknowledgement. One that has no id is given
   * `id` behind its other properties.
   */
  add(message: unknown, jsonBytesMax: number, isMarked = false, id?: string | number): boolean {
    if (typeof message !== 'object' || message === null) return false;
    const own = this.#open();
    missingId = id;
    const begin = at;
    bytesEnd = Math.min(
      BUFFER_BYTES_MAX,
      begin + jsonBytesMax / JSON_BYTES_PER_BYTE + SHORT_TOKEN_BYTES_MAX,
    );
    let isWhole = false;
    try {
      reserve(SHORT_TOKEN_BYTES_MAX);
      bytes[at++] = isMarked ? Token.Marked : Token.Message;
      if (mayBeApart()) writeApart(message);
      else writeValue(message);
      isWhole = missingId === undefined && jsonBytesAtMost(at - begin, keyBytes) <= jsonBytesMax;
      hadLetters = textLength > LETTERS_MIN + LETTERS_PER_TEXT * textCount;
      observe({
        texts: textCount,
        slowTexts: slowTextCount,
        integers: integerCount,
        doubles: doubleCount,
        flags: flagCount,
      });
    } catch {
      // Be it a getter that throws or too little memory: it happens to JSON.stringify again.
    }
    return this.#close(own, isWhole);
  }

  /** Adds a message by its JSON text. False if there is no room for it. */
  addJson(json: string): boolean {
    const own = this.#open();
    let isWhole = false;
    try {
      reserve(SHORT_TOKEN_BYTES_MAX);
      bytes[at++] = Token.Message;
      writeJson(json);
      isWhole = true;
    } catch {
      // More than a buffer holds, or than the process has left.
    }
    return this.#close(own, isWhole);
  }

  /** Hands messages to the addon: all of them, or those from `begin` to `end`. */
  handTo<Result>(take: TakeValues<Result>, begin = 0, end: number = this.#length): Result {
    // The next message takes the place of the shapes.
    this.#open();
    bytesEnd = Number.POSITIVE_INFINITY;
    for (const shape of shapes) {
      const definition = shape < SHAPES_MAX ? definitionOf(shape) : layoutDefinitionOf(shape);
      reserve(definition.length);
      bytes.set(definition, at);
      at += definition.length;
    }
    const shapesEnd = at;
    this.#bytes = bytes;
    this.#view = view;
    detach();
    return take(this.#bytes, begin, end, this.#length, shapesEnd);
  }

  /** One more user, who will {@link release} it. */
  share(): this {
    this.#assertUsed();
    this.#users++;
    return this;
  }

  /** A user needs nothing of it any more. When none is left, it serves other messages. */
  release(): void {
    this.#assertUsed();
    if (--this.#users > 0) return;
    opens++;
    this.#length = 0;
    this.#holder = ++lives;
    // To cut the old one takes a call of V8, and so does to add to it again.
    if (this.#shapes.length > 0) this.#shapes = [];
    if (keptBytes + this.#bytes.length > KEPT_BYTES_MAX) return;
    keptBytes += this.#bytes.length;
    kept.push(this);
  }

  /** What nobody uses may have other messages by now. */
  #assertUsed(): void {
    if (this.#users === 0) throw internal('A buffer is used that was given back');
  }

  /**
   * Gives the message that was added last, from `begin` on, a buffer of its own, with one user and at
   * the same place: so much memory does not stay for the sake of the short ones before it.
   */
  split(begin: number): ValueBuffer {
    const own = new ValueBuffer(this.#bytes);
    own.#length = this.#length;
    own.#keyBytes = this.#keyBytes;
    own.#jsonLength = this.#jsonLength;
    own.#shapes = [...this.#shapes];
    this.#bytes = Buffer.allocUnsafeSlow(Math.max(BUFFER_BYTES, begin));
    own.#bytes.copy(this.#bytes, 0, 0, begin);
    this.#view = viewOf(this.#bytes);
    this.#length = begin;
    return own;
  }

  /** An empty buffer with one user. */
  static take(): ValueBuffer {
    const buffer = kept.pop();
    if (buffer === undefined) return new ValueBuffer(Buffer.allocUnsafeSlow(BUFFER_BYTES));
    keptBytes -= buffer.#bytes.length;
    buffer.#users = 1;
    return buffer;
  }

  #open(): number {
    bytes = this.#bytes;
    view = this.#view;
    at = this.#length;
    holder = this.#holder;
    shapes = this.#shapes;
    bytesEnd = BUFFER_BYTES_MAX;
    keyBytes = 0;
    valueLength = 0;
    depth = 0;
    place = 0;
    textCount = 0;
    integerCount = 0;
    doubleCount = 0;
    flagCount = 0;
    slowTextCount = 0;
    textLength = 0;
    isApart = false;
    letters = '';
    areKeysOwn = true;
    for (const _ in Object.prototype) areKeysOwn = false;
    return ++opens;
  }

  #close(own: number, isWhole: boolean): boolean {
    // A getter of the message may have sent another one meanwhile.
    const isAdded = isWhole && own === opens;
    if (isAdded) {
      this.#bytes = bytes;
      this.#view = view;
      this.#length = at;
      this.#keyBytes = keyBytes;
      this.#jsonLength = keyBytes + valueLength;
    }
    detach();
    return isAdded;
  }
}

/** Whoever was interrupted goes on writing in vain. */
function detach(): void {
  bytes = NOTHING;
  view = NOTHING_VIEW;
  at = 0;
  holder = -1;
  shapes = [];
  letters = '';
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
}

/** Makes room for `more` bytes. */
function reserve(more: number): void {
  if (at + more <= bytes.length) return;
  if (at + more > bytesEnd) throw LEFT_TO_V8;
  grow(more);
}

function grow(more: number): void {
  const longer = Buffer.allocUnsafeSlow(Math.max(2 * bytes.length, at + more));
  bytes.copy(longer, 0, 0, at);
  bytes = longer;
  view = viewOf(longer);
}

/** Whether the texts of the next message are to be noted together. */
function mayBeApart(): boolean {
  if (apartPause === 0) return hadLetters;
  apartPause--;
  return false;
}

/**
 * Notes a message with the letters of its texts behind it: V8 joins strings without a look at them, and
 * copies all of them at once.
 */
function writeApart(message: object): void {
  const begin = at;
  at += 5;
  isApart = true;
  writeValue(message);
  isApart = false;
  view.setUint32(begin + 1, at - begin - 5, true);
  const { length } = letters;
  checkLetters();
  if (at + UTF8_BYTES_PER_UNIT * length > bytes.length) grow(UTF8_BYTES_PER_UNIT * length);
  const count = bytes.write(letters, at);
  if (count === length) {
    bytes[begin] = Token.Apart;
    at += count;
  } else {
    bytes[begin] = Token.ApartUnits;
    at += bytes.write(letters, at, 'utf16le');
    apartPause = APART_PAUSE;
    slowTextCount = textCount;
  }
}

/** They will be bytes of the message too, and a third of the room that is made for them. */
function checkLetters(): void {
  const { length } = letters;
  if (length > APART_LENGTH_MAX || at + length > bytesEnd) throw LEFT_TO_V8;
}

/** What is added to `valueLength` is the usual length of such a value with its comma. */
function writeValue(value: unknown): void {
  if (at + SHORT_TOKEN_BYTES_MAX > bytes.length) reserve(SHORT_TOKEN_BYTES_MAX);
  if (typeof value === 'number') {
    const integer = value | 0;
    if (integer === value) {
      bytes[at] = Token.Integer;
      view.setInt32(at + 1, integer, true);
      at += 5;
      integerCount++;
      valueLength += 8;
    } else {
      bytes[at] = Token.Double;
      view.setFloat64(at + 1, value, true);
      at += 9;
      doubleCount++;
      valueLength += 16;
    }
  } else if (typeof value === 'string') {
    writeText(value);
  } else if (value === null) {
    writeWord(Token.Null);
  } else if (typeof value === 'object') {
    writeObject(value);
  } else if (value === true) {
    writeWord(Token.True);
  } else if (value === false) {
    writeWord(Token.False);
  } else if (typeof value === 'bigint') {
    throw LEFT_TO_V8;
  } else {
    // In an array, what JSON has no form for is null; in an object it was left out.
    writeWord(Token.Null);
  }
}

function writeWord(token: Token): void {
  bytes[at++] = token;
  flagCount++;
  valueLength += 6;
}

function writeText(value: string): void {
  const { length } = value;
  valueLength += length + 3;
  textCount++;
  textLength += length;
  if (isApart && length <= LETTERS_LENGTH_MAX) {
    bytes[at] = Token.Letters;
    bytes[at + 1] = length;
    bytes[at + 2] = length >> 8;
    at += 3;
    // Overwritten by what follows. V8 makes one string of a joined one where its letters are asked for,
    // and else would join it again each time that it is sent.
    bytes[at] = value.charCodeAt(0);
    letters += value;
    checkLetters();
    return;
  }
  if (length > TEXT_LENGTH_MAX) {
    writeUnits(value);
    return;
  }
  const begin = at + 2;
  for (let index = 0; index < length; index++) {
    const unit = value.charCodeAt(index);
    if (IS_PLAIN[unit] !== 1) {
      writeUnits(value);
      return;
    }
    bytes[begin + index] = unit;
  }
  bytes[at] = Token.Text;
  bytes[at + 1] = length;
  at = begin + length;
}

function writeUnits(value: string): void {
  const { length } = value;
  slowTextCount++;
  const begin = at + 5;
  reserve(5 + 2 * length);
  if (length > UNITS_LENGTH_MAX) {
    bytes.write(value, begin, 'utf16le');
  } else {
    for (let index = 0; index < length; index++) {
      view.setUint16(begin + 2 * index, value.charCodeAt(index), true);
    }
  }
  bytes[at] = Token.Units;
  view.setUint32(at + 1, length, true);
  at = begin + 2 * length;
}

function writeJson(json: string): void {
  reserve(5 + 3 * json.length);
  const count = bytes.write(json, at + 5);
  bytes[at] = Token.Json;
  view.setUint32(at + 1, count, true);
  at += 5 + count;
}

function writeObject(object: object): void {
  if (++depth > DEPTH_MAX) throw LEFT_TO_V8;
  if (Array.isArray(object)) writeArray(object);
  else writeOther(object);
  depth--;
}

/** Apart from other objects, because V8 is quicker where it sees few kinds of them. */
function writeArray(array: unknown[] & { toJSON?: unknown }): void {
  if (array.toJSON !== undefined) throw LEFT_TO_V8;
  const { length } = array;
  // That of a proxy may be anything.
  if (length >>> 0 !== length) throw LEFT_TO_V8;
  bytes[at] = Token.Array;
  view.setUint32(at + 1, length, true);
  at += 5;
  const own = place;
  for (let index = 0; index < length; index++) {
    const value: unknown = array[index];
    if (typeof value === 'function') checkIsLeftOut(value);
    place = own;
    writeValue(value);
  }
}

function writeOther(object: object): void {
  // An inherited one counts too.
  const { toJSON } = object as { toJSON?: unknown };
  if (toJSON !== undefined) {
    writeDate(object, toJSON);
  } else if (Object.getPrototypeOf(object) === Object.prototype) {
    // A boxed primitive that was given this prototype is taken for a plain object.
    writeProperties(object as Record<string, unknown>, areKeysOwn);
  } else {
    if (isSpecial(object)) throw LEFT_TO_V8;
    writeProperties(object as Record<string, unknown>, false);
  }
}

const { toJSON: dateToJSON, toISOString: dateToISOString } = Date.prototype;

/** A date as long as that means what it always does. Any other `toJSON` must not run twice. */
function writeDate(date: object, toJSON: unknown): void {
  if (toJSON !== dateToJSON || !types.isDate(date) || date.toISOString !== dateToISOString) {
    throw LEFT_TO_V8;
  }
  writeValue(dateToJSON.call(date));
}

/** What JSON has no form for is left out, or null in an array, unless it says otherwise itself. */
function checkIsLeftOut(value: object): void {
  if ((value as { toJSON?: unknown }).toJSON !== undefined) throw LEFT_TO_V8;
}

/** `isPlain`: `for … in` finds no other keys than its own. */
function writeProperties(object: Record<string, unknown>, isPlain: boolean): void {
  if (isPlain && isLikely(place) && (missingId === undefined || depth > 1)) {
    const likely = likelyLayout(place);
    if (likely !== undefined && writeByLayout(object, likely)) return;
    const second = secondLayout(place);
    if (second !== undefined && writeByLayout(object, second)) return;
    missed(place);
  }
  writeEach(object, isPlain);
}

/** Notes an object property by property. Returns its shape, or 0 if it has keys beyond that. */
function writeEach(object: Record<string, unknown>, isPlain: boolean): number {
  const own = place;
  const begin = at;
  at += 3;
  beginObject();
  let shape = 0;
  // A property that no shape has is noted with its key, and so are those behind it.
  let countPlace = 0;
  let count = 0;
  for (const key in object) {
    if (!isPlain && !Object.hasOwn(object, key)) continue;
    const value = object[key];
    if (value === undefined || typeof value === 'symbol') continue;
    if (typeof value === 'function') {
      checkIsLeftOut(value);
      continue;
    }
    if (countPlace === 0) {
      const child = childOf(shape, key);
      if (child !== 0) {
        shape = child;
        place = child;
        writeValue(value);
        continue;
      }
      reserve(SHORT_TOKEN_BYTES_MAX);
      countPlace = at;
      at += 4;
    }
    count++;
    reserve(SHORT_TOKEN_BYTES_MAX);
    slowTextCount++;
    writeText(key);
    writeValueAt(value, shape);
  }
  if (missingId !== undefined && depth === 1) {
    // A getter may have made up for it.
    const child = countPlace === 0 && !hasKey(shape, 'id') ? childOf(shape, 'id') : 0;
    if (child === 0) throw LEFT_TO_V8;
    shape = child;
    writeValue(missingId);
    missingId = undefined;
  } else if (isPlain && countPlace === 0) {
    learn(own, shape, object, WRITER);
  }
  keyBytes += keyBytesOf[shape] as number;
  const number = numberOf(shape);
  bytes[begin] = countPlace === 0 ? Token.Object : Token.Extended;
  bytes[begin + 1] = number;
  bytes[begin + 2] = number >> 8;
  if (countPlace === 0) return shape;
  view.setUint32(countPlace, count, true);
  return 0;
}

/** Notes an object with the keys of a layout. False if it has others: then nothing has happened. */
function writeByLayout(object: object, layout: Layout): boolean {
  const own = place;
  const { fixedBytes } = layout;
  reserve(fixedBytes + SHORT_TOKEN_BYTES_MAX);
  const begin = at;
  at += 3 + fixedBytes;
  const written = layout.write(object, begin + 3);
  if (written !== true) {
    at = begin;
    if (written === false) return false;
    const read: Record<string, unknown> & { __proto__: null } = { __proto__: null };
    for (const [index, key] of layout.keys.entries()) read[key] = written[index];
    learnOthers(own, layout, writeEach(read, true), written);
    return true;
  }
  suited(own, layout);
  keyBytes += keyBytesOf[layout.shape] as number;
  valueLength += layout.jsonLength;
  integerCount += layout.integers;
  doubleCount += layout.doubles;
  flagCount += layout.flags;
  const number = numberOf(layout.id);
  bytes[begin] = Token.Object;
  bytes[begin + 1] = number;
  bytes[begin + 2] = number >> 8;
  return true;
}

/** Notes a value at a key. */
function writeValueAt(value: unknown, shape: number): void {
  place = shape;
  writeValue(value);
}

const WRITER = { write: writeValueAt, view: () => view };

/** The number of a shape, or of a layout by its id, in the buffer. */
function numberOf(id: number): number {
  if (holders[id] !== holder) {
    if (shapes.length === SHAPES_MAX) throw LEFT_TO_V8;
    holders[id] = holder;
    places[id] = shapes.push(id) - 1;
  }
  return places[id] as number;
}

/** Whether `JSON.stringify` makes something else of it than its properties, or it has very many. */
function isSpecial(object: object): boolean {
  const { isRawJSON } = JSON as { isRawJSON?: (value: unknown) => boolean };
  return (
    types.isBoxedPrimitive(object) || ArrayBuffer.isView(object) || isRawJSON?.(object) === true
  );
}
