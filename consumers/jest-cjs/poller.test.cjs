require('../suites/poller.cjs')({
  ipc: require('@flowtrace/ipc/features/sqlite-queue'),
  mock: jest,
  describe,
  test,
  expect,
  beforeEach,
  afterEach,
});
