/** What `@flowtrace/ipc/features/sqlite-queue` exports to callers of `require`. */
export * from './sqlite-queue-core.js';
export * from './validation-cjs.js';
