// Random values, with what JSON treats specially at every level.

const STRINGS = [
  '',
  'a',
  'ünïcödé ✓',
  '😀',
  '\ud800',
  '\udc00x',
  'x\ud83d',
  '\u2028\u2029',
  '\0\n\u001f"\\/',
  '__proto__',
  'constructor',
  'toString',
  '\ufeffbom',
  '\n\0\0\0{"a":1}',
  'x'.repeat(300),
];

const NUMBERS = [
  0,
  -0,
  1,
  -1,
  2 ** 53,
  2 ** 53 + 2,
  -(2 ** 63),
  2 ** 64,
  1e21,
  1e-7,
  5e-324,
  1.7976931348623157e308,
  0.1 + 0.2,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  100_000_000,
  999_999_999,
];

const pick = (random, list) => list[Math.floor(random() * list.length)];

/** A value that `JSON.stringify` takes at the top. */
export function message(random) {
  const value = anything(random, 4);
  return JSON.stringify(value) === undefined ? [value] : value;
}

function anything(random, depth) {
  const kind = Math.floor(random() * (depth > 0 ? 12 : 7));
  switch (kind) {
    case 0:
      return pick(random, NUMBERS);
    case 1:
      return (random() - 0.5) * 10 ** Math.floor(random() * 40 - 20);
    case 2:
      return pick(random, STRINGS);
    case 3:
      return text(random);
    case 4:
      return pick(random, [true, false, null]);
    case 5:
      return pick(random, [undefined, () => 1, Symbol('s'), new Date(1e12), new Map([[1, 2]])]);
    case 6:
      return pick(random, [Object(1), Object('s'), Object(false), new Date(Number.NaN)]);
    case 7:
    case 8:
      return Array.from({ length: Math.floor(random() * 5) }, () => anything(random, depth - 1));
    case 9: {
      const value = pick(random, NUMBERS);
      return { toJSON: (key) => ({ key, value }) };
    }
    default: {
      const object = random() < 0.1 ? Object.create(null) : {};
      for (let count = Math.floor(random() * 6); count > 0; count--) {
        const key = random() < 0.5 ? pick(random, STRINGS) : String(Math.floor(random() * 20));
        // An assignment to `__proto__` would set the prototype instead.
        Object.defineProperty(object, key, {
          value: anything(random, depth - 1),
          enumerable: true,
          configurable: true,
        });
      }
      return object;
    }
  }
}

function text(random) {
  let units = '';
  for (let length = Math.floor(random() * 20); length > 0; length--) {
    const range = random();
    const top = range < 0.5 ? 0x80 : range < 0.7 ? 0x800 : 0x10000;
    units += String.fromCharCode(Math.floor(random() * top));
  }
  return units;
}
