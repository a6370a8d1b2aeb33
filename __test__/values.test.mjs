// Notes of values by themselves, whatever the package makes of the choice to take any.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { addon } from '../dist/native.js';
import { ValueBuffer } from '../dist/value-writer.js';
import { plainValues } from './support/plain-values.mjs';
import { randomJson } from './support/random-json.mjs';
import { isLong } from './support/socket.mjs';

const MAX = 1e9;

/** What the notes of a value are printed as; undefined if it is left to `JSON.stringify`. */
function printed(value) {
  const buffer = ValueBuffer.take();
  try {
    return buffer.add(value, MAX) ? buffer.handTo(addon.printValues) : undefined;
  } finally {
    buffer.release();
  }
}

for (const [name, next, share] of [
  ['plain values', plainValues(1), 0.99],
  ['any values', randomJson(2), 0.2],
]) {
  test(`notes of ${name} become what JSON.stringify makes of them`, () => {
    const count = isLong ? 200_000 : 20_000;
    let noted = 0;
    for (let rest = count; rest > 0; rest--) {
      const value = next();
      const text = printed(value);
      if (text === undefined) continue;
      noted++;
      assert.equal(text, JSON.stringify(value));
    }
    assert.ok(noted >= share * count, `${noted} of ${count}`);
  });
}

test('objects whose keys are data become no shapes without end, and new kinds are learnt', () => {
  const map = (n) => Object.fromEntries([n, n + 1, n + 2].map((key) => [`k${key}`, { at: key }]));
  const buffer = ValueBuffer.take();
  for (let n = 0; n < 30_000; n += 3) {
    const message = { id: n, map: map(n), list: [map(n), 0.5] };
    const begin = buffer.length;
    assert.ok(buffer.add(message, MAX));
    assert.equal(buffer.handTo(addon.printValues, begin), JSON.stringify(message));
  }
  // The definitions of its shapes are handed over with a buffer.
  const shapes = buffer.handTo((_bytes, _begin, _end, from, to) => to - from);
  assert.ok(shapes < 200_000, `${shapes} bytes of shapes`);
  buffer.release();
  const kind = (n) => ({ new: { kinds: { of: n } } });
  for (let n = 0; n < 1_000; n++) assert.equal(printed(kind(n)), JSON.stringify(kind(n)));
  const noted = ValueBuffer.take();
  noted.add(kind(1), MAX);
  assert.equal(noted.length, 1 + 3 + 3 + 3 + 5);
  noted.release();
});

test('with the table of shapes full, what has one keeps it and nothing else gets one', () => {
  const known = { price: 0.5 };
  assert.equal(printed(known), JSON.stringify(known));
  const objects = Array.from({ length: 20 }, () => known);
  const buffer = ValueBuffer.take();
  // More than there can be, each twice.
  for (let n = 0; n < 40_000; n++) {
    assert.ok(buffer.add({ objects, [`key ${n >> 1}`]: n }, MAX));
    if (n % 5_000 > 0) continue;
    const again = { objects, [`key ${n >> 1}`]: n };
    const begin = buffer.length;
    buffer.add(again, MAX);
    assert.equal(buffer.handTo(addon.printValues, begin), JSON.stringify(again));
  }
  buffer.release();
  const bytesOf = (value) => {
    const noted = ValueBuffer.take();
    noted.add(value, MAX);
    const { length } = noted;
    noted.release();
    return length;
  };
  for (let n = 0; n < 100; n++) assert.equal(printed({ fresh: n }), JSON.stringify({ fresh: n }));
  assert.equal(bytesOf(known), 1 + 3 + 9);
  // With its key, and how many of these there are.
  assert.equal(bytesOf({ fresh: 0.5 }), 1 + 3 + 4 + 2 + 'fresh'.length + 9);
});

test('keys that no shape has are noted, and what is read of their objects is read once', () => {
  for (const key of ['k'.repeat(101), '"', 'ключ', '\n']) {
    let reads = 0;
    const one = {
      get first() {
        return ++reads;
      },
      [key]: [{ b: 2 }],
      last: { d: 'e' },
    };
    const expected = (first) => JSON.stringify({ first, [key]: [{ b: 2 }], last: { d: 'e' } });
    assert.equal(printed(one), expected(1));
    assert.equal(printed([one, 0.5, one]), `[${expected(2)},0.5,${expected(3)}]`);
    assert.equal(printed({ one, [key]: 1 }), `{"one":${expected(4)},${JSON.stringify(key)}:1}`);
  }
});

test('a toJSON is not run for what is left to JSON.stringify', () => {
  let runs = 0;
  const drained = { toJSON: () => ++runs };
  for (const key of ['a', 'größe']) {
    assert.equal(printed({ a: { [key]: 1, drained }, b: drained }), undefined);
    assert.equal(printed({ [key]: { drained }, b: 1n }), undefined);
  }
  assert.equal(runs, 0);
});

test('a getter that writes another message in the middle of an object without a shape', () => {
  const inner = [];
  const value = {
    id: 1,
    map: {
      get '"'() {
        inner.push(printed({ other: 2.5 }));
        return 3;
      },
    },
  };
  assert.equal(printed(value), undefined);
  assert.ok(inner.length > 0 && inner.every((text) => text === '{"other":2.5}'));
  assert.equal(printed({ id: 1 }), '{"id":1}');
});

test('after a few messages that are better left to JSON.stringify the next ones are', () => {
  const load = createRequire(import.meta.url);
  const path = load.resolve('../dist/value-habit.js');
  delete load.cache[path];
  const { chooseNotes, observe } = load(path);
  const texts = () => {
    assert.equal(chooseNotes(), true);
    observe(100, 0);
  };
  const numbers = () => {
    assert.equal(chooseNotes(), true);
    observe(0, 100);
  };
  for (const one of [texts, texts, texts, numbers, texts, texts, texts, texts]) one();
  for (let round = 0; round < 2; round++) {
    for (let left = 31; left > 0; left--) assert.equal(chooseNotes(), false);
    texts();
  }
  for (let left = 31; left > 0; left--) assert.equal(chooseNotes(), false);
  for (const one of [numbers, numbers, texts, numbers]) one();
});
