// The data that FlowTrace's services exchange and store, and the types of their zod schemas. The
// rules themselves stand in the Rust core (`src/validate/rules.rs`).
//
// The types are what zod infers from the schemas, and the type tests hold them to that: written as
// `type`, because an `interface` is not assignable to `Record<string, unknown>`, and with
// `| undefined` for services that compile with `exactOptionalPropertyTypes`.

import type { z } from 'zod';

/** A message of the queue. */
export type QueueMessageDTO = {
  /** Unique in its queue, not empty. */
  id: string;
  /** What kind of message it is, not empty. */
  type: string;
  /** Anything that JSON can hold; may be missing. */
  // biome-ignore lint/suspicious/noExplicitAny: the type that zod infers, which callers rely on.
  payload?: any;
  /** When it was made, in milliseconds since 1970, above 0. */
  timestamp: number;
};

/** The state of a symbol's candle, as the runtime database keeps it. */
export type StateEntryDTO = {
  /** Not empty. */
  exchange: string;
  /** Not empty. */
  symbol: string;
  /** The state as JSON text, not empty. The package does not look into it. */
  stateJson: string;
  /** When it was saved, in milliseconds since 1970: a whole number above 0. */
  updatedAt?: number | undefined;
};

/** What was traded at one price level of a candle. Only `tp` may be below 0. */
export type AggsDTO = {
  tp: number;
  bv: number;
  sv: number;
  v: number;
  bq?: number | undefined;
  sq?: number | undefined;
  q?: number | undefined;
};

/** A footprint candle: a candle with what was traded at each of its price levels. */
export type FootprintCandleDTO = {
  e: string;
  tz: string;
  ex: string;
  a: string;
  /** Not empty. */
  s: string;
  /** Not empty. */
  i: string;
  /** A whole number above 0. */
  vi: number;
  /** A whole number, at least 0; so are `ct`, `n`, `f` and `ls`. */
  t: number;
  ct: number;
  n: number;
  f: number;
  ls: number;
  /** At least 0; so are the following ones up to `sq`. */
  o: number;
  h: number;
  l: number;
  c: number;
  v: number;
  bv: number;
  sv: number;
  q: number;
  bq: number;
  sq: number;
  /** Any number; so are `dMax` and `dMin`. */
  d: number;
  dMax: number;
  dMin: number;
  /** Above 0. */
  tv: number;
  /** Any number; so is `ebs`. */
  bm?: number | undefined;
  ebs?: number | undefined;
  aggs: AggsDTO[];
  x: boolean;
};

/** Candles of one symbol that travel together. */
export type CandleGroupDTO = {
  event: string;
  typeData: string;
  asset: string;
  contSymbol: string;
  /** Not empty. */
  symbol: string;
  /** In milliseconds since 1970: a whole number above 0. */
  eventTime: number;
  data: FootprintCandleDTO[];
};

/** A gap in the trades of one symbol, as it is reported. */
export type GapRecordInputDTO = {
  /** Not empty. */
  exchange: string;
  /** Not empty. */
  symbol: string;
  /** The last trade before the gap: a whole number, at least 0. */
  fromTradeId: number;
  /** The first trade after it: a whole number, at least 0. */
  toTradeId: number;
  /** How many trades are missing: a whole number above 0. */
  gapSize: number;
  /** When it was found, in milliseconds since 1970: a whole number above 0. */
  detectedAt: number;
};

/** A gap as the runtime database keeps it. */
export type GapRecordDTO = {
  /** Not empty. */
  exchange: string;
  /** Not empty. */
  symbol: string;
  /** The last trade before the gap: a whole number, at least 0. */
  fromTradeId: number;
  /** The first trade after it: a whole number, at least 0. */
  toTradeId: number;
  /** How many trades are missing: a whole number above 0. */
  gapSize: number;
  /** When it was found, in milliseconds since 1970: a whole number above 0. */
  detectedAt: number;
  /** The row's number in the database, never given again: a whole number above 0. */
  id: number;
  /** Whether the missing trades have been fetched. */
  synced: boolean;
  /** When they were, in milliseconds since 1970; `null` before. */
  syncedAt: number | null;
};

