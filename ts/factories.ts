/**
 * The names that services of the current generation use: factories, and interfaces of what they
 * made with them. The factories return the classes, which can do more than the interfaces say; the
 * interfaces hold what a service's own mock has to have.
 */
import { UnixSocketClient, type UnixSocketClientConfig } from './client.js';
import type { QueueMessageHandler } from './poller.js';
import {
  type GapFilter,
  type GapInput,
  type GapRecord,
  RuntimeDatabase,
  type RuntimeDatabaseConfig,
  RuntimeDatabasePoller,
  type RuntimeDatabasePollerConfig,
  type StateRecord,
} from './runtime.js';
import {
  type MessageHandler,
  type RequestHandler,
  UnixSocketServer,
  type UnixSocketServerConfig,
} from './server.js';
import type { QueueMessage } from './types.js';

/** Options of {@link createIPCServer}. */
export interface IPCServerConfig extends UnixSocketServerConfig {}

/** Options of {@link createIPCClient}. */
export interface IPCClientConfig extends UnixSocketClientConfig {}

/** Receives messages and answers them; see `RequestHandler`. */
export type RequestResponseHandler = RequestHandler;

/** What every server can do. */
export interface IPCServer {
  setMessageHandler(handler: MessageHandler): void;
  setRequestHandler(handler: RequestResponseHandler): void;
  start(): Promise<void>;
  stop(): Promise<void>;
  isListening(): boolean;
}

/** What every client can do. */
export interface IPCClient {
  connect(): Promise<void>;
  send(message: unknown): Promise<void>;
  isConnected(): boolean;
  disconnect(): void;
}

/** What every runtime database can do. */
export interface RuntimeDB {
  enqueue(message: QueueMessage): void;
  dequeue(batchSize?: number): QueueMessage[];
  markProcessed(id: string): void;
  cleanup(retentionHours?: number): number;
  saveState(exchange: string, symbol: string, stateJson: string): void;
  saveStateBatch(states: readonly StateRecord[]): void;
  loadState(exchange: string, symbol: string): string | null;
  loadStatesBatch(exchange: string, symbols: readonly string[]): StateRecord[];
  loadAllStates(): StateRecord[];
  loadStatesByExchange(exchange: string): StateRecord[];
  saveGap(gap: GapInput): void;
  saveGapBatch(gaps: readonly GapInput[]): void;
  loadGaps(filter?: GapFilter): GapRecord[];
  markGapsSynced(ids: readonly number[]): void;
  getSchemaVersion(): number;
  close(): void;
}

/** What every poller of a runtime database can do. */
export interface RuntimeDBPoller {
  setOnMessage(onMessage: QueueMessageHandler): void;
  start(): Promise<void>;
  stop(): Promise<void>;
  isRunning(): boolean;
}

/** A server on a Unix socket. @throws {IpcError} as the constructor of `UnixSocketServer`. */
export function createIPCServer(config: IPCServerConfig): UnixSocketServer {
  return new UnixSocketServer(config);
}

/** A client of such a server. @throws {IpcError} as the constructor of `UnixSocketClient`. */
export function createIPCClient(config: IPCClientConfig): UnixSocketClient {
  return new UnixSocketClient(config);
}

/** Opens a runtime database. @throws {IpcError} as the constructor of `RuntimeDatabase`. */
export function createRuntimeDatabase(config: RuntimeDatabaseConfig): RuntimeDatabase {
  return new RuntimeDatabase(config);
}

/** A poller of its queue. @throws {IpcError} as the constructor of `RuntimeDatabasePoller`. */
export function createRuntimeDatabasePoller(
  config: RuntimeDatabasePollerConfig,
): RuntimeDatabasePoller {
  return new RuntimeDatabasePoller(config);
}
