import type { QueueMessage } from './types.js';

/** What a resolved or returned `enqueue` survives. */
export type Durability = 'full' | 'normal';

/** Options of `SQLiteQueue`. */
export interface SQLiteQueueConfig {
  /** The database file. Missing folders and the file are made, readable by their owner only. */
  dbPath: string;
  /** Hours that processed messages are kept by `cleanup()`. Default 24. */
  retentionHours?: number | undefined;
  /**
   * `full` (default): what `enqueue` returned from survives power loss. `normal`: it survives the
   * death of every process, but the newest messages may be gone after power loss.
   */
  durability?: Durability | undefined;
  /** Whether messages must satisfy `QueueMessageSchema` to be stored. Default false. */
  validate?: boolean | undefined;
  /** Milliseconds that a synchronous call waits for another process's lock. Default 250. */
  busyTimeoutMs?: number | undefined;
}

/** {@link SQLiteQueueConfig} by the name that services use. */
export type QueueConfig = SQLiteQueueConfig;

/** Options of `enqueue`, `enqueueMany` and `enqueueAsync`. */
export interface EnqueueOptions {
  /**
   * Whether a message that is stored already, in whatever state, counts as stored: the same id,
   * type, payload and timestamp. Under the same id another message is refused with
   * `ERR_IPC_ID_CONFLICT`. So a call that failed in doubt may be repeated, with the timestamp that
   * it had. Default false: a second
   * message of an id is refused.
   */
  idempotent?: boolean | undefined;
}

/** Counters of a queue file, whichever process wrote to it. */
export interface QueueStats {
  /** Messages to be delivered that nobody holds, those that wait for a retry included. */
  pending: number;
  /** Messages that somebody holds a claim on. */
  claimed: number;
  /** Pending messages that failed and wait for their next delivery. */
  waiting: number;
  /** Messages processed and not yet cleaned up. */
  processed: number;
  /** Dead letters. */
  dead: number;
  /**
   * Whether everything was counted. If not, counting ended at 20,000 messages of a state, of which
   * there may be more, or at 4,000 claims: then some that count as `pending` are claimed.
   */
  exact: boolean;
  /** `timestamp` of the oldest pending or claimed message, or null. */
  oldestPending: number | null;
  /** Size of the database file in bytes. */
  fileBytes: number;
  /** The part of it that is free for new messages, in bytes. */
  freeBytes: number;
  /** Size of its write-ahead log in bytes. */
  walBytes: number;
}

/** Options of `SQLiteQueue.stats`. */
export interface StatsOptions {
  /** Whether to count everything, which takes as long as there is much. Default false. */
  exact?: boolean | undefined;
}

/** A message held for one consumer. */
export interface ClaimedMessage {
  readonly message: QueueMessage;
  /** Fencing token: grows with every claim of the file, and a stale one is refused. */
  readonly token: number;
  /** Which delivery of the message this is, from 1. */
  readonly attempt: number;
}

/** Options of `SQLiteQueue.claim`. */
export interface ClaimOptions {
  /** Messages to claim at most. Default 50. */
  limit?: number | undefined;
  /** Milliseconds that the claim holds unless it is extended. Default 60000. */
  leaseMs?: number | undefined;
  /**
   * Failures after which a message is a dead letter; give `fail()` the same number. A delivery that
   * was cut short, because its process died or its lease ran out, is none. But a message that was
   * cut short so often is claimed by itself from then on: do not handle others beside it. When that
   * was in vain 5 times, it becomes a dead letter too. `Infinity` for never. Default 10.
   */
  maxAttempts?: number | undefined;
  /**
   * A name for the claimer, at most 200 letters, kept beside the claims in the file (column `owner`
   * of `message_claim`) for whoever looks. Whose a claim is does not depend on it. Default none.
   */
  owner?: string | undefined;
}

/** What became of a message after `SQLiteQueue.fail`. */
export type FailResult =
  | { readonly outcome: 'retry'; readonly retryInMs: number }
  | { readonly outcome: 'dead' }
  | { readonly outcome: 'stale' };

/** Options of `SQLiteQueue.fail`. */
export interface FailOptions {
  /** Failures after which the message becomes a dead letter. Default 10. */
  maxAttempts?: number | undefined;
  /** Wait after the first failure in milliseconds; it doubles with each. Default 1000. */
  retryDelayMs?: number | undefined;
  /** Longest such wait in milliseconds. Default 300000. */
  maxRetryDelayMs?: number | undefined;
}

/** A message that was set aside. */
export interface DeadLetter {
  /** Id of the message; null if the row has none that can be read. */
  readonly id: string | null;
  /** The message, or null if the row cannot be read as one. */
  readonly message: QueueMessage | null;
  /** What can be read of such a row, the payload as its text; else null. */
  readonly raw: {
    readonly id: string | null;
    readonly type: string | null;
    readonly payload: string | null;
    readonly timestamp: number | null;
  } | null;
  /** Deliveries begun: those that failed, and those that were cut short. */
  readonly attempts: number;
  /**
   * `attempts`: its deliveries failed too often, or ended their consumers; `corrupt`: the row cannot
   * be read.
   */
  readonly reason: 'attempts' | 'corrupt';
  /** What failed last, or null if nothing is known of it. */
  readonly error: string | null;
  /** When it was set aside, in milliseconds since 1970. */
  readonly diedAt: number;
}

/** Options of `SQLiteQueue.deadLetters`. */
export interface DeadLetterOptions {
  /** Dead letters to return at most. Default 50. */
  limit?: number | undefined;
  /** Dead letters to skip, for paging. Default 0. */
  offset?: number | undefined;
}
