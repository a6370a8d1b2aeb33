'use strict';

module.exports = require('../../dist/hybrid.js');
