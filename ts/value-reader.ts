import { internal } from './errors.js';
import { FIXED_BYTES, Kind, Token } from './value-tokens.js';

// What the addon has made of received JSON, in the form of `src/values/mod.rs`. It has checked all of
// it, so that nothing is checked here.

/** An object is made by a function of its own after so many of its shape. */
const COMPILED_AFTER = 64;

/**
 * So many functions are made at most: shapes may come and go, functions take room for ever. With each
 * eighth of them an object has to be twice as frequent, so that there are some left for what comes late.
 */
const COMPILED_MAX = 1024;

/** So many bytes at a time become a string, which short texts are cut out of. */
const SHEET_BYTES = 4 * 1024;

/** In the place of the length of a text: what follows instead, or nothing if it is listed. */
const WORD_FOLLOWS = 0xff;
const IS_LISTED = 0xfe;
const ASCII_FOLLOWS = 0xfd;
const LONG_FOLLOWS = 0xfc;

/** In the place of a number of keys: a word follows, and they are numbered from 0 again. */
const WORD = 0xffff;
const NO_WORDS = 0xfffe;

/** A longer buffer is not kept for the next batch. */
const KEPT_BYTES_MAX = 1024 * 1024;

/** What `toString` calls in the end. It is not documented, so that it is not relied upon. */
const {
  latin1Slice = function (this: Buffer, begin: number, end: number) {
    return this.toString('latin1', begin, end);
  },
} = Buffer.prototype as { latin1Slice?: (this: Buffer, begin: number, end: number) => string };

/** The keys of an object in their order, and what kinds of values they have. */
interface Shape {
  keys: string[];
  kinds: Kind[];
  /** Length of the values that have a fixed one. */
  fixedBytes: number;
  /** Objects that were made one property after the other. */
  count: number;
  make: Maker | undefined;
}

/** Makes an object whose values of fixed length begin at a place of the buffer. */
type Maker = (view: DataView, place: number) => Record<string, unknown>;

/** By kind the code that reads a value, if it is fixed at this place. */
const READ: Record<Kind, (offset: number) => string> = {
  [Kind.Any]: () => 'read()',
  [Kind.Text]: () => 'readText()',
  [Kind.Integer]: (offset) => `view.getInt32(place+${offset},true)`,
  [Kind.Double]: (offset) => `view.getFloat64(place+${offset},true)`,
  [Kind.Flag]: (offset) => `view.getUint8(place+${offset})===1`,
};

/** The shapes, and the texts that come again and again, that one source of notes numbers. */
export class ShapeTable {
  /** @internal */
  shapes: Shape[] = [];
  /** @internal */
  words: string[] = [];
  /** Whether a package was not read to its end: what its source takes for known may not be. @internal */
  isTorn = false;

  /** Before the next package is asked for. */
  mend(source: { forgetShapes(): void }): void {
    if (this.isTorn) source.forgetShapes();
  }

  /** How many there are, the words in the upper half. @internal */
  get known(): number {
    return this.shapes.length + this.words.length * 0x10000;
  }

  /** Learns what is new, which is numbered on. */
  add(source: ArrayBuffer, begin: number, end: number): void {
    open(source, begin, end);
    while (at < end) {
      const keys: string[] = [];
      const kinds: Kind[] = [];
      let fixedBytes = 0;
      const count = readCount16();
      if (count === WORD) {
        this.words.push(defineWord());
        continue;
      }
      if (count === NO_WORDS) {
        this.words = [];
        continue;
      }
      for (let index = 0; index < count; index++) {
        const kind = bytes[at++] as Kind;
        kinds.push(kind);
        fixedBytes += FIXED_BYTES[kind];
        const length = bytes[at++] as number;
        // `"name":`
        keys.push(bytes.toString('utf8', at + 1, at + length - 2));
        at += length;
      }
      this.shapes.push({ keys, kinds, fixedBytes, count: 0, make: undefined });
    }
  }

  /** They are numbered from 0 again. */
  clear(): void {
    this.shapes = [];
    this.words = [];
  }
}

let compiled = 0;
let compiledAfter = COMPILED_AFTER;

// What is being read. They are variables of the module, because V8 keeps those at hand.
let shapes: Shape[] = [];
let words: string[] = [];
const NOTHING = new ArrayBuffer(0);
let buffer = NOTHING;
let bytes: Buffer = Buffer.from(NOTHING);
let view = new DataView(NOTHING);
let at = 0;
let notesEnd = 0;

