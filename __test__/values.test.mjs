// Notes of values by themselves, whatever the package makes of the choice to take any.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { addon } from '../dist/native.js';
import { readPackage, ShapeTable } from '../dist/value-reader.js';
import { Kind, Token } from '../dist/value-tokens.js';
import { ValueBuffer } from '../dist/value-writer.js';
import { plainValues } from './support/plain-values.mjs';
import { randomJson } from './support/random-json.mjs';
import { records } from './support/records.mjs';
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

/** How many bytes the notes of a message take. */
function notesLength(message, Writer = ValueBuffer) {
  const buffer = Writer.take();
  buffer.add(message, MAX);
  const { length } = buffer;
  buffer.release();
  return length;
}

for (const [name, next, share] of [
  ['plain values', plainValues(1), 0.99],
  ['any values', randomJson(2), 0.2],
  ['records', records(3), 1],
  ['records of ever other kinds', records(4, 4), 1],
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

/** Has objects like this noted by their kinds. */
function learnKinds(object) {
  for (let rest = 128; rest > 0; rest--) assert.equal(printed([object]), JSON.stringify([object]));
}

test('an object may have values of other kinds than those before it', () => {
  const usual = { whole: 7, part: 0.5, flag: true, text: 'a', inner: { inside: 1.5 } };
  learnKinds(usual);
  assert.equal(notesLength([usual]), 1 + 5 + 3 + 4 + 8 + 1 + (2 + 1) + (3 + 8));
  const others = [
    ...[-0, 1.5, 2 ** 31, Number.NaN, '7', null, true, [], {}, undefined, () => 1, Symbol('s')],
    ...[new Date(0), { deeper: { flag: 1 } }, 'größe', { inside: 2 }, { inside: 'y' }, { y: 1.5 }],
  ];
  for (const key of Object.keys(usual)) {
    for (const other of others) {
      const message = [usual, { ...usual, [key]: other }, usual];
      assert.equal(printed(message), JSON.stringify(message), `${key}: ${String(other)}`);
    }
    assert.equal(printed([usual, { ...usual, [key]: 1n }]), undefined);
    assert.equal(printed([usual, { ...usual, [key]: Object(1) }]), undefined);
  }
});

test('what is to be noted by its kinds may have other keys', () => {
  const usual = { first: 1, second: 0.5, third: false };
  learnKinds(usual);
  const inherited = Object.create({ third: false });
  Object.assign(inherited, { first: 1, second: 0.5 });
  const hidden = { ...usual };
  Object.defineProperty(hidden, 'third', { enumerable: false });
  const others = [
    {},
    { first: 1 },
    { first: 1, second: 0.5 },
    { ...usual, fourth: 1 },
    { first: 1, third: false, second: 0.5 },
    { second: 0.5, first: 1, third: false },
    inherited,
    hidden,
    Object.assign(Object.create(null), usual),
    Object.freeze({ ...usual }),
    new (class Order {
      first = 1;
      second = 0.5;
      third = true;
    })(),
    new Proxy({ ...usual }, {}),
  ];
  for (const other of others) {
    for (const message of [[other], [usual, other, usual], [other, usual, other, usual]]) {
      assert.equal(printed(message), JSON.stringify(message));
    }
  }
});

test('objects of two kinds in turn are noted by their kinds', () => {
  const turns = [
    { bid: 0.5, size: 1 },
    { ask: 0.25, size: 2, last: true },
  ];
  for (let rest = 64; rest > 0; rest--) assert.equal(printed(turns), JSON.stringify(turns));
  assert.equal(notesLength(turns), 1 + 5 + (3 + 8 + 4) + (3 + 8 + 4 + 1));
});

test('objects with a value that JSON leaves out do not stay at a layout that they do not have', () => {
  const full = { whole: 1, part: 0.5, error: 'none' };
  learnKinds(full);
  assert.equal(notesLength([full]), 1 + 5 + 3 + (4 + 8) + (2 + 4));
  const part = { ...full, error: undefined };
  for (let rest = 500; rest > 0; rest--) {
    assert.equal(printed([part]), '[{"whole":1,"part":0.5}]');
  }
  assert.equal(printed([full, part, full]), JSON.stringify([full, part, full]));
  assert.equal(notesLength([full]), 1 + 5 + 3 + (5 + 9) + (2 + 4));
});

test('objects of ever other kinds get layouts to an end', () => {
  const keys = Array.from({ length: 40 }, (_, key) => `column ${key}`);
  const row = (changed) => Object.fromEntries(keys.map((key, n) => [key, n < changed ? null : n]));
  // Half of them are whole numbers to the end, of which each says so if the objects have no layout.
  for (let changed = 0; changed <= 20; changed++) {
    if (changed === 4) assert.equal(notesLength([row(3)]), 1 + 5 + 3 + 4 * 37 + 3);
    learnKinds(row(changed));
  }
  assert.equal(notesLength([row(20)]), 1 + 5 + 3 + 5 * 20 + 20);
});

/** The writer as a process begins with it. */
function freshWriter() {
  const load = createRequire(import.meta.url);
  const names = ['value-shapes', 'value-layouts', 'value-writer'];
  for (const name of names) delete load.cache[load.resolve(`../dist/${name}.js`)];
  return load('../dist/value-writer.js').ValueBuffer;
}

/** How long the notes of a list of one object are when its kinds are learnt, without what is around it. */
function learntLength(Writer, object) {
  const lengths = Array.from({ length: 128 }, () => notesLength([object], Writer));
  return lengths.at(-1) - (1 + 5 + 3);
}

test('so many objects, of so many keys, get a layout', () => {
  const numbers = (keys) => Object.fromEntries(keys.map((key) => [key, 7]));
  const keys = (count, last) => Array.from({ length: count }, (_, n) => `k${n}`).concat(last ?? []);
  assert.equal(learntLength(freshWriter(), numbers(keys(128))), 4 * 128);
  assert.equal(learntLength(freshWriter(), numbers(keys(129))), 5 * 129);
  const few = freshWriter();
  for (let n = 0; n < 1_026; n++) {
    assert.equal(learntLength(few, { [`k${n}`]: 7 }), n < 1_024 ? 4 : 5, `${n}`);
  }
  const wide = freshWriter();
  for (let n = 0; n < 130; n++) {
    const length = learntLength(wide, numbers(keys(127, `last ${n}`)));
    assert.equal(length, (128 * n < 16 * 1_024 ? 4 : 5) * 128, `${n}`);
  }
});

test('an object that changes while it is read is noted as JSON.stringify reads it', () => {
  // Enough of them for a layout, if it had no getters.
  const numbers = { c: 1, d: 2, e: 3, f: 0.5 };
  const messages = [
    () => {
      let n = 0;
      return {
        a: {
          get x() {
            return ++n;
          },
        },
        get b() {
          return ++n;
        },
        ...numbers,
      };
    },
    () => {
      const queue = [1, 2, 3];
      return {
        a: queue,
        get b() {
          return queue.splice(0).length;
        },
        ...numbers,
      };
    },
  ];
  for (const message of messages) {
    for (let rest = 100; rest > 0; rest--) {
      assert.equal(printed([message()]), JSON.stringify([message()]));
    }
  }
});

test('the keys of a proxy keep the order that it gives them', () => {
  const proxy = (b) => new Proxy({ b, 7: 1.5 }, { ownKeys: () => ['b', '7'] });
  learnKinds(proxy(1));
  for (const b of ['x', 2, null]) assert.equal(printed([proxy(b)]), JSON.stringify([proxy(b)]));
});

test('a getter of an object that is noted by its kinds is asked once, and in the order of keys', () => {
  const asked = [];
  const of = (value) => ({
    get a() {
      asked.push('a');
      return value.a;
    },
    get b() {
      asked.push('b');
      return value.b;
    },
    c: value.c,
  });
  const usual = { a: 1, b: { x: 0.5 }, c: true };
  // It is learnt of others that have none.
  learnKinds(usual);
  for (const other of [usual, { ...usual, a: 'text' }, { ...usual, c: 2 }, { ...usual, b: null }]) {
    asked.length = 0;
    assert.equal(printed([of(other)]), JSON.stringify([other]));
    assert.deepEqual(asked, ['a', 'b']);
  }
});

test('a valueOf is not run to find out what kind a value is', () => {
  learnKinds({ whole: 1 });
  const value = {
    valueOf: () => assert.fail('it is no number'),
    x: 1,
  };
  assert.equal(printed([{ whole: value }]), '[{"whole":{"x":1}}]');
});

test('a getter that writes another message in an object that is noted by its kinds', () => {
  const usual = { price: 0.5, now: 1, flag: true };
  learnKinds(usual);
  const inner = [];
  const sender = {
    price: 0.5,
    get now() {
      inner.push(printed([usual, usual]));
      return 2;
    },
    flag: true,
  };
  const buffer = ValueBuffer.take();
  assert.equal(buffer.add([usual], MAX), true);
  assert.equal(buffer.add([sender], MAX), false);
  assert.equal(buffer.add([usual], MAX), true);
  assert.equal(buffer.handTo(addon.printValues), JSON.stringify([usual]).repeat(2));
  buffer.release();
  assert.deepEqual(inner, [JSON.stringify([usual, usual])]);
});

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
  // A number by itself says what it is only where it does not have the kind of those before.
  assert.equal(noted.length, 1 + 3 + 3 + 3 + 4);
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

/** Has the texts of the next message noted together, if they are not so few that it does not pay. */
function prepareLetters() {
  // After letters that are not ASCII a few messages are noted text by text.
  for (let rest = 32; rest > 0; rest--) printed({ text: 'x'.repeat(1_000) });
}

test('texts that are noted together become what JSON.stringify makes of them', () => {
  const ascii = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code)).join('');
  prepareLetters();
  for (let length = 0; length <= 300; length++) {
    const text = ascii.repeat(3).slice(length % 128, (length % 128) + length);
    const message = {
      id: 'x'.repeat(100),
      text,
      list: [text, '', text.slice(1), { text, '"': text, [`key ${text}`]: [0.5, text] }],
      last: 'y',
    };
    assert.equal(printed(message), JSON.stringify(message));
  }
  // With a token of three bytes for each, and of five for where the letters are.
  assert.equal(notesLength({ id: 'x'.repeat(100), kind: 'y' }), 1 + 5 + 3 + 2 * 3 + 101);
});

