// The classes are those of the CommonJS build, so that both kinds of callers share them. The
// validation is made here, with the zod that ES modules get: zod 3 has two copies of its classes.
import * as z from 'zod';
import esm from './dist/esm.js';

const core = esm.core();

export const {
  BatchSender,
  checkHealth,
  createIPCClient,
  createIPCServer,
  createRuntimeDatabase,
  createRuntimeDatabasePoller,
  DeliveryError,
  HybridConsumer,
  HybridPublisher,
  IpcError,
  PublishManyError,
  RuntimeDatabase,
  RuntimeDatabasePoller,
  SQLiteQueue,
  SQLiteQueuePoller,
  UnixSocketClient,
  UnixSocketServer,
} = core;

export const {
  AggsDTOSchema,
  CandleGroupDTOSchema,
  FootprintCandleDTOSchema,
  GapRecordDTOSchema,
  GapRecordInputDTOSchema,
  QueueMessageDTOSchema,
  QueueMessageSchema,
  StateEntryDTOSchema,
  safeValidateAggsDTO,
  safeValidateCandleGroupDTO,
  safeValidateFootprintCandleDTO,
  safeValidateGapRecordDTO,
  safeValidateGapRecordInputDTO,
  safeValidateQueueMessage,
  safeValidateQueueMessageDTO,
  safeValidateStateEntryDTO,
  validateAggsDTO,
  validateCandleGroupDTO,
  validateFootprintCandleDTO,
  validateGapRecordDTO,
  validateGapRecordInputDTO,
  validateQueueMessage,
  validateQueueMessageDTO,
  validateStateEntryDTO,
} = core.createValidation(z, core.rules);
