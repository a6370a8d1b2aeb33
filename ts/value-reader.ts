import { Token } from './value-tokens.js';

// What the addon has made of received JSON, in the form of `src/values/mod.rs`. It has checked all of
// it, so that nothing is checked here.

/** An object is made by a function of its own after so many of its shape. */
const COMPILED_AFTER = 64;

/**
 * So many functions are made at most: shapes may come and go, functions take room for ever. With each
 * eighth of them an object has to be twice as frequent, so that there are some left for what comes late.
 */
const COMPILED_MAX = 1024;

/** Texts up to this length are looked for among those that were made before. */
const SHARED_LENGTH_MAX = 24;

/** Places for such texts, a power of two. */
const SHARED_COUNT = 2048;

/** A longer buffer is not kept for the next batch. */
const KEPT_BYTES_MAX = 1024 * 1024;

/** The keys of an object in their order. */
interface Shape {
  keys: string[];
  /** Objects that were made one property after the other. */
  count: number;
  make: (() => Record<string, unknown>) | undefined;
}

/** The shapes that one source of notes numbers. */
export class ShapeTable {
  /** @internal */
  shapes: Shape[] = [];

  /** Learns shapes, which are numbered on. */
  add(source: ArrayBuffer, begin: number, end: number): void {
    open(source, begin);
    while (at < end) {
      const keys: string[] = [];
      const count = readCount16();
      for (let index = 0; index < count; index++) {
        const length = bytes[at++] as number;
        // `"name":`
        keys.push(bytes.toString('utf8', at + 1, at + length - 2));
        at += length;
      }
      this.shapes.push({ keys, count: 0, make: undefined });
    }
  }

  /** They are numbered from 0 again. */
  clear(): void {
    this.shapes = [];
  }
}

let compiled = 0;
let compiledAfter = COMPILED_AFTER;

// What is being read. They are variables of the module, because V8 keeps those at hand.
let shapes: Shape[] = [];
const NOTHING = new ArrayBuffer(0);
let buffer = NOTHING;
let bytes: Buffer = Buffer.from(NOTHING);
let view = new DataView(NOTHING);
let at = 0;

const shared = new Array<string | undefined>(SHARED_COUNT).fill(undefined);

function open(source: ArrayBuffer, begin: number): void {
  if (source !== buffer) {
    buffer = source;
    bytes = Buffer.from(source);
    view = new DataView(source);
  }
  at = begin;
}

/** Lets go of the buffer that was read last. */
export function forgetBuffer(): void {
  open(NOTHING, 0);
}

/**
 * The next messages of a batch. A text that the addon has left to `JSON.parse` is passed to `parse`.
 */
export function readMessages(
  table: ShapeTable,
  source: ArrayBuffer,
  begin: number,
  count: number,
  parse: (json: string) => unknown,
): unknown[] {
  open(source, begin);
  shapes = table.shapes;
  const messages = new Array<unknown>(count);
  for (let index = 0; index < count; index++) {
    // Token.Message
    at++;
    if (bytes[at] === Token.Json) {
      at++;
      messages[index] = parse(readLong('utf8'));
    } else {
      messages[index] = read();
    }
  }
  if (source.byteLength > KEPT_BYTES_MAX) forgetBuffer();
  return messages;
}

/** A message by itself, see `Scanner::package` in the core. */
export function readPackage(table: ShapeTable, source: ArrayBuffer, begin = 0): unknown {
  open(source, begin);
  if (bytes[at++] === 1) table.clear();
  const length = readCount();
  const notes = at + length;
  table.add(source, at, notes);
  return readMessages(table, source, notes, 1, JSON.parse)[0];
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
      return shape.make === undefined ? readObject(shape) : shape.make();
    }
    case Token.Array: {
      const count = readCount();
      const values: unknown[] = [];
      for (let index = 0; index < count; index++) values.push(read());
      return values;
    }
    case Token.Null:
      return null;
    case Token.True:
      return true;
    case Token.False:
      return false;
    case Token.Ascii:
    case Token.Latin1:
      return readLong('latin1');
    case Token.Units: {
      const length = 2 * readCount();
      const begin = at;
      at += length;
      return bytes.toString('utf16le', begin, at);
    }
    default:
      // Token.Json
      return JSON.parse(readLong('utf8'));
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

function readLong(encoding: 'latin1' | 'utf8'): string {
  const length = readCount();
  const begin = at;
  at += length;
  return bytes.toString(encoding, begin, at);
}

function readText(): string {
  const length = bytes[at++] as number;
  const begin = at;
  at += length;
  if (length > SHARED_LENGTH_MAX) return bytes.toString('latin1', begin, at);
  let hash = length;
  for (let index = begin; index < at; index++)
    hash = Math.imul(hash, 31) + (bytes[index] as number);
  const place = (hash ^ (hash >>> 15)) & (SHARED_COUNT - 1);
  const text = shared[place];
  if (text !== undefined && text.length === length) {
    let index = 0;
    while (index < length && text.charCodeAt(index) === bytes[begin + index]) index++;
    if (index === length) return text;
  }
  const made = bytes.toString('latin1', begin, at);
  shared[place] = made;
  return made;
}

/** Makes a property as `JSON.parse` does, whatever the object inherits. */
function define(object: object, key: string, value: unknown): void {
  Object.defineProperty(object, key, {
    value,
    configurable: true,
    enumerable: true,
    writable: true,
  });
}

function set(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key in object) define(object, key, value);
  else object[key] = value;
}

function readObject(shape: Shape): Record<string, unknown> {
  if (++shape.count === compiledAfter) shape.make = compile(shape.keys);
  const object: Record<string, unknown> = {};
  for (const key of shape.keys) set(object, key, read());
  return object;
}

/**
 * A function with an object literal, which V8 makes several times as fast as one property after the
 * other. Nothing of the keys can be taken for code: they are written as JSON, and `__proto__` is
 * none of them. `undefined` where the process must not make code of texts.
 */
function compile(keys: string[]): (() => Record<string, unknown>) | undefined {
  if (compiled === COMPILED_MAX) return undefined;
  try {
    const properties = keys.map((key) => `${JSON.stringify(key)}:read()`);
    const make = new Function('read', `return () => ({${properties.join()}})`)(read);
    compiled++;
    if (compiled % (COMPILED_MAX / 8) === 0) compiledAfter *= 2;
    return make as () => Record<string, unknown>;
  } catch {
    compiled = COMPILED_MAX;
    return undefined;
  }
}
