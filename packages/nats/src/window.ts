/** What may be unconfirmed at once; one larger batch still goes, alone. */
export class Window {
  readonly #maxCount: number;
  readonly #maxBytes: number;
  readonly #waiting: { readonly count: number; readonly bytes: number; readonly enter: () => void }[] = [];
  #count = 0;
  #bytes = 0;

  constructor(maxCount: number, maxBytes: number) {
    this.#maxCount = maxCount;
    this.#maxBytes = maxBytes;
  }

  /** Resolves when there is room, in the order of the calls. */
  async enter(count: number, bytes: number): Promise<void> {
    if (this.#waiting.length > 0 || !this.#hasRoom(count, bytes)) {
      await new Promise<void>((enter) => {
        this.#waiting.push({ count, bytes, enter });
      });
      return;
    }
    this.#count += count;
    this.#bytes += bytes;
  }

  leave(count: number, bytes: number): void {
    this.#count -= count;
    this.#bytes -= bytes;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (!this.#hasRoom(next.count, next.bytes)) return;
      this.#waiting.shift();
      this.#count += next.count;
      this.#bytes += next.bytes;
      next.enter();
    }
  }

  #hasRoom(count: number, bytes: number): boolean {
    return this.#count === 0 || (this.#count + count <= this.#maxCount && this.#bytes + bytes <= this.#maxBytes);
  }
}
