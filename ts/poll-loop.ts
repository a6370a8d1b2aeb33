import { IpcError } from './errors.js';
import { limits } from './limits.js';
import type { Claimed, Claims, MaybePromise, MessageSource } from './message-source.js';
import { type PollClock, steadyNow } from './poll-clock.js';
import { PollOutbox } from './poll-outbox.js';
import { Pauses } from './poll-pauses.js';
import { Turn } from './poll-turn.js';
import { Upkeep } from './poll-upkeep.js';
import { isThenable } from './thenable.js';
import type { QueueMessage } from './types.js';

/** What the loop was doing when something failed. */
export type PollerPhase = 'claim' | 'handle' | 'settle' | 'extend' | 'cleanup';

/**
 * What `PollLoopHost.handle` throws when it did not come to handling the message: the message is
 * given back, and no attempt is counted.
 */
export class NotHandled extends IpcError {
  constructor(text = 'The consumer is being stopped') {
    super('ERR_IPC_CONSUMER_STOPPED', text);
  }
}

/**
 * What `PollLoopHost.handle` throws when handling a message was begun and given up, together with the
 * source: the claim ends with that. It is a delivery that was cut short, and no failure.
 */
export class GivenUp extends NotHandled {}

/** The poller as its loop sees it: the handler, which may throw, and whom to tell, which do not. */
export interface PollLoopHost {
  /** May call `loop.park(claim)`, before it returns. */
  handle(claim: Claimed, loop: PollLoop): unknown;
  succeeded(): void;
  /** The source has taken note that these were handled. */
  settled?(claims: readonly Claimed[]): void;
  failed(error: unknown, phase: PollerPhase, message?: QueueMessage): void;
  dead(message: QueueMessage, attempts: number, error: unknown): void;
  drained(handled: number): void;
}

/** The options that concern the loop, complete and checked. */
export interface PollLoopOptions {
  readonly pollIntervalMs: number;
  readonly batchSize: number;
  readonly concurrency: number;
  readonly leaseMs: number;
  readonly retryDelayMs: number;
  readonly cleanupIntervalMs: number;
  readonly retentionHours: number | undefined;
}

/** What the claims of a batch have in common. */
interface Lease {
  /** Until when, by {@link steadyNow}, they are held for sure. */
  until: number;
  /** How many were lost while they waited for their turn: without them it would be a full batch. */
  lost: number;
}

/** The next batch, claimed while this one is being handled. */
interface Ahead {
  readonly promise: Promise<Claims>;
  readonly lease: Lease;
  claims: Claimed[];
  dropped: boolean;
}

/**
 * One life of a poller, from `start()` to `stop()`: polls, drains, waits, and polls again.
 *
 * A cycle claims messages and starts their handlers as long as there are places for them. It ends
 * when the source has no more; handlers that still run then keep their places in the next cycles,
 * so that one that takes its time, or never ends, stops nothing but itself.
 *
 * Invariants:
 * - At most one cycle runs at a time, and between two cycles exactly one timer is pending.
 * - After `halt()` no handler is started, and every claim whose handler never started is released.
 * - Nothing awaits unless there is something to wait for: a queue that answers at once is asked
 *   inside the timer's own callback, and an empty poll has scheduled the next one when it returns.
 * - No handler is started of a claim whose lease may be over: a process may have been stopped for any
 *   time. That is looked at wherever the loop has waited, see `Turn`.
 * - No failure of the source, a handler or a listener ends the loop.
 */
export class PollLoop {
  /** Resolves when the loop was halted, its handlers are done and their outcomes settled. */
  readonly finished: Promise<void>;
  #finish!: () => void;
  #isFinished = false;

  readonly #source: MessageSource;
  readonly #options: PollLoopOptions;
  readonly #clock: PollClock;
  readonly #host: PollLoopHost;

