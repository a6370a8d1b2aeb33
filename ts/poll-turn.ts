import { limits } from './limits.js';
import { nextTurn, steadyNow } from './poll-clock.js';

/**
 * What a poller does between two turns of the event loop. Handlers that resolve at once would keep it
 * in microtasks, where no timer and no socket has its turn.
 */
export class Turn {
  #beganAt = 0;
  #clockReading = 0;
  #messages = 0;

  begin(): void {
    this.#beganAt = Date.now();
    this.#messages = 0;
    this.readClock();
  }

  /** Reads {@link steadyNow}: whatever was waited for may have taken long. */
  readClock(): void {
    this.#clockReading = steadyNow();
  }

  /**
   * The newest reading of {@link steadyNow}. A turn ends, by the date, before it is much older than
   * that, so that leases can be compared with it: a process that was stopped begins a new one.
   */
  get clockReading(): number {
    return this.#clockReading;
  }

  /** A message was handled. */
  count(): void {
    this.#messages += 1;
  }

  /** The date decides, and where it stands still (fake timers) the count. */
  get isOver(): boolean {
    const elapsed = Date.now() - this.#beganAt;
    return elapsed < 0 || elapsed >= limits.turnMs || this.#messages >= limits.turnMessagesMax;
  }

  /** Lets everything else have its turn, and begins the next one. */
  async yield(): Promise<void> {
    await nextTurn();
    this.begin();
  }
}
