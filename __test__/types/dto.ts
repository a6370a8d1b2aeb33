// Compiled, never run: the data of the services and their payloads, once against the types of zod
// 3 and once against those of zod 4, and how services use them.

import { z } from 'zod';
import {
  type AggsDTO,
  AggsDTOSchema,
  type CandleGroupDTO,
  CandleGroupDTOSchema,
  type FootprintCandleDTO,
  FootprintCandleDTOSchema,
  type GapLoadOptionsDTO,
  type GapLoadPayload,
  type GapMarkSyncedPayload,
  type GapMessage,
  type GapRecordDTO,
  GapRecordDTOSchema,
  type GapRecordInputDTO,
  GapRecordInputDTOSchema,
  type GapResponse,
  type GapSaveBatchPayload,
  type GapSavePayload,
  type IPCMessage,
  type QueueMessage,
  type QueueMessageDTO,
  QueueMessageDTOSchema,
  type StateEntryDTO,
  StateEntryDTOSchema,
  type StateLoadAllPayload,
  type StateLoadBatchPayload,
  type StateLoadPayload,
  type StateMessage,
  type StateResponse,
  type StateSaveBatchPayload,
  type StateSavePayload,
  safeValidateCandleGroupDTO,
  safeValidateGapRecordDTO,
  UnixSocketClient,
  UnixSocketServer,
  type validateAggsDTO,
  type validateCandleGroupDTO,
  validateFootprintCandleDTO,
  type validateGapRecordDTO,
  type validateGapRecordInputDTO,
  type validateQueueMessageDTO,
  type validateStateEntryDTO,
} from '../../index.js';

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const holds = <_Claim extends true>(): void => {};

// Schemas as one would write them.
const writtenQueueMessage = z.object({
  id: z.string().min(1),
  type: z.string().min(1),
  payload: z.any().optional(),
  timestamp: z.number().positive(),
});
const writtenStateEntry = z.object({
  exchange: z.string().min(1),
  symbol: z.string().min(1),
  stateJson: z.string().min(1),
  updatedAt: z.number().int().positive().optional(),
});
const writtenAggs = z.object({
  tp: z.number(),
  bv: z.number().nonnegative(),
  sv: z.number().nonnegative(),
  v: z.number().nonnegative(),
  bq: z.number().nonnegative().optional(),
  sq: z.number().nonnegative().optional(),
  q: z.number().nonnegative().optional(),
});
const writtenFootprintCandle = z.object({
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
  aggs: z.array(writtenAggs),
  x: z.boolean(),
});
const writtenCandleGroup = z.object({
  event: z.string(),
  typeData: z.string(),
  asset: z.string(),
  contSymbol: z.string(),
  symbol: z.string().min(1),
  eventTime: z.number().int().positive(),
  data: z.array(writtenFootprintCandle),
});
const writtenGapRecordInput = z.object({
  exchange: z.string().min(1),
  symbol: z.string().min(1),
  fromTradeId: z.number().int().nonnegative(),
  toTradeId: z.number().int().nonnegative(),
  gapSize: z.number().int().positive(),
  detectedAt: z.number().int().positive(),
});
const writtenGapRecord = writtenGapRecordInput.extend({
  id: z.number().int().positive(),
  synced: z.boolean(),
  syncedAt: z.number().int().positive().nullable(),
});