test('a text of any length has its place among those that are noted together', () => {
  for (const length of [8_000, 65_535, 65_536, 1_000_000]) {
    prepareLetters();
    const message = { before: 'a"b', text: 'z\n'.repeat(length).slice(-length), after: 'c' };
    assert.equal(printed(message), JSON.stringify(message));
  }
});

test('texts with other letters than ASCII are noted together in UTF-16, the next ones by themselves', () => {
  const others = ['é', '価', '📈', '\ud800', '\udc00', '\u0080', '\uffff'];
  for (const other of others) {
    for (const text of [other, `a${other}`, `${other}${'b'.repeat(300)}`]) {
      prepareLetters();
      const message = { id: 'x'.repeat(100), text, list: [text, { [text]: 1.5 }], last: 'y' };
      const alone = notesLength({ id: 'x'.repeat(100), kind: 'y' });
      assert.equal(alone, 1 + 5 + 3 + 2 * 3 + 101);
      assert.equal(printed(message), JSON.stringify(message));
      // And those of the next messages too.
      assert.equal(notesLength({ id: 'x'.repeat(40), kind: 'y' }), 1 + 3 + 42 + 3);
      assert.equal(printed(message), JSON.stringify(message));
    }
  }
  // Together they would be one letter.
  prepareLetters();
  const halves = { id: 'x'.repeat(100), list: ['\ud83d', '\udcc8'] };
  assert.equal(printed(halves), JSON.stringify(halves));
});

