/**
 * The only file that loads the native addon. The interfaces describe what `src/binding/` exports.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { IpcError } from './errors.js';

/** The first number of each event; see `Kind` in `src/binding/events.rs`. */
export enum EventKind {
  Shapes,
  ShapesForgotten,
  Frames,
  BadFrame,
  Connected,
  ConnectFailed,
  Disconnected,
  RetryScheduled,
  Flushed,
  Accepted,
  Refused,
  PeerClosed,
  AcceptFailed,
  Stopped,
  Completed,
  Claimed,
  Doorbell,
}

export interface NativeServerOptions {
  path: string;
  mode?: number | undefined;
  maxConnections?: number | undefined;
  maxFrameBytes?: number | undefined;
  frameTimeoutMs?: number | undefined;
  highWaterMark?: number | undefined;
  maxOutboundBytes?: number | undefined;
  allowedUids?: number[] | undefined;
  /** Given: messages have to satisfy the schema, as the zod with these properties would judge. */
  validate?: NativeDialect | undefined;
}

/** What the core has to know of a zod to judge as it does. */
export interface NativeDialect {
  infinityIsNumber: boolean;
  safeIntegers: boolean;
}

export interface NativeClientOptions {
  path: string;
  connectTimeoutMs?: number | undefined;
  refusalGraceMs?: number | undefined;
  /** Negative: never reconnect. */
  reconnectDelayMs?: number | undefined;
  maxReconnectDelayMs?: number | undefined;
  maxFrameBytes?: number | undefined;
  maxOutboundBytes?: number | undefined;
}

export interface NativeServerStats {
  connections: number;
  accepted: number;
  refused: number;
  framesReceived: number;
  badFrames: number;
  bytesReceived: number;
  framesSent: number;
  outboundBytes: number;
  inFlight: number;
  stalledConnections: number;
}

/** How far a client and its server have read each other, in bytes. */
export interface NativeProgress {
  /** What the server has not read; 0 exactly when it has read everything. */
  unread: number;
  /** Grows only if the server reads, whatever is sent meanwhile. */
  readAtLeast: number;
  /** What has arrived and was not handed over. */
  unseen: number;
  /** What was received since the connection was made. */
  received: number;
  /** How many frames that was. */
  frames: number;
}

export interface NativeClientStats {
  connections: number;
  framesSent: number;
  framesReceived: number;
  bytesReceived: number;
  outboundBytes: number;
}

/** Messages and their shapes in one buffer, in the form of `src/values/mod.rs`. */
export type NativeValues = [
  bytes: Uint8Array,
  begin: number,
  end: number,
  shapesBegin: number,
  shapesEnd: number,
];

export type TakeValues<Result> = (...values: NativeValues) => Result;

export interface NativeHub {
  setKeepAlive(alive: boolean): void;
  listen(options: NativeServerOptions): number;
  stop(server: number, deadlineMs: number): void;
  releasePaths(): void;
  /** Ends it: every socket is closed, and no other method may be called. */
  close(): void;
  /** So many more messages of a server's connection are done. */
  settle(server: number, connection: number, count: number): void;
  serverStats(server: number): NativeServerStats | null;
  disconnectPeer(connection: number): void;
  client(options: NativeClientOptions): number;
  connect(client: number): void;
  disconnect(client: number): void;
  dropClient(client: number): void;
  /** 1 if it is, else 0. */
  isConnected(client: number): number;
  setListening(client: number, listening: boolean): void;
  clientStats(client: number): NativeClientStats | null;
  /** Null if it cannot be known. */
  progress(client: number): NativeProgress | null;
  write(connection: number, text: string): number;
  /** As `write`, of the text that the first `length` bytes are, in UTF-8. */
  writeBytes(connection: number, bytes: Uint8Array, length: number): number;
  /** As `write`, of messages that a `ValueBuffer` holds. */
  writeValues(connection: number, ...values: NativeValues): number;
}

export interface NativeQueueOptions {
  path: string;
  fullDurability: boolean;
  busyTimeoutMs?: number | undefined;
  /** Given: messages have to satisfy the schema, as the zod with these properties would judge. */
  validate?: NativeDialect | undefined;
  /** Whether the file is a runtime database; else the methods about states and gaps throw. */
  runtime: boolean;
}

