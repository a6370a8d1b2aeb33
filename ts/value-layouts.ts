import { define, lastKeyOf, pathOf, SHAPES_MAX } from './value-shapes.js';
import { FIXED_BYTES, Kind } from './value-tokens.js';

// What kinds of values the objects of a shape have, and functions that note objects whose values are of these
// kinds: several times as fast as property by property.

/** So many objects of a shape show what kinds its values have. */
const OBJECTS_PER_LAYOUT = 32;

/** So many functions are made at most, for so many keys together: they take room for ever. */
export const LAYOUTS_MAX = 1024;
const KEYS_TOTAL_MAX = 16 * 1024;

/** Of one shape, whose values are of ever other kinds. */
const LAYOUTS_PER_SHAPE = 8;

/** Objects with more keys have none. */
const KEYS_MAX = 128;

/** About how many UTF-16 units a value has in a JSON text, with its comma. */
const JSON_LENGTH: Record<number, number> = {
  [Kind.Integer]: 8,
  [Kind.Double]: 16,
  [Kind.Flag]: 6,
};

/**
 * Whether objects that are made in the same way share a hidden class. Before version 12 of V8, which Node.js
 * has since its version 22, one that gets a property behind copied ones, as by `{ ...message, seq }`, has
 * one of its own: to read a property of it by its name takes 200 ns then. All values at once are read in ten
 * for each, which pays only where half of them have kinds.
 */
const ARE_CLASSES_SHARED = Number.parseInt(process.versions.v8, 10) >= 12;

const { values: valuesOf } = Object;

/** What the functions need of the writer. */
export interface Writer {
  /** Notes a value of no kind, which is at the last key of a shape. */
  write(value: unknown, shape: number): void;
  /**
   * The view of the buffer that is being written. It is asked for when all values were read: a getter may
   * have sent a message meanwhile, and then this one is written in vain.
   */
  view(): DataView;
}

/**
 * What became of an object. `false`: it has other keys, and none of its values was read. The values:
 * one is of another kind, and none was noted. They are not to be read again, for there may be getters.
 */
export type Written = boolean | unknown[];

/** How objects of a shape are noted whose values are of certain kinds. */
export interface Layout {
  readonly shape: number;
  /** Counted on from the shapes. */
  readonly id: number;
  /** How much better it was than none. */
  balance: number;
  /** Length of the values that have a fixed one. */
  readonly fixedBytes: number;
  /** How long they are in a JSON text, about. */
  readonly jsonLength: number;
  /** How many of them are whole numbers, numbers with a fraction, and flags. */
  readonly integers: number;
  readonly doubles: number;
  readonly flags: number;
  readonly keys: readonly string[];
  /** Notes the values of an object, those of fixed length from `begin` on. */
  readonly write: (object: object, begin: number) => Written;
}

/** By shape. */
const layouts: (Layout | undefined)[] = [];
/** By shape the kinds of its values so far, of how many objects, and how many layouts it has had. */
const learnt: ({ kinds: Kind[]; objects: number; layouts: number } | undefined)[] = [];
/** By shape what is known of its layout. */
const states = new Uint8Array(SHAPES_MAX);

enum State {
  /** Its objects are looked at. */
  Learning,
  /** It has one. */
  HasOne,
  /** It is to have none. */
  HasNone,
}

/** The shape of the last object that was the value of a key, or in a list there; 0 is that of a message. */
const lastShapes = new Uint16Array(SHAPES_MAX);
/** The one before: two kinds of objects may take turns. */
const secondShapes = new Uint16Array(SHAPES_MAX);

/**
 * By the same how much speaks for it that the next object has one of their layouts. That is tried when it is
 * enough; in vain it costs as much as noting one or two properties.
 */
const trusts = new Int8Array(SHAPES_MAX);
const TRUST_ENOUGH = 4;
const TRUST_MAX = 12;
const TRUST_LOST = 4;
/** So many objects later, when nothing speaks for it any more, they are looked at again. */
const PAUSE = 32;

/**
 * The balance of a layout: it gains one for each object, up to a limit, and loses this for one whose keys are
 * those of the layout while a value is left out, such as `undefined`. Below zero it is given up.
 */
