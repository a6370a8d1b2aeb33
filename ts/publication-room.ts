import { IpcError } from './errors.js';
import { Fifo } from './fifo.js';
import type { Publication } from './publication.js';

/** How much a {@link PublicationRoom} takes. */
export interface RoomOptions {
  /** Publications inside at most; as many may wait. */
  countMax: number;
  /** Their length together, and that of those that wait. */
  lengthMax: number;
  /** Whether those that find no room wait for it. */
  blocks: boolean;
}

/**
 * The publications of a publisher that have no outcome: those inside, and those that wait for room.
 *
 * Those inside know their neighbours. In a `Set`, where they come and go, V8 would make the table
 * anew all the time, and let them survive; see `SentMessages`.
 */
export class PublicationRoom {
  readonly #options: RoomOptions;
  #oldest: Publication | undefined;
  #newest: Publication | undefined;
  #insideCount = 0;
  #insideLength = 0;
  readonly #outside = new Fifo<Publication>();
  #outsideLength = 0;

  constructor(options: RoomOptions) {
    this.#options = options;
  }

  /** How many are inside. */
  get size(): number {
    return this.#insideCount;
  }

  /** The length of those inside. */
  get length(): number {
    return this.#insideLength;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#outside.size;
  }

  /** Whether there is none inside and none that waits. */
  get isEmpty(): boolean {
    return this.#insideCount === 0 && this.#outside.size === 0;
  }

  /** Those that are inside now, the oldest first. */
  inside(): Publication[] {
    const inside: Publication[] = [];
    for (let each = this.#oldest; each !== undefined; each = each.newer) inside.push(each);
    return inside;
  }

  /**
   * Lets a publication in, or has it wait. Returns whether it is inside.
   *
   * @throws {IpcError} `ERR_IPC_BUFFER_FULL`.
   */
  admit(publication: Publication): boolean {
    const { length } = publication;
    if (this.#outside.size === 0 && this.#hasRoom(length)) {
      this.#enter(publication);
      return true;
    }
    const { countMax, lengthMax, blocks } = this.#options;
    if (!blocks || this.#outside.size >= countMax || this.#outsideLength + length > lengthMax) {
      const text = `The publisher is full: ${this.#insideCount} messages are neither handled nor stored`;
      throw new IpcError('ERR_IPC_BUFFER_FULL', text);
    }
    this.#outsideLength += length;
    this.#outside.push(publication);
    return false;
  }

  /** Lets the one in that has waited longest, if there is one and room for it. */
  letIn(): Publication | undefined {
    const next = this.#outside.peek();
    if (next === undefined || !this.#hasRoom(next.length)) return undefined;
    this.#shift();
    this.#enter(next);
    return next;
  }

  /** One of those inside has its outcome. */
  leave(publication: Publication): void {
    const { older, newer } = publication;
    if (older === undefined && this.#oldest !== publication) return;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    // Or the garbage collector keeps all that came behind it.
    publication.older = undefined;
    publication.newer = undefined;
    this.#insideCount--;
    this.#insideLength -= publication.length;
  }

  /** When the one that has waited longest runs out of time; infinite if none waits. */
  get deadline(): number {
    return this.#outside.peek()?.deadline ?? Number.POSITIVE_INFINITY;
  }

  /** Takes the one away that has waited longest, if it has run out of time. */
  expire(now: number): Publication | undefined {
    return now < this.deadline ? undefined : this.#shift();
  }

  /** Takes those away that wait; returns them behind those inside. */
  takeAll(): Publication[] {
    const all = this.inside();
    for (let next = this.#shift(); next !== undefined; next = this.#shift()) all.push(next);
    return all;
  }

  /** One is taken whatever its length when nothing else is there. */
  #hasRoom(length: number): boolean {
    const { countMax, lengthMax } = this.#options;
    const count = this.#insideCount;
    return count === 0 || (count < countMax && this.#insideLength + length <= lengthMax);
  }

  #enter(publication: Publication): void {
    publication.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = publication;
    else this.#newest.newer = publication;
    this.#newest = publication;
    this.#insideCount++;
    this.#insideLength += publication.length;
  }

  #shift(): Publication | undefined {
    const first = this.#outside.shift();
    if (first !== undefined) this.#outsideLength -= first.length;
    return first;
  }
}