/** The texts that stand behind the notes, and which of them is the next one. */
let listed: readonly string[] = [];
let nextListed = 0;

/** Some of the bytes as a string, letter by byte, and where they are. */
let sheet = '';
let sheetBegin = 0;
let sheetEnd = 0;

function open(source: ArrayBuffer, begin: number, end: number): void {
  if (source !== buffer) {
    // Both at once: for want of stack, there may be an error in the middle.
    const nextBytes = Buffer.from(source);
    const nextView = new DataView(source);
    bytes = nextBytes;
    view = nextView;
    buffer = source;
  }
  at = begin;
  notesEnd = end;
  // The same buffer has other bytes by now.
  sheetEnd = 0;
}

/** Lets go of the buffer that was read last. */
export function forgetBuffer(): void {
  open(NOTHING, 0, 0);
}

/**
 * The next messages of a batch. A text that the addon has left to `JSON.parse` is passed to `parse`.
 */
export function readMessages(
  table: ShapeTable,
  source: ArrayBuffer,
  begin: number,
  end: number,
  count: number,
  parse: (json: string) => unknown,
): unknown[] {
  open(source, begin, end);
  shapes = table.shapes;
  words = table.words;
  readTexts();
  const messages = new Array<unknown>(count);
  for (let index = 0; index < count; index++) {
    // Token.Message
    at++;
    if (bytes[at] === Token.Json) {
      at++;
      messages[index] = parse(readJson());
    } else {
      messages[index] = read();
    }
  }
  sheet = '';
  sheetEnd = 0;
  listed = [];
  if (source.byteLength > KEPT_BYTES_MAX) forgetBuffer();
  return messages;
}

/**
 * The texts that V8 is to make. It makes them several times as fast from one JSON text than by a call
 * for each.
 */
function readTexts(): void {
  // Token.Texts
  at++;
  const notesLength = readCount();
  const textsLength = readCount();
  notesEnd = at + notesLength;
  nextListed = 0;
  if (textsLength > 0) {
    listed = JSON.parse(bytes.toString('utf8', notesEnd, notesEnd + textsLength));
  }
}

/** A message by itself, see `Package` in the core. */
export function readPackage(
  table: ShapeTable,
  source: ArrayBuffer,
  begin = 0,
  end = source.byteLength,
): unknown {
  // Whatever fails, be it for want of stack: see `ShapeTable.mend`.
  table.isTorn = true;
  open(source, begin, end);
  const known = readCount();
  if (known === 0) table.clear();
  else if (known !== table.known) throw internal('A package was lost before this one');
  const length = readCount();
  const notes = at + length;
  table.add(source, at, notes);
  const message = readMessages(table, source, notes, end, 1, JSON.parse)[0];
  table.isTorn = false;
  return message;
}

function read(): unknown {
  switch (bytes[at++]) {
    case Token.Integer: {
      const value = view.getInt32(at, true);
      at += 4;
      return value;
    }
    case Token.Double: {
      const value = view.getFloat64(at, true);
      at += 8;
      return value;
    }
    case Token.Text:
      return readText();
    case Token.Object: {
      const shape = shapes[readCount16()] as Shape;
      const place = at;
      at += shape.fixedBytes;
      return shape.make === undefined ? readObject(shape, place) : shape.make(view, place);
    }
    case Token.Extended:
      return readExtended(shapes[readCount16()] as Shape);
    case Token.Array:
      return readArray(readCount());
    case Token.Words:
      return readWords(readCount());
    case Token.Null:
      return null;
    case Token.True:
      return true;
    case Token.False:
      return false;
    default:
      // Token.Json
      return JSON.parse(readJson());
  }
}

function readCount16(): number {
  const count = view.getUint16(at, true);
  at += 2;
  return count;
}

function readCount(): number {
  const count = view.getUint32(at, true);
  at += 4;
  return count;
}

function readJson(): string {
  const length = readCount();
  const begin = at;
  at += length;
  return bytes.toString('utf8', begin, at);
}

/** The first values need no room for more behind them, as `push` would make it. */
function readArray(count: number): unknown[] {
  switch (count) {
    case 0:
      return [];
    case 1:
      return [read()];
    case 2:
      return [read(), read()];
    case 3:
      return [read(), read(), read()];
  }
  const values = [read(), read(), read(), read()];
  for (let index = values.length; index < count; index++) values.push(read());
  return values;
}

