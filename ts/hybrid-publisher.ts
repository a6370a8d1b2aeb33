import type { SocketLevel } from './ack-sender.js';
import { MARK } from './acknowledgements.js';
import { nodeCrypto } from './builtins.js';
import { ackSender, checkSocketPath, UnixSocketClient } from './client.js';
import { type DeliveryStore, deliveryStore } from './delivery-store.js';
import { Emitter } from './emitter.js';
import { DeliveryError, IpcError, internal, invalidArgument, textOf } from './errors.js';
import { KeepAlive } from './event-loop.js';
import { abandon } from './held-messages.js';
import { limits } from './limits.js';
import { fits, type MessageBody, Notebook, release } from './message-body.js';
import { callable, DELAY_MS_MAX, describe, object, oneOf, wholeNumber } from './options.js';
import { OrderBacklog } from './order-backlog.js';
import {
  keyOf,
  Place,
  Publication,
  type PublicationHost,
  type PublishableMessage,
  type PublishReceipt,
  recordOf,
} from './publication.js';
import { PublicationRoom } from './publication-room.js';
import {
  type HybridPublisherConfig,
  type HybridPublisherEvents,
  type HybridPublisherStats,
  PublishManyError,
} from './publisher-types.js';
import { closeWithin, SQLiteQueue } from './queue.js';
import { SocketLines } from './socket-lines.js';
import { Spiller } from './spiller.js';
import type { DeadlineOptions } from './types.js';

type Mode = HybridPublisherStats['mode'];

/**
 * Publishes messages that are not lost: over the socket while the consumer acknowledges them, and
 * through the durable queue whenever it does not.
 *
 * On the healthy path nothing touches the disk: a message waits in memory until the consumer has
 * handled it, and is stored when the acknowledgement does not come in time, the connection drops,
 * or the consumer refuses it. The consumer may then receive a message twice, with the same `id`;
 * `HybridConsumer` handles it once. `docs/delivery.md` has the promise and its limits.
 *
 * Messages under way keep the process alive, an idle publisher does not. When the process exits,
 * what is under way is stored at once: after a commit that has begun, which may take a few seconds
 * on a slow disk or while another process holds the file's lock.
 */
export class HybridPublisher extends Emitter<HybridPublisherEvents> {
  readonly #client: UnixSocketClient;
  readonly #queue: SQLiteQueue;
  readonly #store: DeliveryStore;
  readonly #spiller: Spiller;
  readonly #notebook = new Notebook();
  readonly #order: OrderBacklog | undefined;
  readonly #lines = new SocketLines();
  readonly #orderKey: HybridPublisherConfig['orderKey'];
  readonly #spillAfterMs: number;
  readonly #timeoutMs: number;
  readonly #alwaysStores: boolean;
  readonly #maxFrameBytes: number;
  readonly #acceptsReceived: boolean;

