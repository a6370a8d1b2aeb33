/** What `@flowtrace/ipc` exports to callers of `require`. */

export * from './batch-sender.js';
export type {
  AggsDTO,
  CandleGroupDTO,
  FootprintCandleDTO,
  GapLoadOptionsDTO,
  GapRecordDTO,
  GapRecordInputDTO,
  QueueMessageDTO,
  StateEntryDTO,
} from './dto.js';
export * from './factories.js';
export * from './health.js';
export * from './hybrid.js';
export type {
  GapLoadPayload,
  GapMarkSyncedPayload,
  GapMessage,
  GapResponse,
  GapSaveBatchPayload,
  GapSavePayload,
  StateLoadAllPayload,
  StateLoadBatchPayload,
  StateLoadPayload,
  StateMessage,
  StateResponse,
  StateSaveBatchPayload,
  StateSavePayload,
} from './payloads.js';
export * from './runtime-database.js';
export * from './sqlite-queue-core.js';
export * from './unix-socket.js';
export * from './validation-cjs.js';
