import { nodeCrypto } from './builtins.js';
import { Flight, Flights } from './flights.js';
import { hashOf, IdSet } from './id-set.js';
import { limits } from './limits.js';

/**
 * Recognises the copies of a message by its id: during its handler, and afterwards among at least
 * the newest `window` ids, at most twice as many.
 *
 * Two generations of ids take the place of a queue: what leaves the window leaves together, which
 * costs nothing per message.
 */
export class DuplicateGate {
  readonly #window: number;
  #recent = new IdSet();
  #older = new IdSet();
  /** What was asked for last: mostly it is remembered next. */
  #lastKey = '';
  #lastHash = hashOf('');
  /** Handled, and not yet in the file: known whatever the window. */
  readonly #unsettled = new Set<string>();
  readonly #flights = new Flights();

  constructor(window: number) {
    this.#window = window;
  }

  /** Ids that are remembered. */
  get size(): number {
    return this.#recent.size + this.#older.size;
  }

  /** Whether a message was handled whose id has this key. */
  knows(key: string): boolean {
    return this.#isRemembered(key) || (this.#unsettled.size > 0 && this.#unsettled.has(key));
  }

  #isRemembered(key: string): boolean {
    const hash = this.#hash(key);
    return this.#recent.has(key, hash) || this.#older.has(key, hash);
  }

  #hash(key: string): number {
    if (key !== this.#lastKey) {
      this.#lastHash = hashOf(key);
      this.#lastKey = key;
    }
    return this.#lastHash;
  }

  /** A message was handled whose id has this key. */
  remember(key: string): void {
    // One that is remembered twice would take the place of another.
    if (!this.#isRemembered(key)) this.rememberNew(key);
    const flight = this.flightOf(key);
    if (flight !== undefined) flight.mayBeRemembered = true;
  }

  /** A message was handled, and nothing but this gate knows it until {@link settled}. */
  keepUntilSettled(key: string): void {
    this.#unsettled.add(key);
    if (this.#unsettled.size <= limits.rememberedMessagesMax) return;
    // Left by earlier lives of the consumer, whose rows others have settled.
    for (const oldest of this.#unsettled) {
      this.#unsettled.delete(oldest);
      return;
    }
  }

  /** The file knows it now. */
  settled(key: string): void {
    this.#unsettled.delete(key);
  }

  /** As {@link remember}, where it is known that this is news. */
  rememberNew(key: string): void {
    this.#rememberNew(key, this.#hash(key));
  }

  #rememberNew(key: string, hash: number): void {
    if (this.#window === 0) return;
    if (this.#recent.size >= this.#window) {
      const forgotten = this.#older;
      forgotten.clear();
      this.#older = this.#recent;
      this.#recent = forgotten;
    }
    this.#recent.add(key, hash);
  }

  /** The copy that is on its way to the handler, if there is one. */
  flightOf(key: string): Flight | undefined {
    return this.#flights.get(key, this.#hash(key));
  }

  /** A message that is not known is on its way to the handler, as the only copy. */
  begin(key: string): Flight {
    const flight = new Flight(key, this.#hash(key));
    this.#flights.add(flight);
    return flight;
  }

  /** Its handler resolved, or failed with `error`; other copies hear of it. */
  end(flight: Flight, isHandled: boolean, error?: unknown): void {
    const { key, hash, settle } = flight;
    if (!flight.isGivenUp) this.#flights.delete(flight);
    if (isHandled) {
      if (flight.isGivenUp || flight.mayBeRemembered) this.remember(key);
      else this.#rememberNew(key, hash);
    }
    settle?.(isHandled, error);
  }

  /** Nobody waits for the messages on their way any more: their next copies are handled. */
  giveUp(error: unknown): void {
    for (const flight of this.#flights.takeAll()) {
      flight.isGivenUp = true;
      flight.settle?.(false, error);
    }
  }

  /** Resolves or rejects with the outcome of that copy. */
  static outcomeOf(flight: Flight): Promise<void> {
    flight.outcome ??= new Promise((resolve, reject) => {
      flight.settle = (isHandled, error) => (isHandled ? resolve() : reject(error));
    });
    return flight.outcome;
  }
}

const DIGEST = 'sha256:';

/**
 * What the gate knows an id by: long ones are bounded, without becoming alike. A short one that
 * looks like the digest of another becomes a digest too.
 */
export function keyOf(id: string): string {
  if (id.length <= limits.gateIdLengthMax && !id.startsWith(DIGEST)) return id;
  return DIGEST + nodeCrypto().createHash('sha256').update(id, 'utf16le').digest('base64');
}
