import type { Claimed, RetryPolicy, Settled } from './message-source.js';
import type { ClaimedMessage } from './queue-types.js';

/** What the core knows a claim by. */
export type ClaimKey = [id: string, token: number];

/** Claims to settle in one call. */
interface Settlement {
  completed: ClaimKey[];
  failed?: [...ClaimKey, error: string][];
  released?: ClaimKey[];
}

/** The answer of `NativeQueue.settle`: places of stale claims, and what became of the failed ones. */
export interface SettleAnswer {
  stale: number[];
  /** Ids of those that are stale only because somebody has marked the message as handled. */
  handled: string[];
  failed: { dead: boolean; retryInMs: number }[];
}

/** Of a settlement in which nothing failed. */
const NO_RETRIES: RetryPolicy = { maxAttempts: 0, retryDelayMs: 0, retryDelayMsMax: 0 };

/** What `NativeQueue.settle` takes. */
export function settleRequest(
  { completed, failed = [], released = [] }: Settlement,
  { maxAttempts, retryDelayMs, retryDelayMsMax }: RetryPolicy = NO_RETRIES,
): string {
  return JSON.stringify({
    completed,
    failed,
    released,
    attemptsMax: attemptsMax(maxAttempts),
    // The core counts whole milliseconds.
    retryDelayMs: Math.ceil(retryDelayMs),
    retryDelayMsMax: Math.ceil(retryDelayMsMax),
  });
}

/** What a poller has settled, as the core knows it. */
export function settlementOf({ completed, failed, released }: Settled): Settlement {
  return {
    completed: claimKeys(completed),
    failed: failed.map(({ claim, error }) => [...claimKey(claim), error]),
    released: claimKeys(released),
  };
}

/** `Infinity` has no form in JSON and none in the core, where 0 stands for "never". */
export function attemptsMax(attempts: number): number {
  return attempts === Number.POSITIVE_INFINITY ? 0 : attempts;
}

export function claimKeys(claims: readonly Claimed[]): ClaimKey[] {
  return claims.map(claimKey);
}

function claimKey(claim: Claimed): ClaimKey {
  const { message, token } = claim as ClaimedMessage;
  return [message.id, token];
}
