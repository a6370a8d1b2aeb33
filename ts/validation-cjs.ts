/** The validation for callers of `require`, with the zod that `require` gives them. */
import * as z from 'zod';
import { rules } from './rules.js';
import { createValidation, type Validation } from './validation.js';

const validation = createValidation(z, rules);

// The types are spelled out: inferred, the declarations would name what only one major version of
// zod has.

/** The zod schema of a queue message. */
export const QueueMessageSchema: Validation['QueueMessageSchema'] = validation.QueueMessageSchema;

/** Returns the queue message without unknown keys, or throws the caller's `ZodError`. */
export const validateQueueMessage: Validation['validateQueueMessage'] =
  validation.validateQueueMessage;

/** Returns what the schema's `safeParse` returns. */
export const safeValidateQueueMessage: Validation['safeValidateQueueMessage'] =
  validation.safeValidateQueueMessage;
