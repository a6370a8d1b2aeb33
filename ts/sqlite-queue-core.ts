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
export {
  type ClaimedMessage,
  type ClaimOptions,
  type DeadLetter,
  type DeadLetterOptions,
  type Durability,
  type EnqueueOptions,
  type FailOptions,
  type FailResult,
  type QueueConfig,
  type QueueStats,
  SQLiteQueue,
  type SQLiteQueueConfig,
  type StatsOptions,
} from './queue.js';
export type { DeadlineOptions, QueueMessage } from './types.js';
