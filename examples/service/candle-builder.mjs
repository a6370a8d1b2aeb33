// Makes footprint candles of the trades of one symbol.

const MINUTE_MS = 60_000;

export class CandleBuilder {
  #exchange;
  #symbol;
  #tickSize;
  /** The last trade seen, and the candle that it belongs to. */
  #state;

  /** `stateJson` is what an earlier builder of this symbol left, or null. */
  constructor({ exchange, symbol, tickSize, stateJson }) {
    this.#exchange = exchange;
    this.#symbol = symbol;
    this.#tickSize = tickSize;
    this.#state = stateJson === null ? null : JSON.parse(stateJson);
  }

  /** All that the next builder needs to go on, as it is kept by the persistence service. */
  get entry() {
    return {
      exchange: this.#exchange,
      symbol: this.#symbol,
      stateJson: JSON.stringify(this.#state),
    };
  }

  /** Returns the candle that this trade completes and the gap that it shows, where there are. */
  add(trade) {
    const last = this.#state?.lastTradeId;
    // A stream that connects again repeats trades.
    if (trade.id <= last) return {};
    const openedAt = Math.floor(trade.at / MINUTE_MS) * MINUTE_MS;
    const current = this.#state?.candle;
    const isSame = current?.t === openedAt;
    const candle = isSame ? current : this.#open(openedAt, trade);
    this.#count(candle, trade);
    this.#state = { lastTradeId: trade.id, candle };
    return {
      completed: current === undefined || isSame ? undefined : { ...current, x: true },
      gap: last === undefined || trade.id === last + 1 ? undefined : this.#gap(last, trade),
    };
  }

  #gap(fromTradeId, { id, at }) {
    return {
      exchange: this.#exchange,
      symbol: this.#symbol,
      fromTradeId,
      toTradeId: id,
      gapSize: id - fromTradeId - 1,
      detectedAt: at,
    };
  }

  #open(openedAt, { id, price }) {
    return {
      e: 'footprint',
      tz: 'UTC',
      ex: this.#exchange,
      a: 'crypto',
      s: this.#symbol,
      i: '1m',
      vi: MINUTE_MS,
      t: openedAt,
      ct: openedAt + MINUTE_MS - 1,
      n: 0,
      f: id,
      ls: id,
      o: price,
      h: price,
      l: price,
      c: price,
      v: 0,
      bv: 0,
      sv: 0,
      q: 0,
      bq: 0,
      sq: 0,
      d: 0,
      dMax: 0,
      dMin: 0,
      tv: this.#tickSize,
      aggs: [],
      x: false,
    };
  }

  #count(candle, { id, price, quantity, buy }) {
    candle.n++;
    candle.ls = id;
    candle.c = price;
    candle.h = Math.max(candle.h, price);
    candle.l = Math.min(candle.l, price);
    let level = candle.aggs.find(({ tp }) => tp === price);
    if (level === undefined) {
      level = { tp: price, bv: 0, sv: 0, v: 0, bq: 0, sq: 0, q: 0 };
      candle.aggs.push(level);
    }
    for (const sums of [candle, level]) {
      sums.v += quantity;
      sums[buy ? 'bv' : 'sv'] += quantity;
      sums.q += quantity * price;
      sums[buy ? 'bq' : 'sq'] += quantity * price;
    }
    candle.d = candle.bv - candle.sv;
    candle.dMax = Math.max(candle.dMax, candle.d);
    candle.dMin = Math.min(candle.dMin, candle.d);
  }
}
