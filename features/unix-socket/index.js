'use strict';

module.exports = require('../../dist/bundle.js').unixSocket;
