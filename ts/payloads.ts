// What services put into the `payload` of the messages by which they save and load state and
// gaps, and what they answer. The package carries these messages and does not look into them:
// the types are a convention among services, and every one of them leaves room for fields that a
// service adds. A union of them is told apart by `action`.

import type { GapLoadOptionsDTO, GapRecordInputDTO, StateEntryDTO } from './dto.js';
import type { IPCMessage } from './types.js';

/** What all payloads have in common. */
interface ActionPayload<Action extends string> {
  // biome-ignore lint/suspicious/noExplicitAny: what a service adds is its own.
  [field: string]: any;
  action: Action;
}

/** Save one state, as `saveState` takes it. */
export interface StateSavePayload extends ActionPayload<'save'> {
  exchange: string;
  symbol: string;
  /** The state as JSON text. */
  stateJson: string;
}

/** Save many states at once, as `saveStateBatch` takes them. */
export interface StateSaveBatchPayload extends ActionPayload<'save_batch'> {
  states: StateEntryDTO[];
}

/** Load one state, as `loadState` takes it. */
export interface StateLoadPayload extends ActionPayload<'load'> {
  exchange: string;
  symbol: string;
}

/** Load the states of many symbols of one exchange, as `loadStatesBatch` takes them. */
export interface StateLoadBatchPayload extends ActionPayload<'load_batch'> {
  exchange: string;
  symbols: string[];
}

/** Load all states. */
export interface StateLoadAllPayload extends ActionPayload<'load_all'> {
  /** Only those of this exchange, as `loadStatesByExchange` takes it. */
  exchange?: string | undefined;
}

/** A message about state. */
export interface StateMessage extends IPCMessage {
  type: string;
  payload:
    | StateSavePayload
    | StateSaveBatchPayload
    | StateLoadPayload
    | StateLoadBatchPayload
    | StateLoadAllPayload;
}

/** The answer to a message about state. */
export type StateResponse = {
  success: boolean;
  /** What was asked for. */
  // biome-ignore lint/suspicious/noExplicitAny: callers know what they asked for.
  data?: any;
  /** What went wrong. */
  error?: string | undefined;
  /** The `id` of the message, which the server adds. */
  id?: string | undefined;
};

/** Save one gap, as `saveGap` takes it. */
export interface GapSavePayload extends ActionPayload<'gap_save'> {
  gap: GapRecordInputDTO;
}

/** Save many gaps at once, as `saveGapBatch` takes them. */
export interface GapSaveBatchPayload extends ActionPayload<'gap_save_batch'> {
  gaps: GapRecordInputDTO[];
}

/** Load gaps, by the fields that `loadGaps` takes. */
export interface GapLoadPayload extends ActionPayload<'gap_load'>, GapLoadOptionsDTO {}

/** Mark gaps as synced by the numbers of their rows, as `markGapsSynced` takes them. */
export interface GapMarkSyncedPayload extends ActionPayload<'gap_mark_synced'> {
  ids: number[];
}

/** A message about gaps. */
export interface GapMessage extends IPCMessage {
  type: string;
  payload: GapSavePayload | GapSaveBatchPayload | GapLoadPayload | GapMarkSyncedPayload;
}

/** The answer to a message about gaps. */
export type GapResponse = StateResponse;
