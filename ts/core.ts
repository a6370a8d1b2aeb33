/**
 * Everything but the validation, which needs the zod of whoever imports the package. Both kinds
 * of entry points, CommonJS and ES modules, share this file and with it every class.
 */
export * from './batch-sender.js';
export * from './factories.js';
export * from './health.js';
export * from './hybrid.js';
export { rules } from './rules.js';
export * from './runtime-database.js';
export * from './sqlite-queue-core.js';
export * from './unix-socket.js';
export { createValidation } from './validation.js';
