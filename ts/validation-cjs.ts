/** The validation for callers of `require`, with the zod that `require` gives them. */
import type * as z from 'zod';
import { rules } from './rules.js';
import { createValidation, type Validation } from './validation.js';

let validation: Validation | undefined;

/**
 * Made when somebody first asks for a part of it: loading zod takes longer than loading everything
 * else, and most processes of a service never validate.
 */
function made(): Validation {
  validation ??= createValidation(require('zod') as typeof z, rules);
  return validation;
}

// The types are spelled out: inferred, the declarations would name what only one major version of
// zod has. `validateX` returns the data without unknown keys, or throws the caller's `ZodError`;
// `safeValidateX` returns what the schema's `safeParse` returns. `index.mjs` has the same list.

export declare const QueueMessageDTOSchema: Validation['QueueMessageDTOSchema'];
export declare const validateQueueMessageDTO: Validation['validateQueueMessageDTO'];
export declare const safeValidateQueueMessageDTO: Validation['safeValidateQueueMessageDTO'];

export declare const StateEntryDTOSchema: Validation['StateEntryDTOSchema'];
export declare const validateStateEntryDTO: Validation['validateStateEntryDTO'];
export declare const safeValidateStateEntryDTO: Validation['safeValidateStateEntryDTO'];

export declare const AggsDTOSchema: Validation['AggsDTOSchema'];
export declare const validateAggsDTO: Validation['validateAggsDTO'];
export declare const safeValidateAggsDTO: Validation['safeValidateAggsDTO'];

export declare const FootprintCandleDTOSchema: Validation['FootprintCandleDTOSchema'];
export declare const validateFootprintCandleDTO: Validation['validateFootprintCandleDTO'];
export declare const safeValidateFootprintCandleDTO: Validation['safeValidateFootprintCandleDTO'];

export declare const CandleGroupDTOSchema: Validation['CandleGroupDTOSchema'];
export declare const validateCandleGroupDTO: Validation['validateCandleGroupDTO'];
export declare const safeValidateCandleGroupDTO: Validation['safeValidateCandleGroupDTO'];

export declare const GapRecordDTOSchema: Validation['GapRecordDTOSchema'];
export declare const validateGapRecordDTO: Validation['validateGapRecordDTO'];
export declare const safeValidateGapRecordDTO: Validation['safeValidateGapRecordDTO'];

export declare const GapRecordInputDTOSchema: Validation['GapRecordInputDTOSchema'];
export declare const validateGapRecordInputDTO: Validation['validateGapRecordInputDTO'];
export declare const safeValidateGapRecordInputDTO: Validation['safeValidateGapRecordInputDTO'];

// The documented names of the first.
export declare const QueueMessageSchema: Validation['QueueMessageSchema'];
export declare const validateQueueMessage: Validation['validateQueueMessage'];
export declare const safeValidateQueueMessage: Validation['safeValidateQueueMessage'];

const NAMES: readonly (keyof Validation)[] = [
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
];

for (const name of NAMES) {
  Object.defineProperty(exports, name, { enumerable: true, get: () => made()[name] });
}
