import esm from '../../dist/esm.js';

export const { DeliveryError, HybridConsumer, HybridPublisher, IpcError, PublishManyError } =
  esm.core();
