import type { DeliveryStore } from './delivery-store.js';
import { fromNative, type IpcError } from './errors.js';
import { limits } from './limits.js';
import { Place, type Publication } from './publication.js';

/** What the publisher hears of its stored messages. */
export interface SpillerHost {
  stored(publication: Publication): void;
  /** It cannot be stored, now or later. */
  unstorable(publication: Publication, error: IpcError): void;
  /** Storing failed, and is tried again after `waitMs`. */
  failed(error: IpcError, waitMs: number): void;
}

/** Codes of failures for which a message is to blame, and a closed queue. */
const FINAL = new Set([
  'ERR_IPC_ID_CONFLICT',
  'ERR_IPC_INVALID_ARGUMENT',
  'ERR_IPC_INVALID_MESSAGE',
  'ERR_IPC_QUEUE_CLOSED',
  'SQLITE_TOOBIG',
]);

/**
 * Messages of one commit: several groups of the worker's, because after an outage so many wait that
 * the commits alone would take long. Their length is bounded by `limits.groupBytesMax`: the worker
 * thread holds them once more, also when their publisher has given them up.
 */
const COMMIT_COUNT_MAX = 8 * limits.groupRequestsMax;

/** Messages that wait before those with an outcome are looked for among them. */
const SWEEP_COUNT_MIN = 1_024;

/** By how much a commit that did not fit on the disk is made smaller. */
const SHRINKAGE = 4;

/** Commits in a row that are tried on a full disk before everything waits. */
const FULL_TRIES_MAX = 4;

/** A message with the worker thread. */
interface Storing {
  readonly publication: Publication;
  /** Whether an earlier commit may have stored it. */
  readonly wasStoredPerhaps: boolean;
}

/**
 * Stores messages in the queue, one commit after the other: those that came during one share the
 * next. While the disk is full or somebody else holds the file, everything waits, and is tried
 * again and again. Whoever has an outcome meanwhile is left out.
 *
 * A commit is all or nothing, so that one message for which the disk has no room would keep out all
 * that share its commit. Where the disk is full, less is tried, the shortest messages first.
 */
