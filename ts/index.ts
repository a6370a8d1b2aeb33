/** What `@flowtrace/ipc` exports to callers of `require`. */
export * from './sqlite-queue-core.js';
export * from './unix-socket.js';
export * from './validation-cjs.js';
