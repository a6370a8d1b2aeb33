'use strict';

module.exports = require('../../dist/runtime-database.js');
