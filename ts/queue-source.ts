import { limits } from './limits.js';
import type {
  Claimed,
  Claims,
  MaybePromise,
  MessageSource,
  RetryPolicy,
  Settled,
  SettleReport,
} from './message-source.js';
import type { NativeQueue } from './native.js';
import { areTimersFaked } from './poll-clock.js';
import type { ClaimedMessage } from './queue-types.js';
import {
  attemptsMax,
  claimKeys,
  type SettleAnswer,
  settlementOf,
  settleRequest,
} from './settlement.js';
import type { ShapeTable } from './value-reader.js';
import type { ClaimAnswer, WorkerCalls } from './worker-calls.js';

/** What a source needs of its queue. */
interface SourceQueue {
  readonly native: NativeQueue;
  readonly work: WorkerCalls;
  readonly workerShapes: ShapeTable;
  claimNow(...terms: Parameters<NativeQueue['claim']>): ClaimedMessage[];
  /** Hours that processed messages are kept where nobody says otherwise. */
  readonly keptHours: number;
  /** Calls the addon, and makes its errors ours. */
  call<T>(work: () => T): T;
  onDoorbell: MessageSource['onDoorbell'];
}

/** How `SQLiteQueuePoller` takes messages of a queue: with claims, on the worker thread. */
export function queueSource(
  { native, work, workerShapes, claimNow, keptHours, call, onDoorbell }: SourceQueue,
  policy: RetryPolicy,
): MessageSource {
  // On the worker thread, which takes real time. Where a test has faked the timers nothing may
  // depend on that: there the same work is done at once.
  const run = <T, Result>(
    now: () => T,
    later: (native: NativeQueue, ticket: number) => void,
    use: (answer: T) => Result,
  ): MaybePromise<Result> =>
    areTimersFaked() ? use(call(now)) : work.ask(later).then((answer) => use(answer as T));
  const claim = (limit: number, leaseMs: number, alone: boolean, leastTried: boolean) => {
    const attempts = attemptsMax(policy.maxAttempts);
    return run(
      (): ClaimAnswer => ({
        claims: claimNow(limit, leaseMs, attempts, undefined, leastTried),
        suspects: false,
      }),
      (native, ticket) => {
        const forgetShapes = workerShapes.isTorn;
        native.claimLater(ticket, limit, leaseMs, attempts, alone, leastTried, forgetShapes);
      },
      (answer): Claims => {
        if (!answer.suspects) return answer.claims;
        return Object.assign(answer.claims, { isNextAlone: !alone });
      },
    );
  };
  return {
    leases: true,
    settleCountMax: limits.settleCountMax,
    claim: (limit, leaseMs, alone = false) => claim(limit, leaseMs, alone, false),
    claimLeastTried: (leaseMs) => claim(1, leaseMs, false, true),
    settle: (settled: Settled) => {
      const request = settleRequest(settlementOf(settled), policy);
      const { completed, failed, released } = settled;
      return run(
        () => JSON.parse(native.settle(request)) as SettleAnswer,
        (native, ticket) => native.settleLater(ticket, request),
        ({ stale, handled, failed: outcomes }): SettleReport => {
          const all = [...completed, ...failed.map(({ claim }) => claim), ...released];
          const lost = new Set(stale.map((index) => all[index] as Claimed));
          // Their messages are done, which is what this was to achieve.
          const done = new Set(handled);
          return {
            failed: failed.flatMap(({ claim }, index) => {
              const outcome = outcomes[index];
              return lost.has(claim) || outcome === undefined ? [] : [{ claim, ...outcome }];
            }),
            stale: [...lost].filter(({ message }) => !done.has(message.id)),
            unmarked: [],
          };
        },
      );
    },
    extend: (claims, leaseMs) =>
      run(
        () => claimKeys(claims).map(([id, token]) => native.extend(id, token, leaseMs)),
        (native, ticket) => native.extendLater(ticket, JSON.stringify(claimKeys(claims)), leaseMs),
        (kept) => claims.filter((_, index) => !kept[index]),
      ),
    cleanup: (retentionHours = keptHours) =>
      run(
        () => native.cleanup(retentionHours),
        (native, ticket) => native.cleanupLater(ticket, retentionHours),
        (deleted) => deleted,
      ),
    onDoorbell,
  };
}
