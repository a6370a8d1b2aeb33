'use strict';

module.exports = require('../../dist/unix-socket.js');
