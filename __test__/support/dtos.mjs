// The data of the services: zod schemas written by hand from the published rules, and an example
// of each. The package derives its own schemas from the core's table; the tests compare the two.

export function dtosByHand(z) {
  const QueueMessage = z.object({
    id: z.string().min(1),
    type: z.string().min(1),
    payload: z.any().optional(),
    timestamp: z.number().positive(),
  });
  const StateEntry = z.object({
    exchange: z.string().min(1),
    symbol: z.string().min(1),
    stateJson: z.string().min(1),
    updatedAt: z.number().int().positive().optional(),
  });
  const Aggs = z.object({
    tp: z.number(),
    bv: z.number().nonnegative(),
    sv: z.number().nonnegative(),
    v: z.number().nonnegative(),
    bq: z.number().nonnegative().optional(),
    sq: z.number().nonnegative().optional(),
    q: z.number().nonnegative().optional(),
  });
  const FootprintCandle = z.object({
    e: z.string(),
    tz: z.string(),
    ex: z.string(),
    a: z.string(),
    s: z.string().min(1),
    i: z.string().min(1),
    vi: z.number().int().positive(),
    t: z.number().int().nonnegative(),
    ct: z.number().int().nonnegative(),
    n: z.number().int().nonnegative(),
    f: z.number().int().nonnegative(),
    ls: z.number().int().nonnegative(),
    o: z.number().nonnegative(),
    h: z.number().nonnegative(),
    l: z.number().nonnegative(),
    c: z.number().nonnegative(),
    v: z.number().nonnegative(),
    bv: z.number().nonnegative(),
    sv: z.number().nonnegative(),
    q: z.number().nonnegative(),
    bq: z.number().nonnegative(),
    sq: z.number().nonnegative(),
    d: z.number(),
    dMax: z.number(),
    dMin: z.number(),
    tv: z.number().positive(),
    bm: z.number().optional(),
    ebs: z.number().optional(),
    aggs: z.array(Aggs),
    x: z.boolean(),
  });
  const CandleGroup = z.object({
    event: z.string(),
    typeData: z.string(),
    asset: z.string(),
    contSymbol: z.string(),
    symbol: z.string().min(1),
    eventTime: z.number().int().positive(),
    data: z.array(FootprintCandle),
  });
  const GapRecordInput = z.object({
    exchange: z.string().min(1),
    symbol: z.string().min(1),
    fromTradeId: z.number().int().nonnegative(),
    toTradeId: z.number().int().nonnegative(),
    gapSize: z.number().int().positive(),
    detectedAt: z.number().int().positive(),
  });
  const GapRecord = GapRecordInput.extend({
    id: z.number().int().positive(),
    synced: z.boolean(),
    syncedAt: z.number().int().positive().nullable(),
  });
  return {
    QueueMessage,
    StateEntry,
    Aggs,
    FootprintCandle,
    CandleGroup,
    GapRecordInput,
    GapRecord,
  };
}

const aggs = { tp: -0.5, bv: 1.5, sv: 0, v: 1.5, bq: 3, sq: 0, q: 3 };

const candle = {
  e: 'candle',
  tz: 'UTC',
  ex: 'binance',
  a: '',
  s: 'BTCUSDT',
  i: '1m',
  vi: 60_000,
  t: 1_700_000_000_000,
  ct: 1_700_000_059_999,
  n: 2,
  f: 0,
  ls: 1,
  o: 10.5,
  h: 11,
  l: 10,
  c: 10.75,
  v: 3,
  bv: 3,
  sv: 0,
  q: 32.25,
  bq: 32.25,
  sq: 0,
  d: 3,
  dMax: 3,
  dMin: -0.25,
  tv: 0.01,
  bm: -10,
  ebs: 0.1,
  aggs: [aggs, { tp: 11, bv: 0, sv: 0, v: 0 }],
  x: true,
};

const gap = {
  exchange: 'binance',
  symbol: 'BTCUSDT',
  fromTradeId: 0,
  toTradeId: 7,
  gapSize: 7,
  detectedAt: 1_700_000_000_000,
};

/** A valid value of each, with every key. */
export const dtoExamples = {
  QueueMessage: { id: 'm-1', type: 'candle:complete', payload: candle, timestamp: 1.5 },
  StateEntry: { exchange: 'binance', symbol: 'BTCUSDT', stateJson: '{"a":1}', updatedAt: 1 },
  Aggs: aggs,
  FootprintCandle: candle,
  CandleGroup: {
    event: '',
    typeData: 'footprint',
    asset: 'BTC',
    contSymbol: 'BTC',
    symbol: 'BTCUSDT',
    eventTime: 1_700_000_060_000,
    data: [candle, { ...candle, aggs: [] }],
  },
  GapRecordInput: gap,
  GapRecord: { ...gap, id: 1, synced: false, syncedAt: null },
};
