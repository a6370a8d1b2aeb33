import { workerThreads } from './builtins.js';
import { DELAY_MS_MAX } from './options.js';

/**
 * The milliseconds that schedules are counted on. Tests fake the timers, the date, both or
 * neither, and a real date may be set back: so the clock follows the date but never goes back,
 * and a timer that fired has moved it by at least the timer's delay, whatever the date says.
 */
export class PollClock {
  #ahead = 0;
  #latest = Date.now();

  /** Milliseconds since some moment in the past. */
  now(): number {
    return this.#notBefore(this.#latest);
  }

  /**
   * Calls `fire` after `delayMs`, or after the longest delay a timer can count; returns the way to cancel that. The timer functions are looked
   * up at every call, because fake timers replace the global ones at any time.
   */
  schedule(delayMs: number, fire: () => void): () => void {
    const delay = Math.min(Math.max(delayMs, 1), DELAY_MS_MAX);
    const due = this.now() + delay;
    const timer = globalThis.setTimeout(() => {
      this.#notBefore(due);
      fire();
    }, delay);
    return () => globalThis.clearTimeout(timer);
  }

  /** The moment that it is now, which is at least `moment` from now on. */
  #notBefore(moment: number): number {
    const date = Date.now() + this.#ahead;
    this.#latest = Math.max(date, moment);
    this.#ahead += this.#latest - date;
    return this.#latest;
  }
}

/**
 * Milliseconds that pass whatever becomes of the date, also while the process is stopped: a lease that
 * ends by it may have ended for everybody.
 */
export function steadyNow(): number {
  return globalThis.performance.now();
}

/**
 * Lets everything else on the event loop have its turn. Neither `setTimeout` nor `setImmediate`
 * will do: where a test fakes them, the poller would stand still until the test advances its
 * clock, and a copy taken when this module is loaded may already be a fake. No library fakes the
 * port of a message channel, and its messages arrive in a turn of the event loop of their own.
 */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new (workerThreads().MessageChannel)();
    port1.once('message', () => {
      port1.close();
      resolve();
    });
    port2.postMessage(undefined);
  });
}

const LOADED_SET_TIMEOUT = globalThis.setTimeout;

/** Whether a test runner has replaced the timers, as those of jest, vitest, sinon and Node do. */
export function areTimersFaked(): boolean {
  const current = globalThis.setTimeout as { clock?: unknown; _isMockFunction?: unknown };
  // Those that were there before this file was loaded show by what they carry.
  return (
    (current as unknown) !== LOADED_SET_TIMEOUT ||
    current.clock !== undefined ||
    current._isMockFunction === true
  );
}
