require('../suites/sockets.cjs')({
  ipc: require('@flowtrace/ipc/features/unix-socket'),
  mock: jest,
  describe,
  test,
  expect,
  beforeEach,
  afterEach,
});