/** Which gaps to load; all of them without a field. */
export type GapLoadOptionsDTO = {
  /** Only gaps of this exchange. */
  exchange?: string | undefined;
  /** Only gaps of this symbol. */
  symbol?: string | undefined;
  /** `true`: only synced gaps; `false`: only gaps that are not synced. */
  syncedOnly?: boolean | undefined;
};

/**
 * The type that `z.object` has for a shape in the caller's zod. Spelled as `z.ZodObject<…>`, it
 * would be a looser type under zod 3.
 */
type ObjectSchema<Shape extends z.ZodRawShape> = ReturnType<typeof z.object<Shape>>;

type OptionalNumber = z.ZodOptional<z.ZodNumber>;

/** The zod schemas of the data by name, without `DTOSchema`. */
export interface DTOSchemas {
  QueueMessage: ObjectSchema<{
    id: z.ZodString;
    type: z.ZodString;
    payload: z.ZodOptional<z.ZodAny>;
    timestamp: z.ZodNumber;
  }>;
  StateEntry: ObjectSchema<{
    exchange: z.ZodString;
    symbol: z.ZodString;
    stateJson: z.ZodString;
    updatedAt: OptionalNumber;
  }>;
  Aggs: ObjectSchema<{
    tp: z.ZodNumber;
    bv: z.ZodNumber;
    sv: z.ZodNumber;
    v: z.ZodNumber;
    bq: OptionalNumber;
    sq: OptionalNumber;
    q: OptionalNumber;
  }>;
  FootprintCandle: ObjectSchema<{
    e: z.ZodString;
    tz: z.ZodString;
    ex: z.ZodString;
    a: z.ZodString;
    s: z.ZodString;
    i: z.ZodString;
    vi: z.ZodNumber;
    t: z.ZodNumber;
    ct: z.ZodNumber;
    n: z.ZodNumber;
    f: z.ZodNumber;
    ls: z.ZodNumber;
    o: z.ZodNumber;
    h: z.ZodNumber;
    l: z.ZodNumber;
    c: z.ZodNumber;
    v: z.ZodNumber;
    bv: z.ZodNumber;
    sv: z.ZodNumber;
    q: z.ZodNumber;
    bq: z.ZodNumber;
    sq: z.ZodNumber;
    d: z.ZodNumber;
    dMax: z.ZodNumber;
    dMin: z.ZodNumber;
    tv: z.ZodNumber;
    bm: OptionalNumber;
    ebs: OptionalNumber;
    aggs: z.ZodArray<DTOSchemas['Aggs']>;
    x: z.ZodBoolean;
  }>;
  CandleGroup: ObjectSchema<{
    event: z.ZodString;
    typeData: z.ZodString;
    asset: z.ZodString;
    contSymbol: z.ZodString;
    symbol: z.ZodString;
    eventTime: z.ZodNumber;
    data: z.ZodArray<DTOSchemas['FootprintCandle']>;
  }>;
  GapRecordInput: ObjectSchema<{
    exchange: z.ZodString;
    symbol: z.ZodString;
    fromTradeId: z.ZodNumber;
    toTradeId: z.ZodNumber;
    gapSize: z.ZodNumber;
    detectedAt: z.ZodNumber;
  }>;
  GapRecord: ObjectSchema<{
    exchange: z.ZodString;
    symbol: z.ZodString;
    fromTradeId: z.ZodNumber;
    toTradeId: z.ZodNumber;
    gapSize: z.ZodNumber;
    detectedAt: z.ZodNumber;
    id: z.ZodNumber;
    synced: z.ZodBoolean;
    syncedAt: z.ZodNullable<z.ZodNumber>;
  }>;
}
