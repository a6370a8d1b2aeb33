/** What `@flowtrace/ipc/features/unix-socket` exports. */
export {
  type ConnectOptions,
  type RequestOptions,
  type SendOptions,
  type SendReceipt,
  UnixSocketClient,
  type UnixSocketClientConfig,
  type UnixSocketClientEvents,
  type UnixSocketClientStats,
} from './client.js';
export { DeliveryError, IpcError } from './errors.js';
export {
  type ConnectionInfo,
  type MessageHandler,
  type RequestHandler,
  UnixSocketServer,
  type UnixSocketServerConfig,
  type UnixSocketServerEvents,
  type UnixSocketServerStats,
} from './server.js';
export type { AbortSignalLike, DeadlineOptions, IPCMessage } from './types.js';
