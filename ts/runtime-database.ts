/** What `@flowtrace/ipc/features/runtime-database` exports. */
export { IpcError } from './errors.js';
export type { PollableQueue, QueueMessageHandler } from './poller.js';
export type { Durability } from './queue-types.js';
export {
  type GapFilter,
  type GapInput,
  type GapRecord,
  RuntimeDatabase,
  type RuntimeDatabaseConfig,
  RuntimeDatabasePoller,
  type RuntimeDatabasePollerConfig,
  type StateRecord,
} from './runtime.js';
export type { DeadlineOptions, QueueMessage } from './types.js';
