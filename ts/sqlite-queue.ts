/** What `@flowtrace/ipc/features/sqlite-queue` exports to callers of `require`. */
export * from './sqlite-queue-core.js';
export {
  QueueMessageSchema,
  safeValidateQueueMessage,
  validateQueueMessage,
} from './validation-cjs.js';
