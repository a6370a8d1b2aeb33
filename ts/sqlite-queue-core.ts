/** What `@flowtrace/ipc/features/sqlite-queue` exports besides the validation. */
export { IpcError } from './errors.js';
export {
  type DeadLetterInfo,
  type PollableQueue,
  type PollerConfig,
  type PollerErrorContext,
  type PollerEvents,
  type PollerPhase,
  type PollerStats,
  type QueueMessageHandler,
  type QueuePollerConfig,
  SQLiteQueuePoller,
  type SQLiteQueuePollerConfig,
} from './poller.js';
export { SQLiteQueue } from './queue.js';
export type {
  ClaimedMessage,
  ClaimOptions,
  DeadLetter,
  DeadLetterOptions,
  Durability,
  EnqueueOptions,
  FailOptions,
  FailResult,
  QueueConfig,
  QueueStats,
  SQLiteQueueConfig,
  StatsOptions,
} from './queue-types.js';
export type { DeadlineOptions, QueueMessage } from './types.js';