  #active = true;
  #abandoned = false;
  #cycling = false;
  /** Cancels the timer of the next poll, between two cycles. */
  #cancelPoll: (() => void) | undefined;
  #cancelPulse: (() => void) | undefined;
  #muteDoorbell: () => void = () => {};
  /** Whether the pending poll may be brought forward: not after a failure. */
  #dozing = false;
  #rung = false;

  #unstarted: Claimed[] = [];
  /** The lease of these. */
  #lease: Lease = { until: Number.POSITIVE_INFINITY, lost: 0 };
  /** Messages whose handlers run, and since when. */
  readonly #inHand = new Map<Claimed, number>();
  /** Of these, the ones that wait for another copy and take no place. */
  readonly #parked = new Set<Claimed>();
  /** Places that are taken: lanes that run. */
  #lanes = 0;
  /** Wakes the cycle that waits for a place or for an outcome. */
  #wake: (() => void) | undefined;
  #ahead: Ahead | undefined;
  #discarding: Promise<unknown> | undefined;
  readonly #outbox: PollOutbox;
  /** Resolves when an extension that is under way is answered, with whether it was. */
  #extending: Promise<boolean> | undefined;

  #drainedOnce = false;
  /** Deliveries of this cycle, and of those whose handlers it found running. */
  #delivered = 0;
  /** The last poll left nothing; to be told when the handlers that run have ended. */
  #owesDrained = false;

  /** Polls that failed one after the other. */
  #faults = 0;
  /** The same, as long as the source has not answered since. */
  #failedPolls = 0;
  readonly #pauses: Pauses;
  readonly #turn = new Turn();
  readonly #upkeep: Upkeep;

