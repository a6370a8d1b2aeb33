import { DeliveryError, type IpcError } from './errors.js';
import type { PublishableMessage, PublishReceipt } from './publication.js';

/** Options of `HybridPublisher`. Times are in milliseconds. */
export interface HybridPublisherConfig {
  /** Path of the consumer's socket. */
  socketPath: string;
  /** The queue's file, which the consumer polls. */
  dbPath: string;
  /**
   * Wait for an acknowledgement before the message is stored; at most half of `timeoutMs`. Default
   * 1000.
   */
  spillAfterMs?: number | undefined;
  /** Time within which `publish()` settles. Default 10000. */
  timeoutMs?: number | undefined;
  /**
   * `spill` (default): a message is stored when the socket does not deliver it. `always`: every
   * message is stored, and takes the queue; what was accepted never depends on this process.
   */
  durability?: 'spill' | 'always' | undefined;
  /** Messages that may be neither handled nor stored. Default 65536. */
  maxPending?: number | undefined;
  /**
   * About the length of their JSON texts together, in UTF-16 units. Default 64 Mi. Those of the
   * commit under way, at most some 4 Mi of them or one message, are in memory once more.
   */
  maxPendingLength?: number | undefined;
  /**
   * What `publish()` does when that is reached. `block` (default): it waits for room, as part of
   * `timeoutMs`; at most as many messages again may wait. `reject`: `ERR_IPC_BUFFER_FULL`.
   */
  overflow?: 'block' | 'reject' | undefined;
  /**
   * Keeps the order per key: while messages of a key are in the queue, the ones that follow go
   * there too, and before one does, the earlier ones are stored. The queue delivers by timestamp:
   * leave it out, or let it not fall within a key. Messages for which this returns undefined have no
   * order.
   */
  orderKey?: ((message: PublishableMessage) => string | undefined) | undefined;
  /**
   * What to do with a server of the original package that sends no replies. `received` (default):
   * a message that it has read is accepted, which is all that can be known. `queue`: messages take
   * the queue.
   */
  legacyServer?: 'received' | 'queue' | undefined;
  /** Longest message on the socket, in bytes of JSON; longer ones take the queue. Default 64 MiB. */
  maxFrameBytes?: number | undefined;
  /** Time that one attempt to connect may take. Default 5000. */
  connectTimeout?: number | undefined;
  /** Milliseconds that storing waits for another process's lock before it fails, when the process ends. Default 250. */
  busyTimeoutMs?: number | undefined;
}

/** Events of `HybridPublisher`, with what listeners receive. */
export interface HybridPublisherEvents {
  /** Messages take the queue from now on, because of this. */
  failover: [reason: IpcError];
  /** They take the socket again. `stored` messages took the queue meanwhile. */
  recovered: [info: { stored: number; outageMs: number }];
  /** Messages were stored: those of one commit, and all since the last time the socket worked. */
  backlog: [info: { stored: number; total: number }];
  /**
   * Storing failed and is tried again after `waitMs`; at once, with less, where the disk is full.
   * The messages are still waiting.
   */
  error: [error: IpcError, info: { waitMs: number }];
}

/** Counters of `HybridPublisher`. */
export interface HybridPublisherStats {
  /**
   * `connecting`: there has been no answer yet, messages wait; `socket`; `queue`: the socket does
   * not work; `closed`.
   */
  mode: 'connecting' | 'socket' | 'queue' | 'closed';
  /** Messages neither handled nor stored yet. */
  pending: number;
  /** About the length of their JSON texts, in UTF-16 units. */
  pendingLength: number;
  /** Messages that wait for room. */
  waiting: number;
  /** Messages accepted by the socket. */
  viaSocket: number;
  /** Messages accepted by the queue. */
  viaQueue: number;
  /** Messages of `publish()` that rejected. */
  rejected: number;
  /** How often messages began to take the queue. */
  failovers: number;
  /** Stored messages that the consumer acknowledged after all: it received them twice. */
  lateAcknowledgements: number;
  /** Attempts to store that failed. */
  storeFailures: number;
}

/** How `publishMany()` rejects: with the first failure, and the outcome of every message. */
export class PublishManyError extends DeliveryError {
  /** In the order of the messages. */
  readonly outcomes: readonly PromiseSettledResult<PublishReceipt>[];

  constructor(first: DeliveryError, outcomes: readonly PromiseSettledResult<PublishReceipt>[]) {
    const { code, message, id, indeterminate } = first;
    super(code, message, { id, indeterminate, cause: first });
    this.name = 'PublishManyError';
    this.outcomes = outcomes;
  }
}
