// Values for the tests of their notes.
import { random } from './socket.mjs';

/** A source of values that JSON has a form for, of few shapes that come again and again. */
export function plainValues(seed) {
  const next = random(seed);
  const below = (count) => Math.floor(next() * count);
  const pick = (list) => list[below(list.length)];
  const numbers = [
    () => below(1000),
    () => below(2 ** 32) - 2 ** 31,
    () => Math.round(next() * 1e9) / 10 ** below(10),
    () => next() * 10 ** (below(40) - 20),
    () => pick([0, -0, 2 ** 31, -(2 ** 31) - 1, 1e15, 1e21, 1e-6, 1e-7, 5e-324]),
  ];
  const letters = [
    'abcdefghij',
    '0123456789.-',
    'äöü',
    'Жи',
    '価格',
    '📈',
    '"\\',
    '\u0000\n\u001f',
    '\u007f',
    '\ud800',
  ];
  const text = () => {
    const alphabet = pick(letters);
    return Array.from({ length: pick([0, 1, 5, 9, 12, 13, 24, 30, 60, 300]) }, () =>
      pick(alphabet),
    ).join('');
  };
  const keys = [
    'id',
    'type',
    'price',
    'größe',
    '',
    '7',
    '0',
    'constructor',
    'a long key '.repeat(12),
  ];
  const value = (depth) => {
    const kind = below(depth > 0 ? 9 : 6);
    if (kind < 3) return pick(numbers)();
    if (kind < 5) return text();
    if (kind < 6) return pick([true, false, null, new Date(below(2 ** 41))]);
    if (kind < 7) return Array.from({ length: below(5) }, () => value(depth - 1));
    const object = {};
    for (let first = below(6), count = below(4); count > 0; count--, first++) {
      object[keys[first]] = next() < 0.1 ? undefined : value(depth - 1);
    }
    return object;
  };
  return () => ({ id: below(1e6), kind: text(), payload: value(4) });
}
