// Simulated trades, and the footprint candles that a FlowTrace worker makes of them.

const MINUTE_MS = 60_000;

/** A candle with one price level is never longer, as JSON. */
export const CANDLE_BYTES_MIN = 600;

/** What one price level adds at most. */
export const LEVEL_BYTES_MAX = 150;

/** Prices are counted in ticks, so that levels are exact and the walk has no rounding drift. */
const SYMBOLS = [
  { symbol: 'BTCUSDT', tick: 0.1, ticks: 600_000 },
  { symbol: 'ETHUSDT', tick: 0.01, ticks: 300_000 },
  { symbol: 'SOLUSDT', tick: 0.001, ticks: 150_000 },
  { symbol: 'XRPUSDT', tick: 0.00001, ticks: 60_000 },
];

/** Ticks that share one price level. */
const TICKS_PER_LEVEL = 10;

/** Random numbers from 0 to 1 that depend on the seed alone (the mulberry32 generator). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Endless trades of one symbol: the price takes a random walk. */
class Market {
  #random;
  #ticks;
  #tradeId = 0;
  minute = Math.floor(Date.UTC(2025, 0, 1) / MINUTE_MS);

  constructor({ symbol, tick, ticks }, random) {
    this.symbol = symbol;
    this.tick = tick;
    this.#ticks = ticks;
    this.#random = random;
  }

  /** The next trade; the price moves up to `stepTicks`, but never falls to nothing. */
  trade(stepTicks) {
    const step = Math.round((this.#random() * 2 - 1) * stepTicks);
    this.#ticks = Math.max(TICKS_PER_LEVEL, this.#ticks + step);
    this.#tradeId++;
    return {
      id: this.#tradeId,
      ticks: this.#ticks,
      quantity: round(0.001 + this.#random() ** 4 * 5),
      buy: this.#random() < 0.5,
    };
  }
}

/** The trades of one symbol and minute, summed up as a whole and by price level. */
class Aggregation {
  #market;
  #levels = new Map();
  #first;
  #last;
  #high = 0;
  #low = Number.POSITIVE_INFINITY;
  #count = 0;
  #sums = { bv: 0, sv: 0, bq: 0, sq: 0 };
  #deltaMax = 0;
  #deltaMin = 0;

  constructor(market) {
    this.#market = market;
  }

  get levels() {
    return this.#levels.size;
  }

  add(trade) {
    this.#first ??= trade;
    this.#last = trade;
    this.#high = Math.max(this.#high, trade.ticks);
    this.#low = Math.min(this.#low, trade.ticks);
    this.#count++;
    const key = Math.floor(trade.ticks / TICKS_PER_LEVEL);
    let level = this.#levels.get(key);
    if (level === undefined) {
      level = { bv: 0, sv: 0, bq: 0, sq: 0 };
      this.#levels.set(key, level);
    }
    const quote = trade.quantity * trade.ticks * this.#market.tick;
    for (const sums of [this.#sums, level]) {
      sums[trade.buy ? 'bv' : 'sv'] += trade.quantity;
      sums[trade.buy ? 'bq' : 'sq'] += quote;
    }
    const delta = this.#sums.bv - this.#sums.sv;
    this.#deltaMax = Math.max(this.#deltaMax, delta);
    this.#deltaMin = Math.min(this.#deltaMin, delta);
  }

  /** The candle of all trades so far. */
  candle() {
    const { tick, symbol, minute } = this.#market;
    const { bv, sv, bq, sq } = this.#sums;
    return {
      e: 'footprint',
      tz: 'UTC',
      ex: 'binance',
      a: 'crypto',
      s: symbol,
      i: '1m',
      vi: MINUTE_MS,
      t: minute * MINUTE_MS,
      ct: (minute + 1) * MINUTE_MS - 1,
      n: this.#count,
      f: this.#first.id,
      ls: this.#last.id,
      o: round(this.#first.ticks * tick),
      h: round(this.#high * tick),
      l: round(this.#low * tick),
      c: round(this.#last.ticks * tick),
      v: round(bv + sv),
      bv: round(bv),
      sv: round(sv),
      q: round(bq + sq),
      bq: round(bq),
      sq: round(sq),
      d: round(bv - sv),
      dMax: round(this.#deltaMax),
      dMin: round(this.#deltaMin),
      tv: round(tick * TICKS_PER_LEVEL),
      bm: TICKS_PER_LEVEL,
      ebs: round(tick * TICKS_PER_LEVEL),
      aggs: this.#aggs(),
      x: true,
    };
  }

  #aggs() {
    const { tick } = this.#market;
    return [...this.#levels.entries()]
      .sort(([a], [b]) => a - b)
      .map(([key, { bv, sv, bq, sq }]) => ({
        tp: round(key * TICKS_PER_LEVEL * tick),
        bv: round(bv),
        sv: round(sv),
        v: round(bv + sv),
        bq: round(bq),
        sq: round(sq),
        q: round(bq + sq),
      }));
  }
}

/** Six decimals, as exchanges write quantities; without them sums show binary fractions. */
function round(value) {
  return Math.round(value * 1e6) / 1e6;
}

/** Completed candles of several symbols in turn, each with its JSON. */
export class CandleSource {
  #random;
  #markets;
  #next = 0;
  #minBytes;
  #maxBytes;

  constructor({ seed, minBytes, maxBytes }) {
    this.#random = random(seed);
    this.#markets = SYMBOLS.map((symbol) => new Market(symbol, this.#random));
    this.#minBytes = minBytes;
    this.#maxBytes = maxBytes;
  }

  /** The next candle; its JSON has between `minBytes` and `maxBytes`. */
  next() {
    const market = this.#markets[this.#next];
    this.#next = (this.#next + 1) % this.#markets.length;
    const made = this.#fill(market, this.#wantedBytes());
    market.minute++;
    return made;
  }

  /** Every order of magnitude is as likely: many quiet minutes, a few busy ones. */
  #wantedBytes() {
    const largest = this.#maxBytes - LEVEL_BYTES_MAX;
    return Math.round(this.#minBytes * (largest / this.#minBytes) ** this.#random());
  }

  /**
   * Trades until the candle is about as long as wanted. The number of levels that are missing is
   * estimated from below, so that the candle is never longer by more than one level.
   */
  #fill(market, wantedBytes) {
    const aggregation = new Aggregation(market);
    // Busy minutes are volatile ones; else the walk would stay among the same levels for ever.
    const stepTicks = Math.ceil(wantedBytes / 100) * TICKS_PER_LEVEL;
    const enoughBytes = Math.max(this.#minBytes, wantedBytes * 0.9);
    let missing = (wantedBytes - CANDLE_BYTES_MIN) / LEVEL_BYTES_MAX;
    for (;;) {
      const levels = aggregation.levels + Math.max(1, Math.floor(missing));
      while (aggregation.levels < levels) aggregation.add(market.trade(stepTicks));
      const candle = aggregation.candle();
      const json = JSON.stringify(candle);
      if (json.length >= enoughBytes) return { candle, json };
      // More than the mean of a level, because all other fields are counted in.
      const levelBytes = (json.length / levels) * 1.1;
      missing = (wantedBytes - json.length) / levelBytes;
    }
  }
}