function readText(): string {
  const length = bytes[at++] as number;
  if (length < LONG_FOLLOWS) {
    const begin = at;
    at += length;
    return cut(begin, at);
  }
  if (length === WORD_FOLLOWS) return readWord();
  if (length === IS_LISTED) return listed[nextListed++] as string;
  const longLength = readCount();
  const begin = at;
  at += longLength;
  return length === ASCII_FOLLOWS
    ? latin1Slice.call(bytes, begin, at)
    : bytes.toString('utf8', begin, at);
}

function readWord(): string {
  return words[readCount16()] as string;
}

/** At least one. */
function readWords(count: number): string[] {
  const values = [readWord()];
  for (let left = count - 1; left > 0; left--) values.push(readWord());
  return values;
}

/** A text that will come again, as `JSON.parse` has it: V8 compares such a short one by its address. */
function defineWord(): string {
  const length = bytes[at++] as number;
  const begin = at;
  at += length;
  return JSON.parse(bytes.toString('utf8', begin, at));
}

/**
 * A short text. It costs a call of V8 to make one of bytes, and a few nanoseconds of a string: up to 12
 * letters a substring is a copy (V8, `SlicedString::kMinLength`), so that it does not keep the other alive.
 */
function cut(begin: number, end: number): string {
  if (end > sheetEnd) {
    sheetBegin = begin;
    sheetEnd = Math.max(end, Math.min(begin + SHEET_BYTES, notesEnd));
    sheet = latin1Slice.call(bytes, sheetBegin, sheetEnd);
  }
  return sheet.substring(begin - sheetBegin, end - sheetBegin);
}

/** Makes a property as `JSON.parse` does, whatever the object inherits. */
function define(object: object, key: string, value: unknown): void {
  Object.defineProperty(object, key, {
    // Or what `Object.prototype` has under these names would count.
    __proto__: null,
    value,
    configurable: true,
    enumerable: true,
    writable: true,
  } as PropertyDescriptor);
}

function set(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key in object) define(object, key, value);
  else object[key] = value;
}

/** `place` is where its values of fixed length begin. */
function readObject(shape: Shape, place: number): Record<string, unknown> {
  if (++shape.count === compiledAfter) shape.make = compile(shape);
  const object: Record<string, unknown> = {};
  let next = place;
  for (const [index, key] of shape.keys.entries()) {
    const kind = shape.kinds[index] as Kind;
    set(object, key, readOf(kind, next));
    next += FIXED_BYTES[kind];
  }
  return object;
}

/** A value, which is at `place` if its length is fixed. */
function readOf(kind: Kind, place: number): unknown {
  switch (kind) {
    case Kind.Any:
      return read();
    case Kind.Text:
      return readText();
    case Kind.Integer:
      return view.getInt32(place, true);
    case Kind.Double:
      return view.getFloat64(place, true);
    case Kind.Flag:
      return bytes[place] === 1;
  }
}

/**
 * An object with keys that may never come again. V8 keeps one without a prototype as a table from the
 * beginning. Any other it gives a kind of its own for each new key, which takes several times as long.
 */
function readExtended(shape: Shape): object {
  const object: Record<string, unknown> & { __proto__: null } = { __proto__: null };
  for (const key of shape.keys) object[key] = read();
  for (let left = readCount(); left > 0; left--) object[read() as string] = read();
  return Object.setPrototypeOf(object, Object.prototype);
}

/**
 * A function with an object literal, which V8 makes several times as fast as one property after the
 * other. Nothing of the keys can be taken for code: they are written as JSON, and `__proto__` is
 * none of them. `undefined` where the process must not make code of texts.
 */
function compile({ keys, kinds }: Shape): Maker | undefined {
  if (compiled === COMPILED_MAX) return undefined;
  try {
    let offset = 0;
    const properties = keys.map((key, index) => {
      const kind = kinds[index] as Kind;
      const value = READ[kind](offset);
      offset += FIXED_BYTES[kind];
      return `${JSON.stringify(key)}:${value}`;
    });
    const code = `return (view, place) => ({${properties.join()}})`;
    const make = new Function('read', 'readText', code)(read, readText);
    compiled++;
    if (compiled % (COMPILED_MAX / 8) === 0) compiledAfter *= 2;
    return make as Maker;
  } catch {
    compiled = COMPILED_MAX;
    return undefined;
  }
}
