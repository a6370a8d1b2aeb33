// Compiled, never run: how services use the types, as a CommonJS and as an ES module.

import type {
  DeadLetter,
  DeadlineOptions,
  GapLoadOptionsDTO,
  GapLoadPayload,
  GapRecordDTO,
  IPCClient,
  IPCClientConfig,
  IPCMessage,
  IPCServer,
  IPCServerConfig,
  QueueStats,
  RequestResponseHandler,
  RuntimeDatabaseConfig,
  RuntimeDatabasePollerConfig,
  RuntimeDB,
  RuntimeDBPoller,
  StateEntryDTO,
  StateResponse,
  UnixSocketClientStats,
  UnixSocketServerConfig,
} from '@flowtrace/ipc';
import * as root from '@flowtrace/ipc';
import {
  type RuntimeDatabase,
  RuntimeDatabasePoller,
} from '@flowtrace/ipc/features/runtime-database';
import type {
  PollableQueue,
  QueueConfig,
  QueueMessage,
  QueueMessageHandler,
} from '@flowtrace/ipc/features/sqlite-queue';
import {
  QueueMessageSchema,
  SQLiteQueue,
  SQLiteQueuePoller,
  safeValidateQueueMessage,
  type validateQueueMessage,
} from '@flowtrace/ipc/features/sqlite-queue';
import type {
  MessageHandler,
  RequestHandler,
  UnixSocketClientConfig,
} from '@flowtrace/ipc/features/unix-socket';
import { IpcError, UnixSocketClient, UnixSocketServer } from '@flowtrace/ipc/features/unix-socket';
import { z } from 'zod';

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const holds = <_Claim extends true>(): void => {};

// A class is the same type, whichever entry point it comes from.
holds<Equal<root.SQLiteQueue, SQLiteQueue>>();
holds<Equal<root.UnixSocketClient, UnixSocketClient>>();
holds<Equal<typeof root.UnixSocketServer, typeof UnixSocketServer>>();

/** A message of a service, an interface without an index signature. */
interface Candle {
  id: string;
  type: 'candle:complete';
  payload: { symbol: string; close: number };
  timestamp: number;
}

// Handlers may ask for a narrower message, be asynchronous, and ignore what they get.
export const narrow: MessageHandler = (candle: Candle) => candle.payload.close;
export const wide: MessageHandler = async (message) => message.payload.symbol;
export const silent: MessageHandler = () => {};
export const answer: RequestHandler = async (message: IPCMessage) => ({
  success: true,
  data: message.payload,
});
export const queued: QueueMessageHandler = async (message: Candle) => {
  message.payload.symbol.toUpperCase();
};

export class Publisher {
  readonly #client: UnixSocketClient;
  private readonly queue: SQLiteQueue;

  constructor(config: UnixSocketClientConfig, { dbPath, retentionHours = 24 }: QueueConfig) {
    this.#client = new UnixSocketClient(config);
    this.queue = new SQLiteQueue({ dbPath, retentionHours });
  }

  async publish(candle: Candle): Promise<'socket' | 'queue'> {
    try {
      await this.#client.connect({ signal: AbortSignal.timeout(1000) });
      await this.#client.send(candle);
      const reply = await this.#client.request<{ success: boolean }>(candle, { timeoutMs: 100 });
      return reply.success ? 'socket' : 'queue';
    } catch (error) {
      if (error instanceof IpcError && error.code === 'ERR_IPC_NOT_CONNECTED') {
        this.queue.enqueue(candle);
      } else if (error instanceof Error && error.message.includes('Connection')) {
        await this.queue.enqueueAsync(candle);
      }
      return 'queue';
    }
  }

  async stop(options: DeadlineOptions = {}): Promise<void> {
    await poller.stop(options);
    const stats: UnixSocketClientStats = this.#client.stats();
    await this.#client.close({ deadlineMs: stats.pendingRequests > 0 ? 1000 : 0 });
    this.queue.close();
  }
}

export class Consumer extends UnixSocketServer {
  readonly poller: SQLiteQueuePoller;

  constructor(config: UnixSocketServerConfig, queue: PollableQueue) {
    super(config);
    this.poller = new SQLiteQueuePoller({ queue, pollInterval: 10, onMessage: queued });
    this.setMessageHandler(narrow);
    this.setRequestHandler(answer);
    this.on('error', (error, connection) => [error, connection?.pid])
      .once('disconnect', (connection, error) => [connection.uid, error?.code])
      .off('listening', () => {});
    this.poller.on('deadLetter', (message, { attempts }) => [message.id, attempts]);
  }
}

// What services inject in their tests.
const stored: QueueMessage[] = [];
export const poller = new SQLiteQueuePoller({
  queue: {
    dequeue: (batchSize = 50) => stored.slice(0, batchSize),
    markProcessed: async (id: string) => id,
    cleanup: () => 0,
  },
  onMessage: async (message) => {
    const payload: { symbol: string } = message.payload;
    payload.symbol.trim();
  },
});
export const cast = new SQLiteQueuePoller({
  queue: {} as unknown as SQLiteQueue,
  onMessage: () => {},
});