// What zod infers from those and from the package's is the declared type.
holds<Equal<z.infer<typeof writtenQueueMessage>, QueueMessageDTO>>();
holds<Equal<z.infer<typeof QueueMessageDTOSchema>, QueueMessageDTO>>();
holds<Equal<z.infer<typeof writtenStateEntry>, StateEntryDTO>>();
holds<Equal<z.infer<typeof StateEntryDTOSchema>, StateEntryDTO>>();
holds<Equal<z.infer<typeof writtenAggs>, AggsDTO>>();
holds<Equal<z.infer<typeof AggsDTOSchema>, AggsDTO>>();
holds<Equal<z.infer<typeof writtenFootprintCandle>, FootprintCandleDTO>>();
holds<Equal<z.infer<typeof FootprintCandleDTOSchema>, FootprintCandleDTO>>();
holds<Equal<z.infer<typeof writtenCandleGroup>, CandleGroupDTO>>();
holds<Equal<z.infer<typeof CandleGroupDTOSchema>, CandleGroupDTO>>();
holds<Equal<z.infer<typeof writtenGapRecordInput>, GapRecordInputDTO>>();
holds<Equal<z.infer<typeof GapRecordInputDTOSchema>, GapRecordInputDTO>>();
holds<Equal<z.infer<typeof writtenGapRecord>, GapRecordDTO>>();
holds<Equal<z.infer<typeof GapRecordDTOSchema>, GapRecordDTO>>();
holds<Equal<ReturnType<typeof validateQueueMessageDTO>, QueueMessageDTO>>();
holds<Equal<ReturnType<typeof validateStateEntryDTO>, StateEntryDTO>>();
holds<Equal<ReturnType<typeof validateAggsDTO>, AggsDTO>>();
holds<Equal<ReturnType<typeof validateFootprintCandleDTO>, FootprintCandleDTO>>();
holds<Equal<ReturnType<typeof validateCandleGroupDTO>, CandleGroupDTO>>();
holds<Equal<ReturnType<typeof validateGapRecordInputDTO>, GapRecordInputDTO>>();
holds<Equal<ReturnType<typeof validateGapRecordDTO>, GapRecordDTO>>();

// The package's schemas have the type of those, in both directions.
export const returnedQueueMessage: typeof writtenQueueMessage = QueueMessageDTOSchema;
export const assignedQueueMessage: typeof QueueMessageDTOSchema = writtenQueueMessage;
export const returnedStateEntry: typeof writtenStateEntry = StateEntryDTOSchema;
export const assignedStateEntry: typeof StateEntryDTOSchema = writtenStateEntry;
export const returnedAggs: typeof writtenAggs = AggsDTOSchema;
export const assignedAggs: typeof AggsDTOSchema = writtenAggs;
export const returnedFootprintCandle: typeof writtenFootprintCandle = FootprintCandleDTOSchema;
export const assignedFootprintCandle: typeof FootprintCandleDTOSchema = writtenFootprintCandle;
export const returnedCandleGroup: typeof writtenCandleGroup = CandleGroupDTOSchema;
export const assignedCandleGroup: typeof CandleGroupDTOSchema = writtenCandleGroup;
export const returnedGapRecordInput: typeof writtenGapRecordInput = GapRecordInputDTOSchema;
export const assignedGapRecordInput: typeof GapRecordInputDTOSchema = writtenGapRecordInput;

// Schemas compose with the caller's own.
const request = z.object({
  action: z.literal('gap_save_batch'),
  gaps: z.array(GapRecordInputDTOSchema),
  last: GapRecordDTOSchema.nullable(),
});
holds<Equal<z.infer<typeof request>['gaps'], GapRecordInputDTO[]>>();
holds<Equal<z.infer<typeof request>['last'], GapRecordDTO | null>>();
export const aggs: z.ZodNumber = AggsDTOSchema.shape.tp;
export const level: AggsDTO = FootprintCandleDTOSchema.shape.aggs.element.parse({});
export const dated = StateEntryDTOSchema.extend({ updatedAt: z.number() });
holds<Equal<z.infer<typeof dated>['updatedAt'], number>>();

export function issues(data: unknown): string[] {
  const result = safeValidateGapRecordDTO(data);
  if (result.success) {
    const gap: GapRecordDTO = result.data;
    return gap.syncedAt === null ? [] : [gap.syncedAt.toFixed()];
  }
  const error: z.ZodError = result.error;
  return error.issues.map(({ message }) => message);
}

export function closes(data: unknown): number[] {
  const result = safeValidateCandleGroupDTO(data);
  return result.success ? result.data.data.map((candle) => candle.bm ?? candle.c) : [];
}

// Data travels in messages, and in what knows only records.
const candle: FootprintCandleDTO = validateFootprintCandleDTO({});
const message: QueueMessageDTO = { id: 'a', type: 'candle', payload: candle, timestamp: 1 };
export const record: Record<string, unknown> = message;
export const queued: QueueMessage = message;
export const carried: IPCMessage = message;

