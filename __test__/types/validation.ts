// Compiled, never run: once against the types of zod 3 and once against those of zod 4.

import { z } from 'zod';
import type { DTOSchemas } from '../../dist/dto.js';
import type { QueueMessage } from '../../dist/types.js';
import { createValidation, type RuleTable } from '../../dist/validation.js';

type QueueMessageSchema = DTOSchemas['QueueMessage'];

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const holds = <_Claim extends true>(): void => {};

const written = z.object({
  id: z.string().min(1),
  type: z.string().min(1),
  payload: z.any().optional(),
  timestamp: z.number().positive(),
});

declare const rules: RuleTable;
const validation = createValidation(z, rules);

// The declared type is that of the schema as one would write it, in both directions.
export const assigned: QueueMessageSchema = written;
export const returned: typeof written = validation.QueueMessageSchema;
holds<Equal<z.infer<typeof written>, QueueMessage>>();
holds<Equal<z.infer<QueueMessageSchema>, QueueMessage>>();
holds<Equal<ReturnType<typeof validation.validateQueueMessage>, QueueMessage>>();
holds<
  Equal<
    ReturnType<typeof validation.safeValidateQueueMessage>,
    ReturnType<(typeof written)['safeParse']>
  >
>();

// Schemas compose with the caller's own.
const batch = z.object({ messages: z.array(validation.QueueMessageSchema) });
holds<Equal<z.infer<typeof batch>, { messages: QueueMessage[] }>>();
export const id: z.ZodString = validation.QueueMessageSchema.shape.id;

const result = validation.safeValidateQueueMessage({});
if (result.success) {
  const message: QueueMessage = result.data;
  // biome-ignore lint/suspicious/noExplicitAny: that it is `any` is what is tested.
  holds<Equal<typeof message.payload, any>>();
} else {
  const error: z.ZodError = result.error;
  const messages: string[] = error.issues.map((issue) => issue.message);
  messages.join();
}
