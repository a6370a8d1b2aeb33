require('../suites/runtime.cjs')({
  ipc: require('@flowtrace/ipc'),
  z: require('zod'),
  mock: jest,
  describe,
  test,
  expect,
  beforeEach,
  afterEach,
});
