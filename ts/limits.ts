import { addon } from './native.js';

/** What `src/limits.rs` defines: every default and every bound, once. The unit ends the name. */
interface Limits {
  readonly frameBytesMax: number;
  readonly textBytesMax: number;
  readonly serverOutboundBytesMax: number;
  readonly clientOutboundBytesMax: number;
  readonly requestTimeoutMs: number;
  readonly ackWindow: number;
  readonly ackWindowLength: number;
  readonly ackTimeoutMs: number;
  readonly helloTimeoutMs: number;
  readonly helloPatienceMs: number;
  readonly helloPollMs: number;
  readonly legacyPollMs: number;
  readonly controlBytesMax: number;
  readonly refusalTextLengthMax: number;
  readonly payloadBytesMax: number;
  readonly nameBytesMax: number;
  readonly consumerConcurrency: number;
  readonly dedupWindow: number;
  readonly gateIdLengthMax: number;
  readonly spillAfterMs: number;
  readonly publishTimeoutMs: number;
  readonly publishedMax: number;
  readonly publishedLengthMax: number;
  readonly spillRetryDelayMs: number;
  readonly spillRetryDelayMsMax: number;
  readonly publisherReconnectDelayMs: number;
  readonly publisherReconnectDelayMsMax: number;
  readonly orderPollMs: number;
  readonly orderPollMsMax: number;
  readonly orderPollKeys: number;
  readonly orderIdsMax: number;
  readonly sendBatchSize: number;
  readonly flushIntervalMs: number;
  readonly bufferedItemsMax: number;
  readonly healthPendingMax: number;
  readonly healthPendingAgeMsMax: number;
  readonly healthFailuresInRowMax: number;
  readonly requestRetryDelayMs: number;
  readonly lateRepliesMax: number;
  readonly reconnectDelayMsMax: number;
  readonly deadlineMs: number;
  readonly retentionHours: number;
  readonly batchSize: number;
  readonly pollIntervalMs: number;
  readonly attemptsMax: number;
  readonly retryDelayMs: number;
  readonly retryDelayMsMax: number;
  readonly leaseMs: number;
  readonly ownerNameLengthMax: number;
  readonly cleanupIntervalMs: number;
  readonly settleDelayMs: number;
  readonly settleCountMax: number;
  readonly failuresInRowMax: number;
  readonly pauseMsMax: number;
  readonly rememberedMessagesMax: number;
  readonly turnMs: number;
  readonly turnMessagesMax: number;
  readonly reserveBytes: number;
  readonly groupRequestsMax: number;
  readonly groupBytesMax: number;
}

/** Those of the core that this face uses too. */
export const limits: Limits = Object.freeze(JSON.parse(addon.limits()) as Limits);
