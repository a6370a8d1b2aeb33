require('../suites/queue.cjs')({
  ipc: require('@flowtrace/ipc/features/sqlite-queue'),
  z: require('zod'),
  mock: jest,
  describe,
  test,
  expect,
  beforeEach,
  afterEach,
});
