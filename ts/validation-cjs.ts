/** What callers of `require` get of the validation: `ts/entries.ts` gives it to them. */
import type { Validation } from './validation.js';

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