  constructor(
    source: MessageSource,
    options: PollLoopOptions,
    clock: PollClock,
    host: PollLoopHost,
  ) {
    this.#source = source;
    this.#options = options;
    this.#clock = clock;
    this.#host = host;
    this.#outbox = new PollOutbox(source, clock, host, () => this.#unsettled());
    this.#pauses = new Pauses(options.retryDelayMs, options.batchSize);
    this.#upkeep = new Upkeep(source, clock, options, (error) => host.failed(error, 'cleanup'));
    this.finished = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  get isFinished(): boolean {
    return this.#isFinished;
  }

  /** Polls that failed one after the other, up to now. */
  get failedPolls(): number {
    return this.#failedPolls;
  }

  /** Whether the handler of this message was started and has not ended. */
  isHandling(claim: Claimed): boolean {
    return this.#inHand.has(claim);
  }

  /**
   * The message of this handler waits for the outcome of another copy: until it has it, it takes
   * no place that another handler could have.
   */
  park(claim: Claimed): void {
    this.#parked.add(claim);
  }

  /** Polls at once, or when the loop before this one is out of the way. */
  begin(previous: Promise<void> | undefined): void {
    try {
      this.#muteDoorbell = this.#source.onDoorbell(() => this.#ring());
    } catch (error) {
      // The interval is the fallback for every platform and queue without a doorbell.
      this.#host.failed(error, 'claim');
    }
    if (previous === undefined) {
      void this.#cycle();
    } else {
      this.#cycling = true;
      this.#keepPulse();
      void previous.then(() => this.#cycle());
    }
  }

  /** Starts nothing more. What is claimed and not started is free for others at once. */
  halt(): void {
    if (!this.#active) return;
    this.#active = false;
    this.#muteDoorbell();
    this.#outbox.release(this.#unstarted.splice(0));
    this.#dropAhead();
    this.#wake?.();
    if (this.#cycling) return;
    this.#cancelPoll?.();
    this.#cancelPoll = undefined;
    if (this.#isIdle) void this.#windDown();
  }

  /** Nobody waits for the handlers any more: nothing of this loop keeps the process alive. */
  abandon(): void {
    this.#abandoned = true;
    this.#cancelPulse?.();
    this.#cancelPulse = undefined;
  }

  async #windDown(): Promise<void> {
    if (this.#discarding !== undefined) await this.#discarding;
    if (!this.#outbox.isEmpty) await this.#outbox.tryAgain();
    if (this.#upkeep.ended !== undefined) await this.#upkeep.ended;
    this.#outbox.cancel();
    this.#cancelPulse?.();
    this.#cancelPulse = undefined;
    this.#isFinished = true;
    this.#finish();
  }

  // --- polling ---------------------------------------------------------------------------------

  /** Whether no handler runs. */
  get #isIdle(): boolean {
    return this.#lanes === 0 && this.#inHand.size === 0;
  }

  /** Whether messages may be claimed and handlers started. */
  get #goesOn(): boolean {
    return this.#active && !this.#pauses.isPausing && !this.#outbox.hasFailed;
  }

  async #cycle(): Promise<void> {
    this.#cycling = true;
    this.#dozing = false;
    this.#pauses.end();
    this.#owesDrained = false;
    if (this.#isIdle) this.#delivered = 0;
    this.#turn.begin();
    let drained = false;
    let faulty = false;
    let isNextAlone = false;
    try {
      if (!this.#outbox.isEmpty) await this.#outbox.tryAgain();
      this.#rung = false;
      if (this.#goesOn) this.#source.drainStarted?.();
      // Handlers of earlier cycles may have all the places.
      while (this.#isFull) await this.#change();
      while (this.#goesOn) {
        const isAlone = isNextAlone;
        if (isAlone) {
          await this.#untilQuiet();
          if (!this.#goesOn) break;
        }
        const isProbe = this.#pauses.areHandlersInDoubt && !isAlone;
        const limit = isAlone || isProbe ? 1 : this.#options.batchSize;
        const lease = (isAlone ? undefined : this.#ahead?.lease) ?? this.#newLease();
        const claiming = isProbe ? this.#claimProbe() : this.#claim(limit, isAlone);
        if (isThenable(claiming)) this.#keepPulse();
        const claims: Claims = isThenable(claiming) ? await claiming : claiming;
        this.#failedPolls = 0;
        if (!this.#active) {
          this.#outbox.release(claims);
          break;
        }
        isNextAlone = claims.isNextAlone === true;
        // Counted now, because handling empties the array.
        const count = claims.length + lease.lost;
        this.#delivered += claims.length;
        if (claims.length > 0) {
          const isFull = count >= limit && !this.#pauses.areHandlersInDoubt && !isAlone;
          if (isFull && this.#source.leases) this.#claimAhead(limit);
          await this.#handleBatch(claims, lease);
        }
        if (isAlone) await this.#untilQuiet();
        this.#upkeep.beginIfDue();
        if (count < limit && !isAlone && !isNextAlone && !this.#pauses.isPausing) {
          drained = true;
          break;
        }
        // With the next batch already claimed, settling this one and handling that one overlap:
        // the source serves them in order, so that what waits to be settled stays bounded.
        if (this.#ahead === undefined && !this.#outbox.isEmpty) await this.#outbox.flushAll();
        if (this.#turn.isOver) await this.#turn.yield();
      }
    } catch (error) {
      faulty = true;
      this.#host.failed(error, 'claim');
    }
    this.#dropAhead();
    if (!this.#outbox.isEmpty && !this.#outbox.hasFailed) await this.#outbox.flushAll();
    this.#endCycle(drained, faulty || this.#outbox.hasFailed);
  }

  #endCycle(drained: boolean, faulty: boolean): void {
    this.#cycling = false;
    if (!this.#active) {
      if (this.#isIdle) void this.#windDown();
      return;
    }
    if (this.#isIdle && this.#outbox.isEmpty) {
      this.#cancelPulse?.();
      this.#cancelPulse = undefined;
    }
    if (drained && !faulty) {
      this.#owesDrained = !this.#isIdle;
      if (!this.#owesDrained) this.#tellDrained();
      // A listener may have stopped the poller.
      if (!this.#active) return;
    }
    if (faulty) {
      this.#pollAfterFault();
      return;
    }
    this.#faults = 0;
    if (this.#pauses.isPausing) {
      this.#pollAfter(this.#pauses.lengthMs, false);
    } else if (this.#rung) {
      void this.#cycle();
    } else {
      this.#pollAfter(this.#options.pollIntervalMs, true);
    }
  }

  /** The last handler has ended after the cycle that found nothing more to claim. */
  async #rest(): Promise<void> {
    this.#cycling = true;
    this.#dozing = false;
    this.#cancelPoll?.();
    this.#cancelPoll = undefined;
    if (!this.#outbox.isEmpty && !this.#outbox.hasFailed) await this.#outbox.flushAll();
    this.#endCycle(true, this.#outbox.hasFailed);
  }

  #tellDrained(): void {
    const delivered = this.#delivered;
    this.#delivered = 0;
    this.#upkeep.beginOnce();
    if (delivered > 0 || !this.#drainedOnce) this.#host.drained(delivered);
    this.#drainedOnce = true;
  }

  #pollAfterFault(): void {
    const { pollIntervalMs } = this.#options;
    const longestMs = Math.max(pollIntervalMs, limits.pauseMsMax);
    this.#pollAfter(Math.min(pollIntervalMs * 2 ** this.#faults, longestMs), false);
    this.#faults += 1;
    this.#failedPolls = this.#faults;
  }

  #pollAfter(delayMs: number, dozing: boolean): void {
    this.#dozing = dozing;
    this.#cancelPoll = this.#clock.schedule(delayMs, () => {
      this.#cancelPoll = undefined;
      void this.#cycle();
    });
  }

  /** However often it rings during a poll, one more poll sees everything that it announced. */
  #ring(): void {
    if (!this.#active) return;
    this.#rung = true;
    if (!this.#dozing) return;
    this.#cancelPoll?.();
    this.#cancelPoll = undefined;
    void this.#cycle();
  }

  #claim(limit: number, alone: boolean): MaybePromise<Claims> {
    const { leaseMs } = this.#options;
    if (alone) return this.#source.claim(limit, leaseMs, true);
    return this.#takeAhead() ?? this.#source.claim(limit, leaseMs);
  }

  /**
   * After a pause one message shows whether handlers work again, at the price of one attempt. One that
   * has failed may fail by its own fault, and the oldest would do so again and again, in front of all
   * others. So it is the oldest that was never tried, which also keeps the order of these; and where
   * all were tried, one that has most attempts left, so that they are used up evenly.
   */
  #claimProbe(): MaybePromise<Claims> {
    return this.#source.claimLeastTried(this.#options.leaseMs);
  }

  #claimAhead(limit: number): void {
    const claim = async () => this.#source.claim(limit, this.#options.leaseMs);
    const ahead: Ahead = {
      claims: [],
      dropped: false,
      // Before the claim is made.
      lease: this.#newLease(),
      promise: claim().then((claims) => {
        if (ahead.dropped) {
          this.#outbox.release(claims);
          return [];
        }
        ahead.claims = claims;
        return claims;
      }),
    };
    // A failure is dealt with when the batch is taken; until then nobody awaits it.
    ahead.promise.catch(() => {});
    this.#ahead = ahead;
  }

  #takeAhead(): Promise<Claims> | undefined {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    return ahead?.promise;
  }

  #dropAhead(): void {
    const ahead = this.#ahead;
    if (ahead === undefined) return;
    this.#ahead = undefined;
    ahead.dropped = true;
    this.#outbox.release(ahead.claims.splice(0));
    this.#discarding = ahead.promise.catch(() => {});
  }

  // --- handling --------------------------------------------------------------------------------

  get #hasPlace(): boolean {
    return this.#lanes < this.#options.concurrency;
  }

  /** Whether there is a message without a place, or none for the next one that is claimed. */
  get #isFull(): boolean {
    return this.#goesOn && !(this.#unstarted.length === 0 && this.#hasPlace);
  }

  /** Resolves when all handlers of the batch are started and there is a place for another one. */
  async #handleBatch(claims: Claimed[], lease: Lease): Promise<void> {
    const first = claims[0] as Claimed;
    this.#unstarted = claims;
    this.#lease = lease;
    this.#keepPulse();
    while (this.#unstarted.length > 0 && this.#hasPlace && this.#goesOn) void this.#lane();
    while (this.#isFull) await this.#change();
    if (this.#pauses.areHandlersInDoubt && this.#inHand.has(first)) await this.#untilTried(first);
    // A pause, or a source that fails to settle, leaves the rest of the batch.
    this.#outbox.release(this.#unstarted.splice(0));
  }

  /** Resolves when the handler of this message has ended, or has taken as long as a pause. */
  async #untilTried(claim: Claimed): Promise<void> {
    let isOver = false;
    const cancel = this.#clock.schedule(this.#pauses.lengthMs, () => {
      isOver = true;
      this.#wake?.();
    });
    while (this.#goesOn && !isOver && this.#inHand.has(claim)) await this.#change();
    cancel();
  }

  /**
   * Resolves when no handler runs but those that have run for so long that they may never end: what
   * comes before and after a message that is suspected of ending its consumers.
   */
  async #untilQuiet(): Promise<void> {
    while (this.#goesOn && this.#inHand.size > 0) {
      const begunLast = Math.max(...this.#inHand.values());
      const waitMs = begunLast + limits.quietMs - this.#clock.now();
      if (waitMs <= 0) return;
      const cancel = this.#clock.schedule(waitMs, () => this.#wake?.());
      await this.#change();
      cancel();
    }
  }

  /** Resolves when a handler has ended, or the loop was halted. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Takes a place, and handles message after message until there are no more. */
  async #lane(): Promise<void> {
    this.#lanes += 1;
    // The claim may have taken long, and so may the handlers that other lanes have just started.
    this.#turn.readClock();
    for (;;) {
      if (this.#mayBeOver) await this.#renew();
      const claim = this.#next();
      if (claim === undefined) break;
      this.#inHand.set(claim, this.#clock.now());
      try {
        const handling = this.#host.handle(claim, this);
        if (this.#parked.has(claim)) {
          void this.#awaitParked(claim, handling);
          continue;
        }
        await handling;
        this.#succeeded(claim);
      } catch (error) {
        this.#notSucceeded(claim, error);
      }
      const settling = this.#ended(claim);
      // Without leases the next message has to wait until this one is marked.
      if (settling !== undefined && !this.#source.leases) await this.#outbox.flushAll();
      if (this.#unstarted.length > 0 && this.#turn.isOver) await this.#turn.yield();
    }
    this.#lanes -= 1;
    this.#freed();
  }

  /** Whether somebody else may have the messages that were not started. */
  get #mayBeOver(): boolean {
    return this.#turn.clockReading >= this.#lease.until && this.#unstarted.length > 0;
  }

  /** Finds out which of them are still ours. Where nobody can tell, none counts as such. */
  async #renew(): Promise<void> {
    // It may have been asked for long ago.
    if (this.#extending !== undefined) await this.#extending;
    if (!this.#mayBeOver || (await this.#extendLeases())) return;
    this.#outbox.release(this.#unstarted.splice(0));
  }

  #next(): Claimed | undefined {
    return this.#goesOn ? this.#unstarted.shift() : undefined;
  }

  async #awaitParked(claim: Claimed, handling: unknown): Promise<void> {
    try {
      await handling;
      this.#succeeded(claim);
    } catch (error) {
      this.#notSucceeded(claim, error);
    }
    this.#parked.delete(claim);
    this.#ended(claim);
    this.#freed();
  }

  /** A handler has ended: its outcome is settled at once with many others, or soon. */
  #ended(claim: Claimed): Promise<void> | undefined {
    this.#inHand.delete(claim);
    this.#turn.count();
    return this.#outbox.flushSoon();
  }

  /** A place was freed, or a message has left that had none. */
  #freed(): void {
    this.#wake?.();
    if (this.#cycling || !this.#isIdle) return;
    if (!this.#active) void this.#windDown();
    else if (this.#owesDrained) void this.#rest();
  }

  #succeeded(claim: Claimed): void {
    this.#pauses.succeeded();
    this.#outbox.completed(claim);
    this.#host.succeeded();
  }

  #notSucceeded(claim: Claimed, error: unknown): void {
    if (error instanceof GivenUp) return;
    if (error instanceof NotHandled) this.#outbox.released(claim);
    else this.#failed(claim, error);
  }

  #failed(claim: Claimed, thrown: unknown): void {
    this.#outbox.failed(claim, thrown);
    this.#pauses.failed(claim);
    this.#host.failed(thrown, 'handle', claim.message);
  }

  /** The source has failed to settle. */
  #unsettled(): void {
    if (this.#cycling || !this.#active) return;
    // Handlers that run beside the cycles are no reason to wait for the usual time.
    this.#owesDrained = false;
    this.#cancelPoll?.();
    this.#pollAfterFault();
  }

  // --- while handlers run ----------------------------------------------------------------------

  /**
   * A timer that runs as long as messages are in hand. It extends their leases, a third of a lease
   * apart so that two may fail, and keeps the process alive while a handler waits for something
   * that does not. It is one of the global timers, and not some other handle, so that a test
   * that fakes them and forgets to stop its poller can still end.
   */
  #keepPulse(): void {
    if (this.#cancelPulse !== undefined || this.#abandoned) return;
    const { leaseMs, pollIntervalMs } = this.#options;
    const periodMs = this.#source.leases ? leaseMs / 3 : pollIntervalMs;
    this.#cancelPulse = this.#clock.schedule(periodMs, () => {
      this.#cancelPulse = undefined;
      if (this.#source.leases) void this.#extendLeases();
      if (this.#cycling || !this.#outbox.isEmpty || !this.#isIdle) this.#keepPulse();
    });
  }

  #newLease(): Lease {
    const { leases } = this.#source;
    const until = leases ? steadyNow() + this.#options.leaseMs : Number.POSITIVE_INFINITY;
    return { until, lost: 0 };
  }

  /** Resolves with whether the source has answered. */
  #extendLeases(): Promise<boolean> {
    this.#extending ??= this.#extend().finally(() => {
      this.#extending = undefined;
    });
    return this.#extending;
  }

  async #extend(): Promise<boolean> {
    const ahead = this.#ahead?.claims ?? [];
    const claims = [...this.#inHand.keys(), ...this.#unstarted, ...ahead, ...this.#outbox.held];
    if (claims.length === 0) return true;
    const leases = ahead.length > 0 ? [this.#lease, this.#ahead?.lease] : [this.#lease];
    const { until } = this.#newLease();
    try {
      const lost = new Set(await this.#source.extend(claims, this.#options.leaseMs));
      if (lost.size > 0) {
        // Somebody else has them now. One whose handler runs is reported when it is settled.
        this.#unstarted = this.#unstarted.filter((claim) => !lost.has(claim));
        if (this.#ahead !== undefined) {
          const { claims, lease } = this.#ahead;
          const kept = claims.filter((claim) => !lost.has(claim));
          lease.lost += claims.length - kept.length;
          claims.splice(0, Number.POSITIVE_INFINITY, ...kept);
        }
      }
      for (const lease of leases) if (lease !== undefined) lease.until = until;
      return true;
    } catch (error) {
      this.#host.failed(error, 'extend');
      return false;
    }
  }
}
