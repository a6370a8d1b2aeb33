/** Slots of a table at the beginning; it doubles as needed. */
const SLOTS_MIN = 1024;

/** At most one of so many slots is taken. */
const SLOTS_PER_ID = 2;

/** Chosen anew in each process, so that nobody can make ids that all fall into the same slots. */
const KEY_0 = (Math.random() * 2 ** 32) | 0;
const KEY_1 = (Math.random() * 2 ** 32) | 0;

/** Ids stand in chunks of so many bytes, a power of two, so that none of them has to move. */
const CHUNK_BITS = 16;
const CHUNK_BYTES = 1 << CHUNK_BITS;

/** What stands before each: its length in units, and how many bytes each of them has. */
const HEAD_BYTES = 2;

/** Its units have one byte each if they are all below this. */
const NARROW_END = 0x100;

/**
 * A set of ids that are asked for once and mostly not there.
 *
 * A `Set` of 100,000 texts takes a third of a microsecond to say no: it looks at each text in the
 * chain of its bucket, none of which is in the processor's cache. Here the hashes stand in an array of
 * their own, and a text is looked at only where its hash is the same.
 *
 * The texts are copied. Each that was kept itself would be moved among the old objects by the garbage
 * collector, for which V8 has to note where the table knows it: a tenth of what a consumer does.
 */
export class IdSet {
  /** The hash of an id, or 0. */
  #hashes = new Int32Array(SLOTS_MIN);
  /** The place in `#chunks` of the id in the same slot of `#hashes`. */
  #places = new Uint32Array(SLOTS_MIN);
  #chunks: Uint8Array[] = [];
  /** The place behind the last id. */
  #end = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** `hash` is {@link hashOf} the id. */
  has(id: string, hash: number): boolean {
    const hashes = this.#hashes;
    const last = hashes.length - 1;
    for (let slot = hash & last; ; slot = (slot + 1) & last) {
      const found = hashes[slot];
      if (found === 0) return false;
      if (found === hash && this.#isAt(this.#places[slot] as number, id)) return true;
    }
  }

  /** Adds an id that is not there, of at most 255 UTF-16 units. */
  add(id: string, hash: number): void {
    if ((this.#size + 1) * SLOTS_PER_ID > this.#hashes.length) this.#grow();
    this.#put(hash, this.#append(id));
    this.#size++;
  }

  /** Keeps the room that was used, for as many again. */
  clear(): void {
    this.#hashes.fill(0);
    this.#chunks.length = Math.ceil(this.#end / CHUNK_BYTES);
    this.#end = 0;
    this.#size = 0;
  }

  #isAt(place: number, id: string): boolean {
    const chunk = this.#chunks[place >>> CHUNK_BITS] as Uint8Array;
    const begin = place & (CHUNK_BYTES - 1);
    const { length } = id;
    if (chunk[begin] !== length) return false;
    const step = chunk[begin + 1] as number;
    let at = begin + HEAD_BYTES;
    for (let index = 0; index < length; index++, at += step) {
      const high = step === 1 ? 0 : (chunk[at + 1] as number) << 8;
      if (((chunk[at] as number) | high) !== id.charCodeAt(index)) return false;
    }
    return true;
  }

  /** Copies an id; returns its place. */
  #append(id: string): number {
    const { length } = id;
    let place = this.#end;
    const room = CHUNK_BYTES - (place & (CHUNK_BYTES - 1));
    if (room < HEAD_BYTES + 2 * length) place += room;
    const chunk = this.#chunkOf(place);
    const begin = place & (CHUNK_BYTES - 1);
    const step = isNarrow(id) ? 1 : 2;
    let at = begin;
    chunk[at++] = length;
    chunk[at++] = step;
    for (let index = 0; index < length; index++) {
      const unit = id.charCodeAt(index);
      chunk[at++] = unit;
      if (step === 2) chunk[at++] = unit >> 8;
    }
    this.#end = place + at - begin;
    return place;
  }

  #chunkOf(place: number): Uint8Array {
    const index = place >>> CHUNK_BITS;
    const chunk = this.#chunks[index] ?? new Uint8Array(CHUNK_BYTES);
    this.#chunks[index] = chunk;
    return chunk;
  }

  #put(hash: number, place: number): void {
    const hashes = this.#hashes;
    const last = hashes.length - 1;
    let slot = hash & last;
    while (hashes[slot] !== 0) slot = (slot + 1) & last;
    hashes[slot] = hash;
    this.#places[slot] = place;
  }

  #grow(): void {
    const hashes = this.#hashes;
    const places = this.#places;
    const count = 2 * hashes.length;
    const [nextHashes, nextPlaces] = [new Int32Array(count), new Uint32Array(count)];
    this.#hashes = nextHashes;
    this.#places = nextPlaces;
    for (const [slot, hash] of hashes.entries()) {
      if (hash !== 0) this.#put(hash, places[slot] as number);
    }
  }
}

function isNarrow(id: string): boolean {
  for (let index = 0; index < id.length; index++) {
    if (id.charCodeAt(index) >= NARROW_END) return false;
  }
  return true;
}

/**
 * The hash of an id, which is not 0: HalfSipHash-1-3 of its UTF-16 units (Aumasson and Bernstein,
 * <https://github.com/veorq/SipHash>), for which nobody without the key can make many alike.
 */
export function hashOf(id: string): number {
  const { length } = id;
  const wordsBeforeLast = length >> 1;
  let v0 = KEY_0;
  let v1 = KEY_1;
  let v2 = KEY_0 ^ 0x6c796765;
  let v3 = KEY_1 ^ 0x74656462;
  for (let word = 0; word < wordsBeforeLast + 4; word++) {
    let input = 0;
    if (word < wordsBeforeLast) {
      input = id.charCodeAt(2 * word) | (id.charCodeAt(2 * word + 1) << 16);
    } else if (word === wordsBeforeLast) {
      input = (length << 24) | (length & 1 ? id.charCodeAt(length - 1) : 0);
    } else if (word === wordsBeforeLast + 1) {
      v2 ^= 0xff;
    }
    v3 ^= input;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= input;
  }
  return v1 ^ v3 || 1;
}