  #mode: Mode = 'connecting';
  readonly #room: PublicationRoom;
  /** Those inside that wait for a connection or an acknowledgement. */
  #onSocket = 0;
  /** Stored messages whose acknowledgement came late, to be marked in the queue. */
  #late: string[] = [];
  /** Messages stored since the last `backlog` event. */
  #justStored = 0;
  readonly #keepAlive = new KeepAlive();
  readonly #prefix = nodeCrypto().randomBytes(12).toString('base64url');
  #lastId = 0;
  readonly #newId = () => `${this.#prefix}-${(++this.#lastId).toString(36)}`;
  #lastTimestamp = 0;
  readonly #now = () => {
    const now = Date.now();
    if (this.#orderKey === undefined) return now;
    // The queue delivers by timestamp: where the order counts, a clock that is set back must not
    // turn it round.
    this.#lastTimestamp = Math.max(this.#lastTimestamp, now);
    return this.#lastTimestamp;
  };
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #reconnectTimer: ReturnType<typeof setTimeout> | undefined;
  #attempts = 0;
  /** When the newest connection was made, and whether the consumer has answered on it. */
  #connection = { since: 0, isUsed: false };
  /** When messages began to take the queue, and how many have. */
  #outage = { since: 0, stored: 0 };
  /** The consumer is connected and says nothing. */
  #isStalled = false;
  #nextProbeAt = 0;
  #probe: Publication | undefined;
  #closing: Promise<void> | undefined;
  #onEmpty: (() => void) | undefined;
  readonly #counts = {
    viaSocket: 0,
    viaQueue: 0,
    rejected: 0,
    failovers: 0,
    lateAcknowledgements: 0,
    storeFailures: 0,
  };

  /**
   * Opens the queue's file, and begins to connect.
   *
   * @throws {IpcError} `ERR_IPC_INVALID_ARGUMENT`; `ERR_IPC_PATH_TOO_LONG`; as the constructor of
   * `SQLiteQueue` when the file cannot be used.
   */
  constructor(config: HybridPublisherConfig) {
    super();
    object('config', config);
    const ms = { min: 1, max: DELAY_MS_MAX };
    const count = { min: 1, max: 2 ** 32 - 1 };
    this.#spillAfterMs = wholeNumber('spillAfterMs', config.spillAfterMs, limits.spillAfterMs, ms);
    this.#timeoutMs = wholeNumber('timeoutMs', config.timeoutMs, limits.publishTimeoutMs, ms);
    // There has to be time to store it.
    this.#spillAfterMs = Math.min(this.#spillAfterMs, Math.ceil(this.#timeoutMs / 2));
    this.#room = new PublicationRoom({
      countMax: wholeNumber('maxPending', config.maxPending, limits.publishedMax, count),
      lengthMax: wholeNumber(
        'maxPendingLength',
        config.maxPendingLength,
        limits.publishedLengthMax,
        count,
      ),
      blocks: oneOf('overflow', config.overflow, ['block', 'reject']) === 'block',
    });
    this.#alwaysStores = oneOf('durability', config.durability, ['spill', 'always']) === 'always';
    this.#acceptsReceived =
      oneOf('legacyServer', config.legacyServer, ['received', 'queue']) === 'received';
    if (config.orderKey !== undefined) callable('orderKey', config.orderKey);
    this.#orderKey = config.orderKey;
    this.#maxFrameBytes = config.maxFrameBytes ?? limits.frameBytesMax;
    const { socketPath, maxFrameBytes, connectTimeout, dbPath, busyTimeoutMs } = config;
    this.#client = new UnixSocketClient({
      socketPath,
      maxFrameBytes,
      connectTimeout,
      reconnect: false,
    }).unref();
    checkSocketPath(socketPath);
    this.#client.on('disconnect', (error) => {
      if (error !== undefined) this.#disconnected(error);
    });
    this.#queue = new SQLiteQueue({ dbPath, busyTimeoutMs });
    this.#store = (this.#queue as unknown as Record<symbol, DeliveryStore>)[
      deliveryStore
    ] as DeliveryStore;
    this.#spiller = new Spiller(this.#store, {
      stored: (publication) => this.#stored(publication),
      unstorable: (publication, error) => this.#fail(publication, error),
      failed: (error, waitMs) => {
        this.#counts.storeFailures++;
        this.tell('error', error, { waitMs });
      },
    });
    if (this.#orderKey !== undefined) this.#order = new OrderBacklog(this.#store);
    if (!this.#alwaysStores) void this.#connect();
    else this.#mode = 'queue';
    register(this);
  }

  /**
   * Publishes a message. The promise resolves when a consumer has handled it, or when it is durable
   * in the queue, whichever comes first; the receipt says which.
   *
   * @throws {DeliveryError} `indeterminate` says whether the message may have been accepted after
   * all; publishing it again under the same `id` is safe. `ERR_IPC_INVALID_MESSAGE`;
   * `ERR_IPC_UNSERIALIZABLE`; `ERR_IPC_FRAME_TOO_LARGE` when it is too large for the queue too;
   * `ERR_IPC_BUFFER_FULL`; `ERR_IPC_ID_CONFLICT` when the queue has another type or payload under
   * its id; `ERR_IPC_PUBLISHER_CLOSED`; SQLite's code or `ERR_IPC_PUBLISH_TIMEOUT` when it could
   * neither be delivered nor stored within `timeoutMs`.
   */
  publish(message: PublishableMessage): Promise<PublishReceipt> {
    return new Promise((resolve, reject) => {
      let id: string | undefined;
      let body: MessageBody = '';
      try {
        this.#assertOpen();
        const record = recordOf(
          message,
          this.#newId,
          this.#now,
          this.#notebook,
          // The mark has to find room too.
          this.#maxFrameBytes - MARK.length,
        );
        id = record.id;
        body = record.body;
        if (body.length > limits.payloadBytesMax) throw tooLarge(body.length);
        const key = keyOf(message, this.#orderKey);
        const now = performance.now();
        const publication = new Publication(
          this.#host,
          id,
          body,
          key,
          now + this.#timeoutMs,
          resolve,
          reject,
        );
        this.#admit(publication, now);
      } catch (error) {
        release(body);
        this.#counts.rejected++;
        reject(certain(error, id));
      }
    });
  }

  /**
   * Publishes messages, each as `publish()` does. Resolves with their receipts when all were
   * accepted.
   *
   * @throws {PublishManyError} when some were not; its `outcomes` tell which.
   */
  async publishMany(messages: readonly PublishableMessage[]): Promise<PublishReceipt[]> {
    if (!Array.isArray(messages)) {
      throw invalidArgument(`messages must be an array, not ${describe(messages)}`);
    }
    const outcomes = await Promise.allSettled(messages.map((message) => this.publish(message)));
    const failed = outcomes.find(({ status }) => status === 'rejected');
    if (failed !== undefined) {
      throw new PublishManyError((failed as PromiseRejectedResult).reason, outcomes);
    }
    return outcomes.map((outcome) => (outcome as PromiseFulfilledResult<PublishReceipt>).value);
  }

  /** Counters since the publisher was made. */
  stats(): HybridPublisherStats {
    return {
      mode: this.#closing === undefined ? this.#mode : 'closed',
      pending: this.#room.size,
      pendingLength: this.#room.length,
      waiting: this.#room.waiting,
      ...this.#counts,
    };
  }

  /**
   * Takes no more messages, waits for acknowledgements until the deadline, stores what is left, and
   * ends. Every `publish()` has its outcome when this resolves; while another process holds the file,
   * that takes up to `timeoutMs`.
   */
  close({ deadlineMs }: DeadlineOptions = {}): Promise<void> {
    const range = { min: 0, max: DELAY_MS_MAX };
    const deadline = wholeNumber('deadlineMs', deadlineMs, limits.deadlineMs, range);
    this.#closing ??= this.#end(deadline);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #end(deadlineMs: number): Promise<void> {
    const endsAt = performance.now() + deadlineMs;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, deadlineMs);
    });
    await Promise.race([this.#empty(), deadline]);
    clearTimeout(timer);
    this.#failOver(new IpcError('ERR_IPC_PUBLISHER_CLOSED', 'The publisher is being closed'));
    this.#spillAll();
    await this.#empty();
    unregister(this);
    clearTimeout(this.#timer);
    clearTimeout(this.#reconnectTimer);
    this.#spiller.end();
    this.#order?.end();
    this.#client.disconnect();
    // The queue has it done before it closes, if there is time.
    void this.#markLate();
    await this.#queue[closeWithin](Math.max(endsAt - performance.now(), limits.closeGraceMs));
  }

  async #empty(): Promise<void> {
    while (!this.#room.isEmpty) {
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
    }
  }

  /** Stores everything without an outcome at once, for the end of the process. @internal */
  storeAllNow(): void {
    const publications = this.#room.takeAll();
    if (publications.length > 0) this.#spiller.storeNow(publications);
  }

  // --- who is let in ---------------------------------------------------------------------------

  #assertOpen(): void {
    if (this.#closing !== undefined) {
      throw new IpcError('ERR_IPC_PUBLISHER_CLOSED', 'The publisher is closed');
    }
  }

  #admit(publication: Publication, now: number): void {
    if (this.#room.admit(publication)) this.#enter(publication, now);
    else this.#schedule(publication.deadline);
  }

  #enter(publication: Publication, now: number): void {
    if (this.#room.size === 1) this.#keepAlive.active = true;
    // Whatever waited for room still has to have the time to be stored.
    publication.spillAt = Math.min(
      now + this.#spillAfterMs,
      Math.max(now, publication.deadline - this.#spillAfterMs),
    );
    this.#route(publication, now);
  }

  #letIn(): void {
    for (let next = this.#room.letIn(); next !== undefined; next = this.#room.letIn()) {
      this.#enter(next, performance.now());
    }
  }

  // --- which way a message takes ---------------------------------------------------------------

  #route(publication: Publication, now: number): void {
    const { key, body } = publication;
    const follows = key !== undefined && this.#order?.has(key) === true;
    const isLong = !fits(body, this.#maxFrameBytes - MARK.length);
    if (this.#alwaysStores || follows || isLong) {
      this.#toQueue(publication);
    } else if (this.#mode === 'connecting') {
      this.#put(publication, Place.Socket);
      this.#schedule(publication.spillAt);
    } else if (this.#mode === 'socket' || this.#mayProbe(publication, now)) {
      this.#toSocket(publication);
    } else {
      this.#toQueue(publication);
    }
  }

  #toSocket(publication: Publication): void {
    const acks = this.#client[ackSender]();
    if (acks === undefined || !acks.admits(publication.body)) {
      this.#toQueue(publication);
      return;
    }
    this.#put(publication, Place.Socket);
    this.#schedule(publication.spillAt);
    acks.send(publication);
  }

  #toQueue(publication: Publication): void {
    for (const each of this.#lines.with(publication)) this.#spill(each);
  }

  #spill(publication: Publication): void {
    const { key, id } = publication;
    this.#put(publication, Place.Queue);
    if (publication.number === 0) {
      // Not a byte of it has left: then it need not, and cannot arrive twice.
      abandon(publication);
      if (publication === this.#probe) this.#probe = undefined;
    }
    if (key !== undefined) this.#order?.add(key, id);
    this.#schedule(publication.deadline);
    this.#spiller.add(publication);
  }

  #put(publication: Publication, place: Place): void {
    if (publication.place === place) return;
    if (publication.place === Place.Socket) {
      this.#onSocket--;
      this.#lines.remove(publication);
    }
    publication.place = place;
    if (place !== Place.Socket) return;
    this.#onSocket++;
    this.#lines.add(publication);
  }

  #spillAll(): void {
    for (const publication of this.#room.inside()) {
      if (publication.place === Place.Socket) this.#toQueue(publication);
    }
  }

  // --- what becomes of it ----------------------------------------------------------------------

  readonly #host: PublicationHost = {
    acknowledged: (publication, level) => this.#acknowledged(publication, level),
    undelivered: (publication, error) => {
      if (publication === this.#probe) this.#probe = undefined;
      if (error.code === 'ERR_IPC_REFUSED') {
        this.#connection.isUsed = true;
        if (this.#isStalled) this.#hasSpoken(publication);
      }
      if (publication.place !== Place.Socket) return;
      publication.failure = error;
      this.#toQueue(publication);
    },
  };

  #acknowledged(publication: Publication, level: SocketLevel): void {
    if (publication === this.#probe) this.#probe = undefined;
    this.#connection.isUsed = true;
    if (level === 'received' && !this.#acceptsReceived) {
      const text = 'The server of the original package cannot say what it has handled';
      this.#failOver(new IpcError('ERR_IPC_NOT_ACKNOWLEDGED', text));
      this.#isStalled = false;
      if (publication.place === Place.Socket) this.#toQueue(publication);
      return;
    }
    if (this.#isStalled) this.#hasSpoken(publication);
    if (publication.place === Place.Socket) {
      this.#counts.viaSocket++;
      this.#accept(publication, { id: publication.id, via: 'socket', level });
      return;
    }
    if (level !== 'handled') return;
    // It is in the queue, or about to be, and need not be handled again.
    this.#counts.lateAcknowledgements++;
    const { key, id, place } = publication;
    if (place === Place.Queue) {
      this.#counts.viaSocket++;
      this.#accept(publication, { id, via: 'socket', level });
    }
    if (key !== undefined) this.#order?.remove(key, id);
    if (this.#late.length === 0) SETTLED.then(() => this.#markLate());
    this.#late.push(id);
  }

  /** Nothing depends on it: a message that stays in the queue is merely received once more. */
  async #markLate(): Promise<void> {
    const late = this.#late;
    this.#late = [];
    if (late.length > 0) await this.#store.markHandled(late).catch(() => {});
  }

  #stored(publication: Publication): void {
    const { key, id, place } = publication;
    if (place === Place.Done) return;
    if (key !== undefined) this.#order?.stored(key, id);
    this.#counts.viaQueue++;
    this.#outage.stored++;
    if (this.#justStored === 0) SETTLED.then(this.#tellBacklog);
    this.#justStored++;
    this.#accept(publication, { id, via: 'queue', level: 'durable' });
  }

  readonly #tellBacklog = (): void => {
    const stored = this.#justStored;
    this.#justStored = 0;
    this.tell('backlog', { stored, total: this.#outage.stored });
  };

  #accept(publication: Publication, receipt: PublishReceipt): void {
    this.#leave(publication);
    publication.resolve(receipt);
  }

  #fail(publication: Publication, error: IpcError): void {
    if (publication.place === Place.Done) return;
    const { id, key, number, isStoredPerhaps } = publication;
    const indeterminate = number > 0 || isStoredPerhaps;
    abandon(publication);
    if (publication === this.#probe && number === 0) this.#probe = undefined;
    this.#leave(publication);
    if (key !== undefined) this.#order?.remove(key, id);
    this.#counts.rejected++;
    publication.reject(
      new DeliveryError(error.code, error.message, { id, indeterminate, cause: error }),
    );
  }

  #leave(publication: Publication): void {
    this.#put(publication, Place.Done);
    this.#room.leave(publication);
    publication.giveUp();
    if (this.#room.waiting > 0) this.#letIn();
    if (this.#room.size > 0) return;
    this.#keepAlive.active = false;
    this.#onEmpty?.();
  }

  // --- the connection --------------------------------------------------------------------------

  async #connect(): Promise<void> {
    try {
      await this.#client.connect();
    } catch (error) {
      this.#connectLater();
      this.#failOver(error as IpcError);
      return;
    }
    if (this.#closing !== undefined && this.#room.size === 0) return;
    this.#connection = { since: performance.now(), isUsed: false };
    this.#isStalled = false;
    this.#recover();
    for (const publication of this.#room.inside()) {
      if (publication.place === Place.Socket && publication.number === 0) {
        this.#toSocket(publication);
      }
    }
  }

  #disconnected(error: IpcError): void {
    const { since, isUsed } = this.#connection;
    // Whoever takes connections and hangs up at once is asked ever less often: each of them costs
    // the messages that it is given a detour.
    const lasted = performance.now() - since >= limits.publisherReconnectDelayMsMax;
    if (isUsed || lasted) this.#attempts = 0;
    this.#connectLater();
    this.#failOver(error);
  }

  #connectLater(): void {
    if (this.#closing !== undefined) return;
    const { publisherReconnectDelayMs: base, publisherReconnectDelayMsMax: max } = limits;
    // Half of the wait is random, so that publishers do not come back together.
    const ceiling = Math.min(base * 2 ** Math.min(this.#attempts++, 30), max);
    const wait = ceiling * (0.5 + Math.random() / 2);
    this.#reconnectTimer = setTimeout(() => void this.#connect(), wait);
    (this.#reconnectTimer as { unref?: () => void }).unref?.();
  }

  #failOver(reason: IpcError): void {
    if (this.#mode === 'queue') return;
    this.#mode = 'queue';
    this.#outage = { since: performance.now(), stored: 0 };
    if (this.#closing === undefined) this.#counts.failovers++;
    for (const publication of this.#room.inside()) {
      // What has left may still be acknowledged; the end of its connection tells it.
      if (publication.place === Place.Socket && publication.number === 0) {
        publication.failure = reason;
        this.#toQueue(publication);
      }
    }
    if (this.#closing === undefined) this.tell('failover', reason);
  }

  #recover(): void {
    const wasDown = this.#mode === 'queue';
    this.#mode = 'socket';
    if (!wasDown || this.#closing !== undefined) return;
    const outageMs = performance.now() - this.#outage.since;
    this.tell('recovered', { stored: this.#outage.stored, outageMs });
  }

  /** While the consumer is connected and silent, one message at a time tries whether it still is. */
  #mayProbe(publication: Publication, now: number): boolean {
    if (!this.#isStalled || this.#probe !== undefined || now < this.#nextProbeAt) return false;
    this.#probe = publication;
    this.#nextProbeAt = now + this.#spillAfterMs;
    publication.isProbe = true;
    return true;
  }

  #hasSpoken(publication: Publication): void {
    const onWire = this.#client[ackSender]()?.onWire ?? 0;
    if (onWire > 0 && !publication.isProbe) return;
    this.#isStalled = false;
    this.#recover();
  }

  // --- time ------------------------------------------------------------------------------------

  #schedule(at: number): void {
    if (at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    const wait = Math.max(0, Math.ceil(at - performance.now()));
    this.#timer = setTimeout(() => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      // After the sockets were read: an acknowledgement that is there must not come too late only
      // because this process was held up.
      setImmediate(() => this.#look());
    }, wait);
    (this.#timer as { unref?: () => void }).unref?.();
  }

  /** Stores what waited too long for its acknowledgement, and gives up what ran out of time. */
  #look(): void {
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    let stalled: Publication | undefined;
    for (const publication of this.#room.inside()) {
      // The outcome of another may have been its outcome too.
      if (publication.place === Place.Done) continue;
      if (now >= publication.deadline) {
        this.#fail(publication, publication.failure ?? timeOut(this.#timeoutMs));
      } else if (publication.place === Place.Queue) {
        next = Math.min(next, publication.deadline);
        // All that follow have a later one.
        if (this.#onSocket === 0) break;
      } else if (now >= publication.spillAt) {
        stalled ??= publication;
        this.#toQueue(publication);
        next = Math.min(next, publication.deadline);
      } else {
        // All that follow came later.
        next = Math.min(next, publication.spillAt);
        break;
      }
    }
    for (let late = this.#room.expire(now); late !== undefined; late = this.#room.expire(now)) {
      late.place = Place.Done;
      late.giveUp();
      this.#counts.rejected++;
      late.reject(certain(timeOut(this.#timeoutMs), late.id));
    }
    next = Math.min(next, this.#room.deadline);
    if (stalled !== undefined && this.#mode !== 'queue') {
      this.#isStalled = this.#mode === 'socket';
      this.#nextProbeAt = now + this.#spillAfterMs;
      const text = `Connection gave no acknowledgement within ${this.#spillAfterMs}ms`;
      this.#failOver(new IpcError('ERR_IPC_NOT_ACKNOWLEDGED', text));
    }
    if (next < Number.POSITIVE_INFINITY) this.#schedule(next);
    if (this.#room.isEmpty) this.#onEmpty?.();
  }
}

const SETTLED = Promise.resolve();

/** The publishers of this environment that have not been closed: what they hold is stored at exit. */
const open = new Set<HybridPublisher>();

function register(publisher: HybridPublisher): void {
  if (open.size === 0) process.on('exit', storeAll);
  open.add(publisher);
}

function unregister(publisher: HybridPublisher): void {
  open.delete(publisher);
  if (open.size === 0) process.removeListener('exit', storeAll);
}

function storeAll(): void {
  for (const publisher of open) publisher.storeAllNow();
}

function timeOut(timeoutMs: number): IpcError {
  const text = `The message was neither handled nor stored within ${timeoutMs}ms`;
  return new IpcError('ERR_IPC_PUBLISH_TIMEOUT', text);
}

function tooLarge(length: number): IpcError {
  return new IpcError(
    'ERR_IPC_FRAME_TOO_LARGE',
    `The message is too large: ${length} letters of JSON`,
  );
}

/** The error of a message that was certainly not accepted. */
function certain(error: unknown, id: string | undefined): DeliveryError {
  const { code, message, cause } =
    error instanceof IpcError ? error : internal(textOf(error), error);
  return new DeliveryError(code, message, { id, indeterminate: false, cause });
}
