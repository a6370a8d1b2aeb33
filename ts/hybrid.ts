/** What `@flowtrace/ipc/features/hybrid` exports. */

export type { Delivery } from './deliveries.js';
export { DeliveryError, IpcError } from './errors.js';
export {
  type Channel,
  HybridConsumer,
  type HybridConsumerConfig,
  type HybridConsumerEvents,
  type HybridConsumerStats,
  type HybridErrorContext,
  type HybridMessageHandler,
  type MessageInfo,
} from './hybrid-consumer.js';
export { HybridPublisher } from './hybrid-publisher.js';
export type { PublishableMessage, PublishReceipt } from './publication.js';
export {
  type HybridPublisherConfig,
  type HybridPublisherEvents,
  type HybridPublisherStats,
  PublishManyError,
} from './publisher-types.js';
export type { DeadlineOptions, IPCMessage, QueueMessage } from './types.js';
