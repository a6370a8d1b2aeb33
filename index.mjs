// The classes are those of the CommonJS build, so that both kinds of callers share them. The
// validation is made here, with the zod that ES modules get: zod 3 has two copies of its classes.
import * as z from 'zod';
import esm from './dist/esm.js';

const core = esm.core();

export const { IpcError, SQLiteQueue, SQLiteQueuePoller, UnixSocketClient, UnixSocketServer } =
  core;

export const { QueueMessageSchema, validateQueueMessage, safeValidateQueueMessage } =
  core.createValidation(z, core.rules);
