/** A queue whose `shift` does not move the rest every time. */
export class Fifo<Item extends object> {
  #items: (Item | undefined)[] = [];
  #from = 0;

  get size(): number {
    return this.#items.length - this.#from;
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  /** The first item, left where it is. */
  peek(): Item | undefined {
    return this.#items[this.#from];
  }

  shift(): Item | undefined {
    const item = this.#items[this.#from];
    if (item === undefined) return undefined;
    this.#items[this.#from] = undefined;
    this.#from++;
    // What was taken is given back when it is at least half of the array.
    if (this.#from * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#from);
      this.#from = 0;
    }
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#from = 0;
  }
}
