// What the tests of the validation share: the zods, values and texts at random, and the comparison
// with a schema that is written out by hand.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import * as zodEsm from 'zod';
import * as zod3Esm from 'zod3';

const require = createRequire(import.meta.url);

export const zods = [
  { name: 'zod 3', major: 'zod3', z: require('zod3') },
  { name: 'zod 3 (ESM)', major: 'zod3', z: zod3Esm },
  { name: 'zod 4', major: 'zod4', z: require('zod') },
  { name: 'zod 4 (ESM)', major: 'zod4', z: zodEsm },
];

export const issuesOf = (error) => JSON.parse(JSON.stringify(error.issues));

/** Asserts that a validator and a schema written by hand agree on verdict, output and issues. */
export function assertSameAsZod({ schema, validate, safeValidate }, byHand, value) {
  const expected = byHand.safeParse(value);
  const actual = safeValidate(value);
  assert.equal(actual.success, expected.success);
  if (expected.success) {
    assert.deepEqual(Object.keys(actual), ['success', 'data']);
    for (const data of [actual.data, validate(value), schema.parse(value)]) {
      assert.deepStrictEqual(data, expected.data);
      assert.deepEqual(Reflect.ownKeys(data), Reflect.ownKeys(expected.data));
      assert.equal(Object.getPrototypeOf(data), Object.getPrototypeOf(expected.data));
    }
  } else {
    assert.deepEqual(issuesOf(actual.error), issuesOf(expected.error));
    assert.throws(
      () => validate(value),
      (error) => {
        assert.equal(error.constructor, expected.error.constructor);
        assert.deepEqual(issuesOf(error), issuesOf(expected.error));
        return true;
      },
    );
  }
}

/** A seeded generator (mulberry32), so that a failure can be repeated. */
export function generator(seed) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const pick = (choices) => choices[Math.floor(next() * choices.length)];
  return { chance: (share) => next() < share, pick, next };
}

/** Values that are wrong somewhere, or wrong under one zod. */
export const oddities = [
  undefined,
  null,
  true,
  false,
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  2 ** 53 - 1,
  2 ** 53,
  -(2 ** 53),
  1e300,
  5e-324,
  Infinity,
  -Infinity,
  NaN,
  1n,
  '',
  'a',
  'ab',
  '\ud83d',
  '😀',
  [],
  [undefined],
  {},
  [1],
  ['ab'],
  [''],
  [{}],
  [{ quantity: 1 }],
  [{ quantity: -1, price: 0 }],
  () => {},
  Symbol.iterator,
  new Date(0),
  new Map(),
  new String('ab'),
  new Number(1),
  /x/,
];

/** Scalars and small values as JSON text, among them those on which zods or parsers differ. */
export const jsonScalars = [
  'null',
  'true',
  'false',
  '0',
  '-0',
  '0.0',
  '1',
  '-1',
  '0.5',
  '-0.5',
  '-1.5',
  '1e2',
  '1E+2',
  '9007199254740991',
  '9007199254740992',
  '-9007199254740992',
  '9007199254740993.5',
  '1e300',
  '-1e300',
  '1e999',
  '-1e999',
  '1e-400',
  '4.9e-324',
  '""',
  '"a"',
  '"ab"',
  '"\\u0061"',
  '"\\ud800"',
  '"\\ud83d\\ude00"',
  '"😀"',
  '"é"',
  '"\\n"',
  '"\\/\\""',
  '[]',
  '{}',
  '[[]]',
  '[1,"ab"]',
  '["ab",""]',
  '["ab","\\ud800"]',
  '[{}]',
  '[{"quantity":0},{"quantity":-1,"price":0}]',
  '[{"quantity":1e999}]',
  '{"quantity":1}',
];

/** Texts that are not JSON. */
export const notJson = [
  '',
  ' ',
  '01',
  '1.',
  '.5',
  '+1',
  '-',
  '1e',
  'nul',
  'NaN',
  'Infinity',
  "'a'",
  '"',
  '"\\x"',
  '"\\u12"',
  '"\t"',
  '"\n"',
  '[1,]',
  '[',
  ']',
  '{"a"}',
  '{"a":1,}',
  '{a:1}',
  '{1:2}',
  '1 2',
  '\ufeff1',
  '\u00a01',
  '\f1',
  '{"a":1 "b":2}',
  '[1 2]',
  'undefined',
  '// x\n1',
  '{"a":"\u0001"}',
];

/** Random JSON texts of objects: keys missing, doubled or escaped, odd values, odd spaces. */
export function jsonTexts(seed) {
  const { chance, pick } = generator(seed);
  const space = () => (chance(0.9) ? '' : pick([' ', '\n', '\t', '\r\n']));
  const keyOf = (key) =>
    chance(0.95)
      ? JSON.stringify(key)
      : `"\\u${key.charCodeAt(0).toString(16).padStart(4, '0')}${key.slice(1)}"`;
  const unknownKeys = ['"__proto__"', '"\\ud800"', '""', '"toString"', '"Id"', '"id\\u0000"'];
  const objectOf = (usual, rate = 1) => {
    const entries = [];
    for (const [key, value] of Object.entries(usual)) {
      if (chance(rate * 0.05)) continue;
      if (chance(rate * 0.1)) entries.push([pick(unknownKeys), pick(jsonScalars)]);
      if (chance(rate * 0.1)) entries.push([keyOf(key), pick(jsonScalars)]);
      entries.push([keyOf(key), chance(1 - 0.1 * rate) ? value : pick(jsonScalars)]);
      if (chance(rate * 0.05)) entries.push([keyOf(key), pick(jsonScalars)]);
    }
    if (chance(rate * 0.02)) entries.push(['"x"', pick(notJson)]);
    const body = entries.map(([key, value]) => `${space()}${key}${space()}:${space()}${value}`);
    return `${space()}{${body.join(`${space()},`)}${space()}}${space()}`;
  };
  /** The text of a value like the example, with each part of it odd at a chance. */
  const like = (example) => {
    const rate = Math.min(1, 5 / JSON.stringify(example).split(':').length);
    const textOf = (value) => {
      if (Array.isArray(value)) return `[${value.map(textOf).join(`${space()},`)}]`;
      if (typeof value !== 'object' || value === null) return JSON.stringify(value);
      return objectOf(
        Object.fromEntries(Object.entries(value).map(([key, each]) => [key, textOf(each)])),
        rate,
      );
    };
    return textOf(example);
  };
  return { pick, objectOf, like };
}

/** The verdict of a schema on a text, in the words of the corpus. */
export function corpusVerdict(schema, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return 'not JSON';
  }
  // The core tells the first issue of each value.
  const firsts = new Map();
  for (const { path, code } of schema.safeParse(value).error?.issues ?? []) {
    const place = path.join('.');
    if (!firsts.has(place)) firsts.set(place, code);
  }
  return Array.from(firsts, ([place, code]) => `${place} ${code}`);
}
