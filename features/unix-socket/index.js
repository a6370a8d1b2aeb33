'use strict';

module.exports = require('../../dist/bundle.js').unixSocket;

// The names that ES modules see which import this file by its path: Node reads them off the text.
0 && (module.exports = { DeliveryError, IpcError, UnixSocketClient, UnixSocketServer });