const LOSS = 16;
const BALANCE_MAX = 8 * LOSS;

/** What the addon is told of each layout, also of those that are out of use. */
const definitions: Buffer[] = [];
let keysTotal = 0;
/** The process must not make code of texts. */
let isOver = false;

/** Whether an object at this place probably has one of the layouts that others had there. */
export function isLikely(place: number): boolean {
  return (trusts[place] as number) >= TRUST_ENOUGH;
}

/** The layout that it has most likely. */
export function likelyLayout(place: number): Layout | undefined {
  return layouts[lastShapes[place] as number];
}

/** The one that it has if not that. */
export function secondLayout(place: number): Layout | undefined {
  return layouts[secondShapes[place] as number];
}

/** An object at this place had none of them. */
export function missed(place: number): void {
  const trust = (trusts[place] as number) - TRUST_LOST;
  trusts[place] = trust > 0 ? trust : -PAUSE;
}

/** An object at this place was noted by its layout. */
export function suited(place: number, layout: Layout): void {
  if (layout.balance < BALANCE_MAX) layout.balance++;
  meet(place, layout.shape);
}

/** An object at this place has a layout, whether or not it was likely. */
function meet(place: number, shape: number): void {
  const trust = trusts[place] as number;
  if (trust < TRUST_MAX) trusts[place] = trust + 1;
  if (trust < 0 || lastShapes[place] === shape) return;
  secondShapes[place] = lastShapes[place] as number;
  lastShapes[place] = shape;
}

/** Takes note of an object that was noted property by property. */
export function learn(place: number, shape: number, object: object, writer: Writer): void {
  const state = states[shape] as State;
  if (state === State.HasNone) return;
  if (state === State.Learning) learnKinds(shape, kindsOf(object, shape), writer);
  if (states[shape] === State.HasOne) meet(place, shape);
}

/**
 * Takes note of an object at this place whose keys are those of a layout and whose values are not of its
 * kinds. `shape` is the one that it was noted with.
 */
export function learnOthers(place: number, layout: Layout, shape: number, values: unknown[]): void {
  missed(place);
  const known = learnt[layout.shape];
  if (shape !== layout.shape || known === undefined) {
    layout.balance -= LOSS;
    if (layout.balance < 0) giveUp(layout.shape);
    return;
  }
  known.kinds = known.kinds.map((kind, index) => unite(kind, kindOf(values[index])));
  // There may be more that change with it.
  known.objects = 0;
  states[shape] = State.Learning;
  layouts[shape] = undefined;
}

function giveUp(shape: number): void {
  states[shape] = State.HasNone;
  layouts[shape] = undefined;
}

function learnKinds(shape: number, kinds: Kind[] | undefined, writer: Writer): void {
  if (kinds === undefined) {
    giveUp(shape);
    return;
  }
  learnt[shape] ??= { kinds, objects: 0, layouts: 0 };
  const known = learnt[shape];
  known.kinds = known.kinds.map((kind, index) => unite(kind, kinds[index] as Kind));
  if (++known.objects < OBJECTS_PER_LAYOUT) return;
  layouts[shape] =
    ++known.layouts > LAYOUTS_PER_SHAPE ? undefined : compile(shape, known.kinds, writer);
  states[shape] = layouts[shape] === undefined ? State.HasNone : State.HasOne;
}

/** What the addon is told of the layout with this id. */
export function layoutDefinitionOf(id: number): Buffer {
  return definitions[id - SHAPES_MAX] as Buffer;
}

/**
 * The kinds of an object's values. `undefined` if it has a getter: such an object has no layout, because
 * its values are to be noted as they are read, one after the other.
 */
function kindsOf(object: object, shape: number): Kind[] | undefined {
  const kinds: Kind[] = [];
  for (const each of pathOf(shape)) {
    const property = Object.getOwnPropertyDescriptor(object, lastKeyOf(each));
    if (property === undefined || property.get !== undefined) return undefined;
    kinds.push(kindOf(property.value));
  }
  return kinds;
}

function kindOf(value: unknown): Kind {
  if (typeof value === 'number') return (value | 0) === value ? Kind.Integer : Kind.Double;
  return typeof value === 'boolean' ? Kind.Flag : Kind.Any;
}

