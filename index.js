'use strict';

module.exports = require('./dist/bundle.js').root;

// The names that ES modules see which import this file by its path: Node reads them off the text.
0 &&
  (module.exports = {
    BatchSender,
    DeliveryError,
    HybridConsumer,
    HybridPublisher,
    IpcError,
    PublishManyError,
    RuntimeDatabase,
    RuntimeDatabasePoller,
    SQLiteQueue,
    SQLiteQueuePoller,
    UnixSocketClient,
    UnixSocketServer,
    checkHealth,
    createIPCClient,
    createIPCServer,
    createRuntimeDatabase,
    createRuntimeDatabasePoller,
  });