test('a getter is asked once, whatever the letters of its message are', () => {
  for (const text of ['plain', 'größer', '価格', '\ud800']) {
    prepareLetters();
    const pending = ['a', 'b'];
    const message = {
      id: 'x'.repeat(100),
      get drained() {
        return pending.splice(0);
      },
      text,
    };
    const expected = { id: message.id, drained: ['a', 'b'], text };
    assert.equal(printed(message), JSON.stringify(expected));
  }
});

test('letters that are too many are given up before they are joined', () => {
  prepareLetters();
  const message = { list: new Array(10_000).fill('y'.repeat(50_000)) };
  const before = process.memoryUsage().external;
  assert.equal(printed(message), undefined);
  assert.ok(process.memoryUsage().external - before < 16 * 1024 * 1024);
  const buffer = ValueBuffer.take();
  assert.equal(buffer.add({ id: 'z'.repeat(20_000) }, 100_000), false);
  // Whatever a message may have, so many are left to JSON.stringify.
  const most = 16 * 1024 * 1024;
  for (const [length, isNoted] of [
    [most, true],
    [most + 1, false],
  ]) {
    const list = new Array(Math.ceil(length / 50_000)).fill('y'.repeat(50_000));
    list[0] = 'y'.repeat(length - 50_000 * (list.length - 1));
    prepareLetters();
    assert.equal(buffer.add(list, Number.MAX_SAFE_INTEGER), isNoted);
  }
  buffer.release();
});

