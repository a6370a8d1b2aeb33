import type { NativeQueue } from './native.js';
import { isText } from './records.js';
import type { WorkerCalls } from './worker-calls.js';

/**
 * The key under which a queue of this package offers its {@link DeliveryStore}. It is a
 * registered symbol, so that the CommonJS and the ESM copy of the package know each other's
 * queues; the number is the version of the interface.
 */
export const deliveryStore: unique symbol = Symbol.for('@flowtrace/ipc/delivery-store/1') as never;

/**
 * What the delivery layer needs of a queue beyond its public methods. Nothing here blocks on the
 * disk but what says so, and every method throws or rejects with an `IpcError`.
 */
export interface DeliveryStore {
  /**
   * Stores records without blocking, idempotently: a message that is stored already counts as
   * stored, whatever its state and its timestamp: who publishes a message once more does not know
   * the timestamp that was made for it the first time. A record is the JSON text
   * `{"id":…,"type":…,"payload":…,"timestamp":…}` of a checked message.
   *
   * All of a call share one commit. Returns one promise per record, which resolves when the
   * message survives what `durability` says, and rejects with `ERR_IPC_ID_CONFLICT` when other
   * content is stored under its id, `ERR_IPC_INVALID_MESSAGE`, or what ended the whole call:
   * `ERR_IPC_QUEUE_FULL`, `ERR_IPC_QUEUE_CLOSED`, SQLite's code.
   */
  store(records: readonly string[]): Promise<void>[];
  /**
   * Blocks until the worker thread has done what was asked of it, at most `limits.deadlineMs`: its
   * commit holds the lock that {@link storeNow} needs.
   */
  finish(): void;
  /**
   * As {@link store}, at once and in one transaction, for the end of the process: all or none. It
   * waits for the disk.
   */
  storeNow(records: readonly string[]): void;
  /**
   * Marks messages as processed, on the worker thread and after what was stored before. Pending
   * ones only; who has claimed one of them finds its claim stale, which a poller does not report.
   * Others are left as they are.
   */
  markHandled(ids: readonly string[]): Promise<void>;
  /**
   * As {@link markHandled}, and remembers the ids for the queue's retention, also those without a
   * message. Calls that wait at the same time share one commit. The commit survives the death of
   * every process; after power loss the newest may be gone, which only delivers again. On a full
   * disk it rejects with `SQLITE_FULL`: the reserve is for what is in the queue.
   */
  rememberHandled(ids: readonly string[]): Promise<void>;
  /** Those of `ids` that were handled: remembered, or processed in the queue. Reads an index. */
  handledAmong(ids: readonly string[]): string[];
  /** Those of `ids` whose message is still to be delivered. Reads an index. */
  pendingAmong(ids: readonly string[]): string[];
  /** A number of the newest message that is to be delivered, or 0 if there is none. */
  newestPending(): number;
  /** Whether a message is to be delivered that is not newer than the one with this number. */
  hasPendingUpTo(number: number): boolean;
}

/** The store of one queue: `call` runs its synchronous methods, `work` its worker thread. */
export function openDeliveryStore(
  call: <T>(run: (native: NativeQueue) => T) => T,
  work: WorkerCalls,
): DeliveryStore {
  const handled = async (ids: readonly string[], remember: boolean): Promise<void> => {
    const known = ids.filter(isText);
    if (known.length === 0) return;
    const json = JSON.stringify(known);
    await work.ask((native, ticket) => native.handledLater(ticket, json, remember));
  };
  const among = (
    ids: readonly string[],
    find: (native: NativeQueue, ids: string) => number[],
  ): string[] => {
    const known = ids.filter(isText);
    if (known.length === 0) return [];
    const json = JSON.stringify(known);
    return call((native) => find(native, json)).map((place) => known[place] as string);
  };
  return {
    store: (records) => work.store(records),
    finish: () => call((native) => native.finishWorker()),
    storeNow: (records) => {
      call((native) => native.deliverMany(records));
    },
    markHandled: (ids) => handled(ids, false),
    rememberHandled: (ids) => handled(ids, true),
    handledAmong: (ids) => among(ids, (native, json) => native.handledAmong(json)),
    pendingAmong: (ids) => among(ids, (native, json) => native.pendingAmong(json)),
    newestPending: () => call((native) => native.newestPending()),
    hasPendingUpTo: (number) => call((native) => native.hasPendingUpTo(number)),
  };
}