export class Spiller {
  readonly #store: DeliveryStore;
  readonly #host: SpillerHost;
  /** Messages that are not with the worker thread, the oldest first. */
  #waiting: Publication[] = [];
  /** How many may be there before those with an outcome are looked for. */
  #sweepAt = SWEEP_COUNT_MIN;
  /** Whether some messages are with the worker thread. */
  #isStoring = false;
  #isScheduled = false;
  /** How long the texts of a commit may be together. */
  #lengthMax: number = limits.groupBytesMax;
  /** Whether the disk is full: something did not fit, and what is shorter has its turn first. */
  #isCramped = false;
  /** Commits in a row that did not fit. */
  #fullTries = 0;
  #failuresInRow = 0;
  /** Why everything waits, while it does. */
  #lastFailure: IpcError | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #flush = (): void => {
    this.#isScheduled = false;
    this.#begin();
  };

  constructor(store: DeliveryStore, host: SpillerHost) {
    this.#store = store;
    this.#host = host;
  }

  /** Stores a message; `stored` or `unstorable` follows, unless it gets its outcome elsewhere. */
  add(publication: Publication): void {
    if (this.#waiting.length >= this.#sweepAt) this.#sweep();
    this.#waiting.push(publication);
    if (this.#timer !== undefined) publication.failure = this.#lastFailure;
    if (this.#isScheduled || this.#isStoring || this.#timer !== undefined) return;
    this.#isScheduled = true;
    SETTLED.then(this.#flush);
  }

  /**
   * Stores these at once, for the end of the process, when nobody is left to be told. On a full
   * disk, whatever there is room for.
   */
  storeNow(publications: readonly Publication[]): void {
    // What the worker thread has begun is stored once more, which changes nothing.
    this.#store.finish();
    let left = publications.filter(hasRecord);
    let count = left.length;
    while (left.length > 0) {
      try {
        this.#store.storeNow(left.slice(0, count).map((each) => each.record()));
        left = left.slice(count);
        count *= SHRINKAGE;
      } catch (error) {
        const isFull = (error as IpcError).code === 'SQLITE_FULL';
        if (!isFull && !isFinal(error)) return;
        if (isFull) left = shortestFirst(left);
        if (count === 1 && isFull) return;
        // If one of them is to blame, the others need not suffer.
        if (count === 1) left = left.slice(1);
        else count = Math.ceil(Math.min(count, left.length) / SHRINKAGE);
      }
    }
  }

  /** Ends the waits. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting = [];
  }

  #begin(): void {
    if (this.#isStoring || this.#timer !== undefined) return;
    const batch = this.#take();
    if (batch.length === 0) return;
    const records: string[] = [];
    const storing: Storing[] = [];
    for (const publication of batch) {
      try {
        records.push(publication.record());
      } catch (error) {
        this.#host.unstorable(publication, fromNative(error));
        continue;
      }
      // Whoever runs out of time before the answer cannot know it: a commit is not called back.
      storing.push({ publication, wasStoredPerhaps: publication.isStoredPerhaps });
      publication.isStoredPerhaps = true;
    }
    if (records.length === 0) {
      this.#begin();
      return;
    }
    this.#isStoring = true;
    const outcomes = this.#store.store(records);
    Promise.allSettled(outcomes).then((settled) => this.#answered(storing, settled));
  }

  /** Those of the next commit. */
  #take(): Publication[] {
    this.#sweep();
    if (this.#isCramped) this.#waiting = shortestFirst(this.#waiting);
    let length = 0;
    let count = 0;
    for (const publication of this.#waiting) {
      length += publication.length;
      if (count > 0 && (count === COMMIT_COUNT_MAX || length > this.#lengthMax)) break;
      count++;
    }
    const batch = this.#waiting.slice(0, count);
    this.#waiting = this.#waiting.slice(count);
    return batch;
  }

  /** Forgets those with an outcome: a commit may take longer than many messages have time. */
  #sweep(): void {
    this.#waiting = this.#waiting.filter(({ place }) => place !== Place.Done);
    this.#sweepAt = Math.max(SWEEP_COUNT_MIN, this.#waiting.length * 2);
  }

  #answered(storing: readonly Storing[], outcomes: readonly PromiseSettledResult<void>[]): void {
    this.#isStoring = false;
    const failed: Publication[] = [];
    for (const [index, { publication, wasStoredPerhaps }] of storing.entries()) {
      const error = errorOf(outcomes[index]);
      if (error === undefined || isFinal(error)) continue;
      // A failed commit may have reached the disk; whoever asks again finds the row.
      publication.isStoredPerhaps = wasStoredPerhaps || error.code.startsWith('SQLITE_IOERR');
      publication.failure = error;
      failed.push(publication);
    }
    if (failed.length > 0) this.#tryAgain(failed);
    else this.#succeeded();
    // The worker thread need not wait until everybody was told.
    this.#begin();
    for (const [index, { publication, wasStoredPerhaps }] of storing.entries()) {
      const error = errorOf(outcomes[index]);
      if (error === undefined) {
        this.#host.stored(publication);
      } else if (isFinal(error)) {
        publication.isStoredPerhaps = wasStoredPerhaps;
        this.#host.unstorable(publication, error);
      }
    }
  }

  #succeeded(): void {
    this.#fullTries = 0;
    this.#lengthMax = Math.min(this.#lengthMax * SHRINKAGE, limits.groupBytesMax);
    if (!this.#isCramped || this.#waiting.length === 0) {
      this.#isCramped = false;
      this.#failuresInRow = 0;
    } else if (this.#lengthMax === limits.groupBytesMax) {
      // Long messages are not kept waiting for ever by short ones.
      this.#isCramped = false;
    }
  }

  #tryAgain(failed: Publication[]): void {
    const error = failed[0]?.failure as IpcError;
    this.#lastFailure = error;
    // It is why those that came meanwhile are not stored either.
    for (const publication of this.#waiting) publication.failure = error;
    // The others are still the oldest.
    this.#waiting = failed.concat(this.#waiting);
    if (error.code === 'SQLITE_FULL' && this.#divides(failed)) {
      this.#host.failed(error, 0);
      return;
    }
    this.#fullTries = 0;
    const waitMs = Math.min(
      limits.spillRetryDelayMs * 2 ** Math.min(this.#failuresInRow, 30),
      limits.spillRetryDelayMsMax,
    );
    this.#failuresInRow++;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#begin();
    }, waitMs);
    this.#host.failed(error, waitMs);
  }

  /** Makes the next commit a smaller one than that of `tried`. Whether to try it at once. */
  #divides(tried: readonly Publication[]): boolean {
    const length = tried.reduce((sum, publication) => sum + publication.length, 0);
    this.#isCramped = true;
    this.#lengthMax = Math.ceil(length / SHRINKAGE);
    this.#fullTries++;
    if (this.#fullTries === FULL_TRIES_MAX) return false;
    // Where there is no room for the first one alone, there is none for anything.
    return tried.length > 1 || shortestFirst(this.#waiting)[0] !== tried[0];
  }
}

/** By length; but a message comes after the earlier ones of its key. */
function shortestFirst(publications: readonly Publication[]): Publication[] {
  const longest = new Map<string, number>();
  const ranked = publications.map((publication) => {
    const { key, length } = publication;
    if (key === undefined) return { publication, rank: length };
    const rank = Math.max(length, longest.get(key) ?? 0);
    longest.set(key, rank);
    return { publication, rank };
  });
  return ranked.sort((a, b) => a.rank - b.rank).map(({ publication }) => publication);
}

function hasRecord(publication: Publication): boolean {
  try {
    publication.record();
    return true;
  } catch {
    return false;
  }
}

function errorOf(outcome: PromiseSettledResult<void> | undefined): IpcError | undefined {
  return outcome?.status === 'rejected' ? outcome.reason : undefined;
}

/** Whether it is the message's own fault, which no further attempt would change. */
function isFinal(error: unknown): boolean {
  const code = String((error as { code?: unknown } | null)?.code);
  return FINAL.has(code) || code.startsWith('SQLITE_CONSTRAINT');
}

const SETTLED = Promise.resolve();