test('a package that is not the next one is refused, and all shapes and words are asked for again', () => {
  const u32 = (number) => [0, 8, 16, 24].map((shift) => (number >> shift) & 0xff);
  const packed = (known, shapes, message, texts = '') => {
    const head = [...u32(known), ...u32(shapes.length), ...shapes];
    const listed = Buffer.from(texts);
    const lengths = [...u32(message.length), ...u32(listed.length)];
    const notes = [Token.Texts, ...lengths, ...message, ...listed];
    return new Uint8Array([...head, ...notes]).buffer;
  };
  const table = new ShapeTable();
  let asked = 0;
  const source = { forgetShapes: () => asked++ };
  // An object with one key, `"a":`, and in it 7.
  const shapes = [1, 0, Kind.Any, 4, ...Buffer.from('"a":')];
  const object = (shape) => [Token.Message, Token.Object, shape, 0, Token.Integer, 7, 0, 0, 0];
  assert.deepEqual(readPackage(table, packed(0, shapes, object(0))), { a: 7 });
  assert.deepEqual(readPackage(table, packed(1, [], object(0))), { a: 7 });
  const word = (text) => [0xff, 0xff, text.length + 2, ...Buffer.from(JSON.stringify(text))];
  const forgotten = [0xfe, 0xff];
  const ofWord = (number) => [Token.Message, Token.Text, 0xff, number, 0];
  assert.equal(readPackage(table, packed(1, [...word('x'), ...word('y')], ofWord(1))), 'y');
  assert.equal(readPackage(table, packed(0x2_0001, [], ofWord(0))), 'x');
  const ofWords = [Token.Message, Token.Words, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0];
  assert.deepEqual(readPackage(table, packed(0x2_0001, [], ofWords)), ['y', 'x', 'y']);
  const ofListed = [Token.Message, Token.Text, 0xfe];
  assert.equal(readPackage(table, packed(0x2_0001, [], ofListed, '["größe"]')), 'größe');
  const long = Buffer.from('größe'.repeat(50));
  for (const [follows, encoding] of [
    [0xfd, 'latin1'],
    [0xfc, 'utf8'],
  ]) {
    const ofLong = [Token.Message, Token.Text, follows, ...u32(long.length), ...long];
    assert.equal(readPackage(table, packed(0x2_0001, [], ofLong)), long.toString(encoding));
  }
  const anew = [...forgotten, ...word('z')];
  assert.equal(readPackage(table, packed(0x2_0001, anew, ofWord(0))), 'z');
  assert.deepEqual(readPackage(table, packed(0x1_0001, [], object(0))), { a: 7 });
  table.mend(source);
  assert.equal(asked, 0);
  for (const known of [0x1_0002, 0x2_0001, 1]) {
    const lost = packed(known, [], object(1));
    assert.throws(() => readPackage(table, lost), { code: 'ERR_IPC_INTERNAL' });
  }
  table.mend(source);
  assert.equal(asked, 1);
  assert.deepEqual(readPackage(table, packed(0, shapes, object(0))), { a: 7 });
  table.mend(source);
  assert.equal(asked, 1);
});

