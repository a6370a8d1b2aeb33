// Values for the tests of their notes: objects of few shapes, whose values are mostly of the same kinds.
import { random } from './socket.mjs';

/**
 * A source of values that JSON has a form for: lists and records whose fields have, but for one in so many,
 * values of one kind.
 */
export function records(seed, exception = 50) {
  const next = random(seed);
  const below = (count) => Math.floor(next() * count);
  const kinds = [
    () => below(1000) - 500,
    () => Math.round(next() * 1e9) / 10 ** (1 + below(8)),
    () => next() < 0.5,
    () => ['open', 'closed', 'größe', '"quoted"', '', 'a text of some more letters'][below(6)],
    () => null,
    () => [0, -0, -1, 2 ** 31, -(2 ** 31) - 1, 1e21, 1e-7, 0.1 + 0.2, 1_700_000_000_000][below(9)],
    () => Array.from({ length: below(4) }, () => below(100) / 8),
    () => ({ at: below(10), of: { x: next(), y: next() < 0.5 } }),
    () => undefined,
    () => new Date(below(2 ** 41)),
  ];
  const kindOf = Array.from({ length: 40 }, () => below(8));
  const field = (shape, place) => {
    const usual = kindOf[(7 * shape + place) % kindOf.length];
    return kinds[below(exception) === 0 ? below(kinds.length) : usual]();
  };
  const record = (shape) => {
    const object = {};
    // Some begin with the same keys, and some have more of them now and then.
    const count = 1 + (shape % 5) + (below(exception) === 0 ? 1 : 0);
    for (let place = 0; place < count; place++) {
      object[`${shape % 2 ? 'key' : 'a longer key '}${place}`] = field(shape, place);
    }
    return object;
  };
  const list = () => {
    const shapes = [below(12), below(12)];
    return Array.from({ length: below(12) }, () => record(shapes[below(8) === 0 ? 1 : 0]));
  };
  return () => ({
    id: below(1e6),
    kind: below(3),
    one: record(below(4)),
    list: list(),
    other: list(),
  });
}
