/**
 * What each entry point exports. `scripts/bundle.mjs` makes one file of this and all that it needs:
 * reading one file takes half as long as reading fifty.
 */
import * as coreExports from './core.js';
import * as hybridExports from './hybrid.js';
import { addValidation } from './lazy-validation.js';
import * as rootExports from './root.js';
import * as runtimeDatabaseExports from './runtime-database.js';
import * as sqliteQueueExports from './sqlite-queue.js';
import * as unixSocketExports from './unix-socket.js';
import type { Validation } from './validation.js';

/**
 * What callers of `require` get. A copy, because the properties of a namespace cannot be replaced, as
 * mocks do.
 */
function entry<Exports extends object>(
  exports: Exports,
  lazily: readonly (keyof Validation)[] = [],
): Exports {
  const copy = { ...exports };
  // As compilers mark it. Without the mark jest mocks no getters.
  Object.defineProperty(copy, '__esModule', { value: true });
  addValidation(copy, lazily);
  return copy;
}

export const core = entry(coreExports);
export const hybrid = entry(hybridExports);
export const root = entry(rootExports, [
  'QueueMessageDTOSchema',
  'validateQueueMessageDTO',
  'safeValidateQueueMessageDTO',
  'StateEntryDTOSchema',
  'validateStateEntryDTO',
  'safeValidateStateEntryDTO',
  'AggsDTOSchema',
  'validateAggsDTO',
  'safeValidateAggsDTO',
  'FootprintCandleDTOSchema',
  'validateFootprintCandleDTO',
  'safeValidateFootprintCandleDTO',
  'CandleGroupDTOSchema',
  'validateCandleGroupDTO',
  'safeValidateCandleGroupDTO',
  'GapRecordDTOSchema',
  'validateGapRecordDTO',
  'safeValidateGapRecordDTO',
  'GapRecordInputDTOSchema',
  'validateGapRecordInputDTO',
  'safeValidateGapRecordInputDTO',
  'QueueMessageSchema',
  'validateQueueMessage',
  'safeValidateQueueMessage',
]);
export const runtimeDatabase = entry(runtimeDatabaseExports);
export const sqliteQueue = entry(sqliteQueueExports, [
  'QueueMessageSchema',
  'safeValidateQueueMessage',
  'validateQueueMessage',
]);
export const unixSocket = entry(unixSocketExports);