test('a buffer that could not be opened is opened the next time', (t) => {
  const ofNumber = (number) =>
    new Uint8Array(
      [...new Array(8).fill(0), Token.Texts, 6, 0, 0, 0, 0, 0, 0, 0].concat([
        Token.Message,
        Token.Integer,
        number,
        0,
        0,
        0,
      ]),
    ).buffer;
  const [first, second] = [ofNumber(1), ofNumber(2)];
  assert.equal(readPackage(new ShapeTable(), first), 1);
  // As for want of stack, in the middle.
  const Original = globalThis.DataView;
  t.after(() => {
    globalThis.DataView = Original;
  });
  globalThis.DataView = class {
    constructor() {
      throw new RangeError('as for want of stack');
    }
  };
  assert.throws(() => readPackage(new ShapeTable(), second), RangeError);
  globalThis.DataView = Original;
  assert.equal(readPackage(new ShapeTable(), second), 2);
  assert.equal(readPackage(new ShapeTable(), first), 1);
});

test('a message that is too long with its letters is left to JSON.stringify', () => {
  const message = { id: 'x'.repeat(5_000) };
  prepareLetters();
  const bytes = 6 * notesLength(message) + '"id":,'.length;
  for (const [max, isNoted] of [
    [bytes, true],
    [bytes - 1, false],
  ]) {
    const buffer = ValueBuffer.take();
    assert.equal(buffer.add(message, max), isNoted);
    assert.equal(buffer.length > 0, isNoted);
    buffer.release();
  }
});

test('a getter that writes another message while texts are noted together', () => {
  for (const other of ['plain', 'größer', 'l'.repeat(500)]) {
    prepareLetters();
    const inner = [];
    const message = {
      id: 'x'.repeat(200),
      get now() {
        inner.push(printed({ other }));
        return 'here';
      },
      last: 'ö',
    };
    assert.equal(printed(message), undefined);
    assert.deepEqual(inner, [JSON.stringify({ other })]);
    assert.equal(printed({ id: 'y'.repeat(200) }), JSON.stringify({ id: 'y'.repeat(200) }));
  }
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

/** The module that chooses, as if no message had been seen. */
function newHabit() {
  const load = createRequire(import.meta.url);
  const path = load.resolve('../dist/value-habit.js');
  delete load.cache[path];
  return load(path);
}

test('messages of flags with few strings are left to a JSON.stringify that is quick with them', () => {
  const { chooseNotes, observe } = newHabit();
  const isQuick = Number.parseInt(process.versions.v8, 10) >= 14;
  for (const [makeup, isNoted] of [
    [{ texts: 1, integers: 0, doubles: 1, flags: 2 }, !isQuick],
    [{ texts: 0, integers: 0, doubles: 0, flags: 0 }, !isQuick],
    [{ texts: 2, integers: 1, doubles: 1, flags: 2 }, true],
    [{ texts: 4, integers: 3, doubles: 0, flags: 0 }, !isQuick],
  ]) {
    for (let left = 4; left > 0; left--) observe({ slowTexts: 0, ...makeup });
    assert.equal(chooseNotes(), isNoted, JSON.stringify(makeup));
    while (!chooseNotes());
  }
});

test('after a few messages that are better left to JSON.stringify the next ones are', () => {
  const { chooseNotes, observe } = newHabit();
  const seen = (makeup) => () => {
    assert.equal(chooseNotes(), true);
    observe({ texts: 0, slowTexts: 0, integers: 0, doubles: 0, flags: 0, ...makeup });
  };
  const texts = seen({ texts: 100, slowTexts: 100, integers: 100 });
  const numbers = seen({ doubles: 100 });
  const integers = seen({ texts: 4, slowTexts: 4, integers: 300 });
  const few = seen({ texts: 4, integers: 1, doubles: 3, flags: 4 });
  for (const suited of [numbers, integers, few]) {
    for (const one of [texts, texts, texts, suited]) one();
  }
  for (let left = 4; left > 0; left--) texts();
  for (let round = 0; round < 2; round++) {
    for (let left = 31; left > 0; left--) assert.equal(chooseNotes(), false);
    texts();
  }
  for (let left = 31; left > 0; left--) assert.equal(chooseNotes(), false);
  for (const one of [numbers, numbers, texts, numbers]) one();
});
