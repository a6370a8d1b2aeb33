'use strict';

module.exports = require('../../dist/bundle.js').hybrid;

// The names that ES modules see which import this file by its path: Node reads them off the text.
0 &&
  (module.exports = { DeliveryError, HybridConsumer, HybridPublisher, IpcError, PublishManyError });
