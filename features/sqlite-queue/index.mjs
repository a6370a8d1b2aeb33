// One validation per zod: the root has made it.
export {
  IpcError,
  QueueMessageSchema,
  SQLiteQueue,
  SQLiteQueuePoller,
  safeValidateQueueMessage,
  validateQueueMessage,
} from '../../index.mjs';
