/** The first copy of a message on its way; its outcome is that of every other one. */
export class Flight {
  /** Nobody waits for it any more, and another may have begun. */
  isGivenUp = false;
  /** Another flight of this key has ended meanwhile, and its key may be remembered. */
  mayBeRemembered = false;
  /** Made when another copy waits for it. */
  outcome: Promise<void> | undefined;
  settle: ((isHandled: boolean, error: unknown) => void) | undefined;
  /** The next one in its bucket of {@link Flights}. */
  next: Flight | undefined;

  constructor(
    /** What stands for the id of the message. */
    readonly key: string,
    readonly hash: number,
  ) {}
}

/** Buckets at the beginning, a power of two; they double as needed. */
const BUCKETS_MIN = 256;

/**
 * Flights by their key. Each message that is handled comes and goes, and a `Map` would make its table
 * anew whenever half of it has gone.
 */
export class Flights {
  #buckets = emptyBuckets(BUCKETS_MIN);
  #size = 0;

  get(key: string, hash: number): Flight | undefined {
    if (this.#size === 0) return undefined;
    let flight = this.#buckets[hash & (this.#buckets.length - 1)];
    while (flight !== undefined && !(flight.hash === hash && flight.key === key)) {
      flight = flight.next;
    }
    return flight;
  }

  /** Adds one whose key is not there. */
  add(flight: Flight): void {
    this.#size++;
    if (this.#size > this.#buckets.length) this.#grow();
    this.#put(flight);
  }

  /** Removes one that is there. */
  delete(flight: Flight): void {
    this.#size--;
    const bucket = flight.hash & (this.#buckets.length - 1);
    let before = this.#buckets[bucket] as Flight;
    if (before === flight) {
      this.#buckets[bucket] = flight.next;
    } else {
      while (before.next !== flight) before = before.next as Flight;
      before.next = flight.next;
    }
    flight.next = undefined;
  }

  /** Removes all of them. */
  takeAll(): Flight[] {
    const all = this.#all();
    this.#buckets = emptyBuckets(BUCKETS_MIN);
    this.#size = 0;
    return all;
  }

  #all(): Flight[] {
    const all: Flight[] = [];
    for (let flight of this.#buckets) {
      for (; flight !== undefined; flight = flight.next) all.push(flight);
    }
    // One that never ends must not keep the others.
    for (const flight of all) flight.next = undefined;
    return all;
  }

  #put(flight: Flight): void {
    const bucket = flight.hash & (this.#buckets.length - 1);
    flight.next = this.#buckets[bucket];
    this.#buckets[bucket] = flight;
  }

  #grow(): void {
    const all = this.#all();
    this.#buckets = emptyBuckets(2 * this.#buckets.length);
    for (const flight of all) this.#put(flight);
  }
}

function emptyBuckets(count: number): (Flight | undefined)[] {
  return new Array<Flight | undefined>(count).fill(undefined);
}
