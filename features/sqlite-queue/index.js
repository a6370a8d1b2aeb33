'use strict';

module.exports = require('../../dist/sqlite-queue.js');
