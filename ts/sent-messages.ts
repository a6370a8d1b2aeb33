/** What {@link SentMessages} keeps. */
interface Numbered {
  /** From 1, each one more than that of the message before it. */
  readonly number: number;
}

/** Numbers that have a place in the ring: most messages have their outcome long before so many follow. */
const PLACES = 1024;

/**
 * Messages by their numbers, in their order. What is taken out leaves no trace, however long one
 * before it takes.
 *
 * This is not a `Map` alone: where messages come and go, V8 makes the table of one anew all the
 * time, and old tables hold the newer ones with all that was in them. Once the garbage collector has
 * moved one of them to its old generation, everything that was ever sent survives until that is
 * collected, which costs several times of what is saved here.
 */
export class SentMessages<Message extends Numbered> {
  /** A message of the newest numbers is where its number falls. */
  readonly #ring: (Message | undefined)[] = new Array(PLACES).fill(undefined);
  /** Those whose place another one needed, in their order. */
  readonly #late = new Map<number, Message>();
  #last = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds the message with the next number. */
  add(message: Message): void {
    this.#last = message.number;
    const place = message.number % PLACES;
    const before = this.#ring[place];
    if (before !== undefined) this.#late.set(before.number, before);
    this.#ring[place] = message;
    this.#size++;
  }

  get(number: number): Message | undefined {
    const message = this.#ring[number % PLACES];
    if (message?.number === number) return message;
    return this.#late.size === 0 ? undefined : this.#late.get(number);
  }

  /** Takes a message out. False if it is not there. */
  delete(message: Message): boolean {
    const { number } = message;
    if (this.get(number) !== message) return false;
    const place = number % PLACES;
    if (this.#ring[place] === message) this.#ring[place] = undefined;
    else this.#late.delete(number);
    this.#size--;
    return true;
  }

  clear(): void {
    this.#ring.fill(undefined);
    this.#late.clear();
    this.#size = 0;
  }

  /** Those that are there now, in their order. */
  all(): Message[] {
    const all = [...this.#late.values()];
    for (let number = Math.max(1, this.#last - PLACES + 1); number <= this.#last; number++) {
      const message = this.#ring[number % PLACES];
      if (message?.number === number) all.push(message);
    }
    return all;
  }
}
