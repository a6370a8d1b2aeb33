import { IS_PLAIN } from './plain-units.js';
import { Kind } from './value-tokens.js';

// The keys of the objects that the writer walks. A shape is the keys of one in their order. Shapes form a
// tree: each has the keys of its parent and one more. 0 has none.

/** Shapes that are known; further keys of objects are noted each time. */
export const SHAPES_MAX = 16 * 1024;

/** Keys of one shape at most; further ones of an object are noted each time. */
const SHAPE_KEYS_MAX = 256;

/** A longer key is noted each time, as one that JSON has to escape, and so are those behind it. */
const KEY_LENGTH_MAX = 100;

/** So many shapes are learnt when they come for the first time. */
const NEW_SHAPES = 1024;

/**
 * A further one has to come again, and so many objects for each of them. Where keys are data, such as
 * in maps by an id, new shapes are of no use, and each costs many times what it would save.
 */
const OBJECTS_PER_NEW_SHAPE = 16;

/** Keys that are remembered because they may come again, a power of two. */
const MISSED_KEYS = 256;

/** Bytes of all definitions of shapes that are kept; beyond them they are made anew. */
const DEFINITION_BYTES_MAX = 1024 * 1024;

/** The last key. */
const lastKeys: string[] = [''];
const parents = new Uint16Array(SHAPES_MAX);
/** The child that was taken last: mostly it is taken again. */
const likelyChildren = new Uint16Array(SHAPES_MAX);
/** The one before: the first keys of a message and of the object in it take turns. */
const secondChildren = new Uint16Array(SHAPES_MAX);
/** The children of each shape that has some. */
const children = new Map<number, Map<string, number>>();
const keyCounts = new Uint16Array(SHAPES_MAX);
/** Bytes of all keys in a JSON text. */
export const keyBytesOf = new Uint32Array(SHAPES_MAX);
/** How many objects have come that no new shape has been taken for. */
let credit = 0;
/** Keys that no shape had when they came, and behind which. */
const missedKeys = new Array<string>(MISSED_KEYS).fill('');
const missedBehind = new Uint16Array(MISSED_KEYS);
/** What the addon is told of each. */
let definitions: (Buffer | undefined)[] = [];
let definitionBytes = 0;

/** An object begins. */
export function beginObject(): void {
  credit++;
}

/** The shape with one key more; 0 if there is to be none. */
export function childOf(shape: number, key: string): number {
  const likely = likelyChildren[shape] as number;
  if (likely !== 0 && lastKeys[likely] === key) return likely;
  const second = secondChildren[shape] as number;
  const child = second !== 0 && lastKeys[second] === key ? second : lookUpChild(shape, key);
  if (child === 0) return 0;
  secondChildren[shape] = likely;
  likelyChildren[shape] = child;
  return child;
}

/** Whether it has this key. */
export function hasKey(shape: number, key: string): boolean {
  for (let each = shape; each !== 0; each = parents[each] as number) {
    if (lastKeys[each] === key) return true;
  }
  return false;
}

function lookUpChild(shape: number, key: string): number {
  const siblings = children.get(shape);
  const known = siblings?.get(key);
  if (known !== undefined) return known;
  const count = (keyCounts[shape] as number) + 1;
  if (count > SHAPE_KEYS_MAX || lastKeys.length === SHAPES_MAX) return 0;
  if (!isPlainKey(key)) return 0;
  if (lastKeys.length > NEW_SHAPES) {
    if (credit < OBJECTS_PER_NEW_SHAPE || !comesAgain(shape, key)) return 0;
    credit -= OBJECTS_PER_NEW_SHAPE;
  }
  const child = lastKeys.push(key) - 1;
  parents[child] = shape;
  keyCounts[child] = count;
  keyBytesOf[child] = (keyBytesOf[shape] as number) + key.length + '"":,'.length;
  if (siblings === undefined) children.set(shape, new Map([[key, child]]));
  else siblings.set(key, child);
  return child;
}

/** Whether the key was missed behind this shape before, not long ago. */
function comesAgain(shape: number, key: string): boolean {
  const last = key.length - 1;
  const mixed = 31 * shape + 17 * key.length + 7 * key.charCodeAt(last) + key.charCodeAt(last >> 1);
  const place = mixed & (MISSED_KEYS - 1);
  if (missedKeys[place] === key && missedBehind[place] === shape) return true;
  missedKeys[place] = key;
  missedBehind[place] = shape;
  return false;
}

function isPlainKey(key: string): boolean {
  if (key.length > KEY_LENGTH_MAX) return false;
  for (let index = 0; index < key.length; index++) {
    if (IS_PLAIN[key.charCodeAt(index)] !== 1) return false;
  }
  return true;
}

/** What the addon is told of a shape whose values have no kinds. */
export function definitionOf(shape: number): Buffer {
  return definitions[shape] ?? remember(shape);
}

function remember(shape: number): Buffer {
  const definition = define(shape, () => Kind.Any);
  definitionBytes += definition.length;
  if (definitionBytes > DEFINITION_BYTES_MAX) {
    definitions = [];
    definitionBytes = definition.length;
  }
  definitions[shape] = definition;
  return definition;
}

/** How many keys there are, and of each its kind, its length and itself as it stands in a JSON text. */
export function define(shape: number, kindOf: (index: number) => Kind): Buffer {
  const path = pathOf(shape);
  const definition = Buffer.alloc(2 + (keyBytesOf[shape] as number) + path.length);
  let end = definition.writeUInt16LE(path.length);
  for (const [index, each] of path.entries()) {
    const key = `"${lastKeys[each]}":`;
    end = definition.writeUInt8(kindOf(index), end);
    end = definition.writeUInt8(key.length, end);
    end += definition.write(key, end, 'latin1');
  }
  return definition;
}

/** The shapes with one key, with two and so on up to this one. */
export function pathOf(shape: number): number[] {
  const path: number[] = [];
  for (let each = shape; each !== 0; each = parents[each] as number) path.push(each);
  return path.reverse();
}

/** The key that it has more than its parent. */
export function lastKeyOf(shape: number): string {
  return lastKeys[shape] as string;
}
