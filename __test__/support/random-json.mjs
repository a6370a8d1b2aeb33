/** A source of values that `JSON.stringify` takes, the same for the same seed. */
export function randomJson(seed) {
  let state = seed >>> 0;
  /** A number from 0 to below 1 (mulberry32). */
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (count) => Math.floor(random() * count);
  const pick = (choices) => choices[below(choices.length)];

  const units = [
    () => below(0x80),
    () => below(0x800),
    () => below(0x10000),
    () => 0xd800 + below(0x800),
    () => pick([0, 8, 9, 10, 13, 0x1f, 0x22, 0x5c, 0x7f, 0x2028, 0x2029, 0xfeff, 0xfffd]),
  ];
  const text = () => {
    const unit = pick(units);
    return String.fromCharCode(...Array.from({ length: below(12) }, unit));
  };
  const number = () =>
    pick([
      () => below(2 ** 31) - 2 ** 30,
      () => random() * 10 ** (below(600) - 300),
      () => (2 ** 53 + below(1000)) * pick([1, -1]),
      () => pick([0, -0, 5e-324, 1.7976931348623157e308, 0.1, 1e21, 1e-7]),
      () => pick([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]),
    ])();
  const key = () =>
    pick([text, text, () => pick(['__proto__', 'constructor', 'toString', '0', ''])])();
  const leaf = () =>
    pick([text, number, () => pick([null, true, false]), () => new Date(below(2 ** 31))])();
  const dropped = () => pick([undefined, () => {}, Symbol('dropped')]);
  const value = (depth) => {
    if (depth === 0 || random() < 0.3) return leaf();
    const member = () => (random() < 0.05 ? dropped() : value(depth - 1));
    if (random() < 0.4) return Array.from({ length: below(6) }, member);
    if (random() < 0.1) {
      const inner = value(depth - 1);
      return { toJSON: () => inner };
    }
    const result = {};
    for (let count = below(6); count > 0; count -= 1) {
      Object.defineProperty(result, key(), {
        value: member(),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
    return result;
  };
  return () => value(5);
}
