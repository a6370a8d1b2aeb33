import { createHash } from 'node:crypto';
import { limits } from './limits.js';

/** The first copy of a message on its way; its outcome is that of every other one. */
export interface Flight {
  /** Made when another copy waits for it. */
  outcome: Promise<void> | undefined;
  settle: ((isHandled: boolean, error: unknown) => void) | undefined;
}

/**
 * Recognises the copies of a message by its id: during its handler, and afterwards among at least
 * the newest `window` ids, at most twice as many.
 *
 * Two generations of ids take the place of a queue: what leaves the window leaves together, which
 * costs nothing per message.
 */
export class DuplicateGate {
  readonly #window: number;
  #recent = new Set<string>();
  #older = new Set<string>();
  readonly #flights = new Map<string, Flight>();

  constructor(window: number) {
    this.#window = window;
  }

  /** Ids that are remembered. */
  get size(): number {
    return this.#recent.size + this.#older.size;
  }

  /** Whether a message of this id was handled. */
  knows(id: string): boolean {
    const key = keyOf(id);
    return this.#recent.has(key) || this.#older.has(key);
  }

  /** A message of this id was handled. */
  remember(id: string): void {
    if (this.#window === 0) return;
    if (this.#recent.size >= this.#window) {
      this.#older = this.#recent;
      this.#recent = new Set();
    }
    this.#recent.add(keyOf(id));
  }

  /** The copy that is on its way to the handler, if there is one. */
  flightOf(id: string): Flight | undefined {
    return this.#flights.get(keyOf(id));
  }

  /** A message is on its way to the handler. */
  begin(id: string): void {
    this.#flights.set(keyOf(id), { outcome: undefined, settle: undefined });
  }

  /** Its handler resolved, or failed with `error`; other copies hear of it. */
  end(id: string, isHandled: boolean, error?: unknown): void {
    const key = keyOf(id);
    const flight = this.#flights.get(key);
    this.#flights.delete(key);
    if (isHandled) this.remember(id);
    flight?.settle?.(isHandled, error);
  }

  /** Resolves or rejects with the outcome of that copy. */
  static outcomeOf(flight: Flight): Promise<void> {
    flight.outcome ??= new Promise((resolve, reject) => {
      flight.settle = (isHandled, error) => (isHandled ? resolve() : reject(error));
    });
    return flight.outcome;
  }
}

/** What stands for an id: long ones are bounded, without becoming alike. */
function keyOf(id: string): string {
  if (id.length <= limits.gateIdLengthMax) return id;
  return `sha256:${createHash('sha256').update(id).digest('base64')}`;
}
