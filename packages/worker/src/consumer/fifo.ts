/** First in, first out, with a cheap way to take from the front. */
export class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head] as T;
    // What was taken must not be kept alive by the queue.
    this.#items[this.#head++] = undefined as T;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes out all for which `test` holds; the others keep their order. */
  extract(test: (item: T) => boolean): T[] {
    const out: T[] = [];
    const kept: T[] = [];
    for (const item of this.items()) (test(item) ? out : kept).push(item);
    this.#items = kept;
    this.#head = 0;
    return out;
  }

  items(): readonly T[] {
    return this.#items.slice(this.#head);
  }
}