// A service that answers for state and gaps.
interface Store {
  saveState(exchange: string, symbol: string, stateJson: string): void;
  saveStateBatch(states: { exchange: string; symbol: string; stateJson: string }[]): void;
  loadState(exchange: string, symbol: string): string | null;
  loadStatesBatch(exchange: string, symbols: string[]): StateEntryDTO[];
  loadAllStates(): StateEntryDTO[];
  loadStatesByExchange(exchange: string): StateEntryDTO[];
  saveGap(gap: GapRecordInputDTO): void;
  saveGapBatch(gaps: GapRecordInputDTO[]): void;
  loadGaps(options?: GapLoadOptionsDTO): GapRecordDTO[];
  markGapsSynced(ids: number[]): void;
}
declare const store: Store;

const never = (value: never): never => {
  throw new Error(`${value} is no action`);
};

function answerState({ payload }: StateMessage): StateResponse {
  switch (payload.action) {
    case 'save':
      holds<Equal<typeof payload, StateSavePayload>>();
      store.saveState(payload.exchange, payload.symbol, payload.stateJson);
      return { success: true };
    case 'save_batch':
      holds<Equal<typeof payload, StateSaveBatchPayload>>();
      store.saveStateBatch(payload.states.filter((state) => state.stateJson !== '{}'));
      return { success: true };
    case 'load':
      holds<Equal<typeof payload, StateLoadPayload>>();
      return { success: true, data: store.loadState(payload.exchange, payload.symbol) };
    case 'load_batch':
      holds<Equal<typeof payload, StateLoadBatchPayload>>();
      return { success: true, data: store.loadStatesBatch(payload.exchange, payload.symbols) };
    case 'load_all':
      holds<Equal<typeof payload, StateLoadAllPayload>>();
      return {
        success: true,
        data: payload.exchange
          ? store.loadStatesByExchange(payload.exchange)
          : store.loadAllStates(),
      };
    default:
      return never(payload);
  }
}

function answerGap({ payload }: GapMessage): GapResponse {
  switch (payload.action) {
    case 'gap_save':
      holds<Equal<typeof payload, GapSavePayload>>();
      store.saveGap(payload.gap);
      return { success: true };
    case 'gap_save_batch':
      holds<Equal<typeof payload, GapSaveBatchPayload>>();
      store.saveGapBatch(payload.gaps.map((gap) => ({ ...gap, symbol: gap.symbol.trim() })));
      return { success: true };
    case 'gap_load':
      holds<Equal<typeof payload, GapLoadPayload>>();
      return { success: true, data: store.loadGaps(payload) };
    case 'gap_mark_synced':
      holds<Equal<typeof payload, GapMarkSyncedPayload>>();
      store.markGapsSynced(payload.ids);
      return { success: true };
    default:
      return never(payload);
  }
}

export const server = new UnixSocketServer({ socketPath: '/run/ipc.sock' });
server.setRequestHandler(async (message: StateMessage | GapMessage) => {
  try {
    return message.type === 'gap'
      ? answerGap(message as GapMessage)
      : answerState(message as StateMessage);
  } catch (error) {
    const response: GapResponse = { success: false, error: (error as Error).message };
    return response;
  }
});

// And one that asks it.
export async function save(exchange: string, symbol: string, state: object): Promise<string> {
  const client = new UnixSocketClient({ socketPath: '/run/ipc.sock' });
  const payload: StateSavePayload = {
    action: 'save',
    exchange,
    symbol,
    stateJson: JSON.stringify(state),
  };
  const message: StateMessage = { id: 'a', type: 'state', payload, timestamp: Date.now() };
  await client.send(message);
  await client.send({ type: 'state', payload: { action: 'load_all' } } satisfies StateMessage);
  const gaps: GapLoadPayload = { action: 'gap_load', exchange, syncedOnly: false };
  const response = await client.request<GapResponse>({ type: 'gap', payload: gaps });
  if (!response.success) throw new Error(response.error ?? 'unknown');
  const [gap]: GapRecordDTO[] = response.data;
  return gap?.symbol ?? '';
}
