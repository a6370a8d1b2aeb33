/** The validation for callers of `require`, with the zod that `require` gives them. */
import * as z from 'zod';
import { rules } from './rules.js';
import { createValidation, type Validation } from './validation.js';

const validation = createValidation(z, rules);

// The types are spelled out: inferred, the declarations would name what only one major version of
// zod has. `validateX` returns the data without unknown keys, or throws the caller's `ZodError`;
// `safeValidateX` returns what the schema's `safeParse` returns. `index.mjs` has the same list.

export const QueueMessageDTOSchema: Validation['QueueMessageDTOSchema'] =
  validation.QueueMessageDTOSchema;
export const validateQueueMessageDTO: Validation['validateQueueMessageDTO'] =
  validation.validateQueueMessageDTO;
export const safeValidateQueueMessageDTO: Validation['safeValidateQueueMessageDTO'] =
  validation.safeValidateQueueMessageDTO;

export const StateEntryDTOSchema: Validation['StateEntryDTOSchema'] =
  validation.StateEntryDTOSchema;
export const validateStateEntryDTO: Validation['validateStateEntryDTO'] =
  validation.validateStateEntryDTO;
export const safeValidateStateEntryDTO: Validation['safeValidateStateEntryDTO'] =
  validation.safeValidateStateEntryDTO;

export const AggsDTOSchema: Validation['AggsDTOSchema'] = validation.AggsDTOSchema;
export const validateAggsDTO: Validation['validateAggsDTO'] = validation.validateAggsDTO;
export const safeValidateAggsDTO: Validation['safeValidateAggsDTO'] =
  validation.safeValidateAggsDTO;

export const FootprintCandleDTOSchema: Validation['FootprintCandleDTOSchema'] =
  validation.FootprintCandleDTOSchema;
export const validateFootprintCandleDTO: Validation['validateFootprintCandleDTO'] =
  validation.validateFootprintCandleDTO;
export const safeValidateFootprintCandleDTO: Validation['safeValidateFootprintCandleDTO'] =
  validation.safeValidateFootprintCandleDTO;

export const CandleGroupDTOSchema: Validation['CandleGroupDTOSchema'] =
  validation.CandleGroupDTOSchema;
export const validateCandleGroupDTO: Validation['validateCandleGroupDTO'] =
  validation.validateCandleGroupDTO;
export const safeValidateCandleGroupDTO: Validation['safeValidateCandleGroupDTO'] =
  validation.safeValidateCandleGroupDTO;

export const GapRecordDTOSchema: Validation['GapRecordDTOSchema'] = validation.GapRecordDTOSchema;
export const validateGapRecordDTO: Validation['validateGapRecordDTO'] =
  validation.validateGapRecordDTO;
export const safeValidateGapRecordDTO: Validation['safeValidateGapRecordDTO'] =
  validation.safeValidateGapRecordDTO;

export const GapRecordInputDTOSchema: Validation['GapRecordInputDTOSchema'] =
  validation.GapRecordInputDTOSchema;
export const validateGapRecordInputDTO: Validation['validateGapRecordInputDTO'] =
  validation.validateGapRecordInputDTO;
export const safeValidateGapRecordInputDTO: Validation['safeValidateGapRecordInputDTO'] =
  validation.safeValidateGapRecordInputDTO;

// The documented names of the first.
export const QueueMessageSchema: Validation['QueueMessageSchema'] = validation.QueueMessageSchema;
export const validateQueueMessage: Validation['validateQueueMessage'] =
  validation.validateQueueMessage;
export const safeValidateQueueMessage: Validation['safeValidateQueueMessage'] =
  validation.safeValidateQueueMessage;
