/**
 * Replies that may still come and that nobody waits for, by the id they would have, so that none of
 * them is taken for the reply to something else under the same id.
 */
export class OwedReplies {
  /** Two generations: the older one is forgotten as a whole when the younger one is full. */
  #young = new Map<unknown, number>();
  #old = new Map<unknown, number>();
  readonly #max: number;

  /** At least the newest `max` are kept, and at most twice as many. */
  constructor(max: number) {
    this.#max = max;
  }

  /**
   * One more reply with this id may come. Nothing is kept of an id that none can be recognised by: an object
   * comes back as another one, and what JSON has no form for not at all.
   */
  add(id: unknown): void {
    if (typeof id !== 'string' && typeof id !== 'number' && typeof id !== 'boolean') return;
    this.#young.set(id, (this.#young.get(id) ?? 0) + 1);
    if (this.#young.size < this.#max) return;
    this.#old = this.#young;
    this.#young = new Map();
  }

  /** Whether a reply with this id is one of these, which it is then no more. */
  take(id: unknown): boolean {
    return takeFrom(this.#old, id) || takeFrom(this.#young, id);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }
}

function takeFrom(counts: Map<unknown, number>, id: unknown): boolean {
  const count = counts.get(id);
  if (count === undefined) return false;
  if (count === 1) counts.delete(id);
  else counts.set(id, count - 1);
  return true;
}
