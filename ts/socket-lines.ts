import type { Publication } from './publication.js';

/**
 * The messages of each key that wait on the socket, in the order in which they were published.
 *
 * What takes the queue may be handled before what is still on the socket, so that it must not get
 * there before the earlier messages of its key.
 */
export class SocketLines {
  readonly #lines = new Map<string, Set<Publication>>();

  /** The newest message of its key waits on the socket. */
  add(publication: Publication): void {
    const { key } = publication;
    if (key === undefined) return;
    const line = this.#lines.get(key);
    if (line === undefined) this.#lines.set(key, new Set([publication]));
    else line.add(publication);
  }

  /** It does so no more. */
  remove(publication: Publication): void {
    const { key } = publication;
    if (key === undefined) return;
    const line = this.#lines.get(key);
    if (line?.delete(publication) && line.size === 0) this.#lines.delete(key);
  }

  /** A message and those of its key that have to be stored with it, the first one first. */
  with(publication: Publication): Publication[] {
    const { key, number } = publication;
    const line = key === undefined ? undefined : this.#lines.get(key);
    if (line === undefined) return [publication];
    if (!line.has(publication)) return [...line, publication];
    // Not a byte of it has left, nor of those behind it, which would overtake it on the socket.
    if (number === 0) return [...line];
    const upTo: Publication[] = [];
    for (const each of line) {
      upTo.push(each);
      if (each === publication) break;
    }
    return upTo;
  }
}