function unite(one: Kind, other: Kind): Kind {
  if (one === other) return one;
  const isNumber = (kind: Kind) => kind === Kind.Integer || kind === Kind.Double;
  return isNumber(one) && isNumber(other) ? Kind.Double : Kind.Any;
}

/** By kind the code that finds out if a value is of another, and the one that notes it. */
const CODE: Record<
  number,
  { check: (name: string) => string; write: (name: string, at: number) => string }
> = {
  [Kind.Integer]: {
    check: (name) => `typeof ${name}!=='number'||(${name}|0)!==${name}`,
    write: (name, at) => `now.setInt32(begin+${at},${name},true)`,
  },
  [Kind.Double]: {
    check: (name) => `typeof ${name}!=='number'`,
    write: (name, at) => `now.setFloat64(begin+${at},${name},true)`,
  },
  [Kind.Flag]: {
    check: (name) => `typeof ${name}!=='boolean'`,
    write: (name, at) => `now.setUint8(begin+${at},${name}?1:0)`,
  },
  [Kind.Any]: {
    check: (name) => `${name}===undefined||typeof ${name}==='function'||typeof ${name}==='symbol'`,
    write: () => '',
  },
};

/**
 * A function for objects that have these keys in this order, and no others that `for … in` finds.
 *
 * Nothing of the keys can be taken for code: they are written as JSON. `undefined` where the process must
 * not make code of texts, or where it would gain nothing.
 */
function compile(shape: number, kinds: readonly Kind[], writer: Writer): Layout | undefined {
  const { length } = kinds;
  if (isOver || length > KEYS_MAX) return undefined;
  if (definitions.length === LAYOUTS_MAX || keysTotal + length > KEYS_TOTAL_MAX) return undefined;
  const known = kinds.filter((kind) => kind !== Kind.Any).length;
  if (known === 0 || (!ARE_CLASSES_SHARED && 2 * known < length)) return undefined;
  const path = pathOf(shape);
  const keys = path.map(lastKeyOf);
  // A proxy may have keys like these anywhere, an object that its values are put into has them in front.
  if (keys.some((key) => /^\d/.test(key))) return undefined;
  let fixedBytes = 0;
  let jsonLength = 0;
  const reads: string[] = [];
  const checks: string[] = [];
  const fixed: string[] = [];
  const others: string[] = [];
  kinds.forEach((kind, index) => {
    const name = `v${index}`;
    const code = CODE[kind] as (typeof CODE)[number];
    const from = ARE_CLASSES_SHARED ? `object[${JSON.stringify(keys[index])}]` : `values[${index}]`;
    reads.push(`${name}=${from}`);
    checks.push(code.check(name));
    if (kind === Kind.Any) others.push(`write(${name},${path[index]});`);
    else fixed.push(`${code.write(name, fixedBytes)};`);
    fixedBytes += FIXED_BYTES[kind];
    jsonLength += JSON_LENGTH[kind] ?? 0;
  });
  const code = `return (object,begin)=>{
let index=0;
for(const key in object)if(key!==keys[index++])return false;
if(index!==${keys.length})return false;
const ${ARE_CLASSES_SHARED ? '' : 'values=valuesOf(object),'}${reads.join()};
if(${checks.join('||')})return [${kinds.map((_, index) => `v${index}`).join()}];
const now=view();
${fixed.join('')}${others.join('')}
return true}`;
  try {
    const make = new Function('keys', 'valuesOf', 'write', 'view', code);
    const layout = {
      shape,
      keys,
      id: SHAPES_MAX + definitions.length,
      balance: BALANCE_MAX,
      fixedBytes,
      jsonLength,
      integers: kinds.filter((kind) => kind === Kind.Integer).length,
      doubles: kinds.filter((kind) => kind === Kind.Double).length,
      flags: kinds.filter((kind) => kind === Kind.Flag).length,
      write: make(keys, valuesOf, writer.write, writer.view),
    };
    definitions.push(define(shape, (index) => kinds[index] as Kind));
    keysTotal += length;
    return layout;
  } catch {
    isOver = true;
    return undefined;
  }
}