export async function scoped(dbPath: string): Promise<QueueStats> {
  using queue = new SQLiteQueue({ dbPath, durability: 'normal', validate: true });
  await using server = new UnixSocketServer({ socketPath: '/run/ipc.sock', mode: 0o660 });
  await server.start();
  const letters: DeadLetter[] = queue.deadLetters({ limit: 1 });
  queue.redrive(letters.flatMap(({ id }) => id ?? []));
  for (const claim of queue.claim({ limit: 1 })) queue.complete(claim);
  return queue.stats();
}

// The factories, and the interfaces that services keep what they made in.
holds<Equal<root.RuntimeDatabase, RuntimeDatabase>>();
export const reply: RequestResponseHandler = async (message) => ({ data: message.payload });

export class Persistence {
  private readonly server: IPCServer;
  private readonly client: IPCClient;
  private readonly db: RuntimeDB;
  private readonly poller: RuntimeDBPoller;

  constructor(
    server: IPCServerConfig,
    client: IPCClientConfig,
    database: RuntimeDatabaseConfig,
    polling: Omit<RuntimeDatabasePollerConfig, 'database'>,
  ) {
    this.server = root.createIPCServer(server);
    this.client = root.createIPCClient(client);
    this.db = root.createRuntimeDatabase(database);
    this.poller = root.createRuntimeDatabasePoller({ ...polling, database: this.db });
    this.server.setRequestHandler(reply);
    this.poller.setOnMessage(queued);
  }

  async run(symbols: string[]): Promise<string | null> {
    await Promise.all([this.server.start(), this.client.connect(), this.poller.start()]);
    const state = { exchange: 'binance', symbol: 'BTCUSDT', stateJson: '{}' };
    this.db.saveState(state.exchange, state.symbol, state.stateJson);
    this.db.saveStateBatch([state, ...this.db.loadStatesBatch('binance', symbols)]);
    const { exchange, symbol } = state;
    const gap = { exchange, symbol, fromTradeId: 1, toTradeId: 9, gapSize: 7, detectedAt: 1 };
    this.db.saveGapBatch([gap]);
    const synced: (number | null)[] = this.db.loadGaps({ exchange }).map((gap) => gap.syncedAt);
    this.db.markGapsSynced(this.db.loadGaps({ syncedOnly: false }).map(({ id }) => id));
    return synced.length > 0 ? this.db.loadState(exchange, symbol) : null;
  }
}

// What comes on the wire goes into the database and back, and all of it into a logger.
export class Wire {
  constructor(
    private readonly db: RuntimeDB,
    private readonly log: (line: Record<string, unknown>) => void,
  ) {}

  gaps(payload: GapLoadPayload): GapRecordDTO[] {
    const { exchange, symbol, syncedOnly } = payload;
    const options: GapLoadOptionsDTO = { exchange, symbol, syncedOnly };
    const gaps: GapRecordDTO[] = [...this.db.loadGaps(options), ...this.db.loadGaps(payload)];
    gaps.forEach(this.log);
    return gaps;
  }

  states(exchange: string): StateResponse {
    const data: StateEntryDTO[] = this.db.loadStatesByExchange(exchange);
    const response: StateResponse = { success: true, data };
    for (const line of [...this.db.loadAllStates(), ...this.db.dequeue(), response]) this.log(line);
    return response;
  }
}

/** A service's own mock has what the interface asks for, and nothing else. */
export const mock: RuntimeDB = {
  enqueue: () => {},
  dequeue: () => [],
  markProcessed: () => {},
  cleanup: () => 0,
  saveState: () => {},
  saveStateBatch: () => {},
  loadState: () => null,
  loadStatesBatch: () => [],
  loadAllStates: () => [],
  loadStatesByExchange: () => [],
  saveGap: () => {},
  saveGapBatch: () => {},
  loadGaps: () => [],
  markGapsSynced: () => {},
  getSchemaVersion: () => 5,
  close: () => {},
};
export const mocked = new RuntimeDatabasePoller({ database: mock, onMessage: queued });

// The schema is one of the service's own zod, and composes with the service's own schemas.
const batch = z.object({ messages: z.array(QueueMessageSchema), sender: z.string() });
type Batch = z.infer<typeof batch>;
holds<Equal<Batch['messages'][number]['id'], string>>();
export const messages: QueueMessage[] = batch.parse({}).messages;
export const extended = QueueMessageSchema.extend({ shard: z.number().int() }).partial();
holds<Equal<z.infer<typeof QueueMessageSchema>, QueueMessage>>();
holds<Equal<ReturnType<typeof validateQueueMessage>, QueueMessage>>();

export function issues(data: unknown): string[] {
  const result = safeValidateQueueMessage(data);
  if (result.success) {
    const message: QueueMessage = result.data;
    return [message.id];
  }
  const error: z.ZodError = result.error;
  return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
}
