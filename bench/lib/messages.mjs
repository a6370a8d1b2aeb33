// Messages as FlowTrace's services send them, made before anything is measured: trades, footprint
// candles of any length, notes in several scripts, order books, rows of a table, events, lists of states, and
// maps by price. No two of a pool are alike.
import { CandleSource, random } from '../../examples/demo/candles.mjs';

const SYMBOLS = ['BTCUSDT', 'ETHUSDT', 'SOLUSDT', 'XRPUSDT', '1000PEPEUSDT'];
const WORDS = ['Lücke', 'обновление', '価格', 'gap', 'retry', 'naïve', '"quoted"', 'a\\b', '📈'];
const EVENTS = ['order.created', 'order.filled', 'book.resynchronised', 'gap.detected'];
const STATES = ['new', 'open', 'partial', 'filled', 'cancelled', 'rejected', 'expired'];
const START_MS = 1_700_000_000_000;
/** Shorter messages are trades; a candle does not get that short. */
const CANDLE_BYTES_MIN = 900;
/** A pool holds at most this many bytes of JSON, so that long messages do not fill the memory. */
const POOL_BYTES = 16 * 1024 * 1024;
const POOL_MESSAGES = 2_000;

/** A pool of different messages of about `bytes` of JSON each; `shape` is `market` or one of {@link LISTS}. */
export function pool({ bytes, shape = 'market', seed = 1 }) {
  const count = Math.max(2, Math.min(POOL_MESSAGES, Math.floor(POOL_BYTES / bytes)));
  const next = source(bytes, shape, random(seed), seed);
  return Array.from({ length: count }, (_, index) => next(index));
}

/** Messages with ids of their own for a queue, `count` of them, from a pool in turn. */
export function numbered(messages, prefix, count, timestamp = START_MS) {
  return Array.from({ length: count }, (_, index) => {
    const { type, payload } = messages[index % messages.length];
    return { id: `${prefix}-${index}`, type, payload, timestamp: timestamp + index };
  });
}

function source(bytes, shape, rng, seed) {
  if (shape in LISTS) return (index) => list(index, bytes, () => LISTS[shape](index, rng));
  if (bytes < CANDLE_BYTES_MIN) return (index) => trade(index, bytes, rng);
  const candles = new CandleSource({ seed, minBytes: bytes * 0.85, maxBytes: bytes * 1.05 + 200 });
  return (index) => ({ ...head(index, 'candle:complete'), payload: candles.next().candle });
}

function head(index, type) {
  return { id: `${type}-${START_MS + index * 7}`, type, timestamp: START_MS + index * 7 };
}

function trade(index, bytes, rng) {
  const price = Math.round(rng() * 6e6) / 100;
  const message = {
    ...head(index, 'trade'),
    payload: {
      s: SYMBOLS[index % SYMBOLS.length],
      p: price,
      q: Math.round(rng() * 1e5) / 1e3,
      m: rng() < 0.5,
      t: index + 1_000_000,
      ...(bytes > 150 && { ex: 'binance', bid: price - 0.01, ask: price + 0.01 }),
    },
  };
  const missing = bytes - JSON.stringify(message).length - ',"tags":[]'.length;
  const tags = [];
  for (let room = missing; room > 8; room -= 9) tags.push(100_000 + Math.floor(rng() * 9e5));
  if (tags.length > 0) message.payload.tags = tags.map(String);
  return message;
}

function pick(items, rng) {
  return items[Math.floor(rng() * items.length)];
}

/** The items of messages that are lists, by the shape of the message. */
const LISTS = {
  text(index, rng) {
    const words = Array.from({ length: 8 }, () => WORDS[Math.floor(rng() * WORDS.length)]);
    return { at: index, text: words.join(' '), score: rng(), ok: rng() < 0.5 };
  },
  /** As exchanges send them: numbers as strings. */
  book(_index, rng) {
    return [(Math.round(rng() * 6e6) / 100).toFixed(2), (Math.round(rng() * 1e5) / 1e3).toFixed(5)];
  },
  rows(index, rng) {
    const number = Math.floor(rng() * 1e6);
    return {
      id: index + number,
      name: `customer ${number.toString(36)}`,
      mail: `${number.toString(36)}@example.com`,
      state: rng() < 0.5 ? 'open' : 'closed',
      count: number % 97,
      paid: rng() < 0.5,
      note: null,
    };
  },
  /** Ids, times and texts from small sets. */
  event(index, rng) {
    const hex = (count) =>
      Math.floor(rng() * 16 ** count)
        .toString(16)
        .padStart(count, '0');
    return {
      id: `${hex(8)}-${hex(4)}-${hex(4)}-${hex(4)}-${hex(6)}${hex(6)}`,
      at: new Date(START_MS + index * 1_000 + Math.floor(rng() * 1e9)).toISOString(),
      name: pick(EVENTS, rng),
      state: pick(STATES, rng),
      ms: Math.floor(rng() * 5_000),
    };
  },
  state(_index, rng) {
    return pick(STATES, rng);
  },
  /** Keys are data. */
  map(_index, rng) {
    const price = () => (Math.round(rng() * 6e6) / 100).toFixed(2);
    return { [price()]: Math.round(rng() * 1e5) / 1e3, [price()]: Math.round(rng() * 100) };
  },
};

function list(index, bytes, item) {
  const items = [];
  const message = { ...head(index, 'note'), payload: { author: null, deep: { er: { items } } } };
  for (let length = JSON.stringify(message).length; length < bytes; ) {
    const next = item();
    items.push(next);
    length += Buffer.byteLength(JSON.stringify(next)) + 1;
  }
  return message;
}