/** Methods that end in `Later` run on the worker thread; `Completed` brings their result. */
export interface NativeQueue {
  readonly key: number;
  enqueue(id: string, type: string, payload: string, timestamp: number, idempotent: boolean): void;
  enqueueMany(...args: [...values: NativeValues, idempotent: boolean]): number;
  /** Answers `[[place, code, text], …]` for those of the messages that are not stored. */
  enqueueLater(...args: [ticket: number, ...values: NativeValues, idempotent: boolean]): void;
  /** Answers a package, see `ts/value-reader.ts`. */
  dequeue(limit: number): ArrayBuffer;
  /** Has the next package of `dequeue` or `claim` define all its shapes anew. */
  forgetShapes(): void;
  markProcessed(id: string): void;
  markProcessedMany(ids: string[]): number;
  cleanup(retentionHours: number): number;
  claim(
    limit: number,
    leaseMs: number,
    attemptsMax: number,
    name?: string,
    leastTried?: boolean,
  ): ArrayBuffer;
  complete(id: string, token: number): boolean;
  fail(
    id: string,
    token: number,
    error: string,
    attemptsMax: number,
    retryDelayMs: number,
    retryDelayMsMax: number,
  ): string;
  release(id: string, token: number): boolean;
  extend(id: string, token: number, leaseMs: number): boolean;
  deadLetters(limit: number, offset: number): string;
  redrive(ids?: string[]): number;
  purgeDead(ids?: string[]): number;
  stats(exact: boolean): string;
  compact(): void;
  /**
   * `Claimed` brings the claims, and tells whether they ended in front of a
   * message that is to be delivered alone, or consist of one, as `alone` permits. With
   * `leastTried` those come first of which the fewest deliveries were begun. Their shapes are numbered
   * apart from those of the other packages; `forgetShapes` has all of them defined anew.
   */
  claimLater(
    ticket: number,
    limit: number,
    leaseMs: number,
    attemptsMax: number,
    alone: boolean,
    leastTried: boolean,
    forgetShapes: boolean,
  ): void;
  settle(request: string): string;
  settleLater(ticket: number, request: string): void;
  extendLater(ticket: number, claims: string, leaseMs: number): void;
  /**
   * As `enqueueLater`, whatever the timestamp of what is stored already. The records are JSON texts.
   */
  deliverLater(ticket: number, records: readonly string[]): void;
  /** Waits, at most `limits.deadlineMs`, for what the worker thread has begun. */
  finishWorker(): void;
  /** As `deliverLater`, now: all or none. */
  deliverMany(records: readonly string[]): void;
  /** `ids`: the JSON of an array, here and in the two below. */
  handledLater(ticket: number, ids: string, remember: boolean): void;
  /** The places of those that were handled. */
  handledAmong(ids: string): number[];
  /** The places of those whose message is pending. */
  pendingAmong(ids: string): number[];
  newestPending(): number;
  hasPendingUpTo(number: number): boolean;
  cleanupLater(ticket: number, retentionHours: number): void;
  saveState(exchange: string, symbol: string, json: string): void;
  /** `[exchange, symbol, json, exchange, symbol, json, …]` */
  saveStates(states: string[]): void;
  /** In the form of `saveStates`. */
  loadStates(exchange: string, symbols: string[]): string[];
  /** In the form of `saveStates`; without an exchange, of all. */
  loadAllStates(exchange?: string): string[];
  /** JSON: `[[exchange, symbol, fromTradeId, toTradeId, gapSize, detectedAt], …]` */
  saveGaps(gaps: string): void;
  /** From the JSON of a filter to the JSON of an array. */
  loadGaps(filter: string): string;
  /** The JSON of an array. */
  markGapsSynced(ids: string): void;
  schemaVersion(): number;
  /** Whether `Doorbell` tells of other processes' writes; false where the system cannot. */
  watch(on: boolean): boolean;
  releaseAllLater(ticket: number): void;
  /** With `wait` it blocks until the worker thread has done what it was asked. */
  close(wait: boolean): void;
  /** After `close`: nobody waits for results any more. */
  forget(): void;
}

export interface Addon {
  /** What `dispatch` is called with is told by `Arguments` in `src/binding/events.rs`. */
  NativeHub: new (
    dispatch: (
      buffer: ArrayBuffer,
      begin: number,
      count: number,
      inbox: ArrayBuffer,
      values: unknown[] | undefined,
    ) => void,
  ) => NativeHub;
  NativeQueue: new (hub: NativeHub, options: NativeQueueOptions) => NativeQueue;
  /** The JSON texts of messages, one behind the other. */
  printValues(...values: NativeValues): string;
  /** The rule table of all schemas, as JSON. */
  rules(): string;
  /** Every default and bound of `src/limits.rs` as JSON, its name in camel case. */
  limits(): string;
}

/** The builds that may fit this process, the likelier one first. */
function targets(): string[] {
  const base = `${process.platform}-${process.arch}`;
  return process.platform === 'linux' ? [`${base}-gnu`, `${base}-musl`] : [base];
}

/**
 * The build that fits this process. Only the error needs it: the report that tells glibc from
 * musl takes milliseconds to make, trying both takes none.
 */
function fittingTarget(): string {
  const [likelier, other] = targets() as [string, string?];
  if (other === undefined) return likelier;
  const report = process.report?.getReport() as
    | { header?: { glibcVersionRuntime?: string } }
    | undefined;
  return report?.header?.glibcVersionRuntime === undefined ? other : likelier;
}

function load(): Addon {
  const failures: unknown[] = [];
  for (const target of targets()) {
    const beside = join(__dirname, '..', `flowtrace-ipc.${target}.node`);
    for (const name of existsSync(beside) ? [beside] : [`@flowtrace/ipc-${target}`]) {
      try {
        return require(name) as Addon;
      } catch (error) {
        failures.push(error);
      }
    }
  }
  const target = fittingTarget();
  throw new IpcError(
    'ERR_IPC_ADDON_NOT_FOUND',
    `@flowtrace/ipc found no native addon for ${target} (Node ${process.version}). Install the ` +
      `package @flowtrace/ipc-${target}; if your package manager was told to leave out optional ` +
      'dependencies, allow them. README.md lists the platforms that have one.',
    { cause: failures.length > 1 ? new AggregateError(failures) : failures[0] },
  );
}

export const addon: Addon = load();
