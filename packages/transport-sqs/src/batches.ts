/** SQS takes ten entries in one request of any kind. */
export const MOST_ENTRIES = 10;

/** Cuts into batches of at most ten, and of at most `mostBytes` together; a single larger item goes alone. */
export function batchesOf<T>(
  items: readonly T[],
  bytesOf: (item: T) => number = () => 0,
  mostBytes: number = Number.POSITIVE_INFINITY,
): readonly (readonly T[])[] {
  const batches: T[][] = [];
  let bytes = 0;
  for (const item of items) {
    const size = bytesOf(item);
    const last = batches.at(-1);
    if (last === undefined || last.length === MOST_ENTRIES || bytes + size > mostBytes) {
      batches.push([item]);
      bytes = size;
    } else {
      last.push(item);
      bytes += size;
    }
  }
  return batches;
}

/** Groups by a key, in the order of first appearance. */
export function groupsOf<K, T>(items: Iterable<T>, keyOf: (item: T) => K): ReadonlyMap<K, readonly T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

/**
 * Joins what is handed in one by one: what comes while a batch is under way waits for its end, so that a busy queue has
 * full batches and a quiet one no delay. At most `lanes` batches are under way.
 */
export class Joiner<T> {
  readonly #send: (items: readonly T[]) => Promise<void>;
  readonly #lanes: number;
  #waiting: { readonly item: T; readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];
  #running = 0;

  /** `send` answers for all of at most ten items. */
  constructor(send: (items: readonly T[]) => Promise<void>, lanes = 8) {
    this.#send = send;
    this.#lanes = lanes;
  }

  /** Settles with the batch that the item goes in. */
  add(item: T): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      // Those of one call shall stand together.
      if (this.#waiting.length === 1) queueMicrotask(() => this.#next());
    });
  }

  #next(): void {
    while (this.#waiting.length > 0 && (this.#running === 0 || this.#isWorthALane())) {
      const batch = this.#waiting.splice(0, MOST_ENTRIES);
      this.#running++;
      this.#send(batch.map(({ item }) => item))
        .then(
          () => batch.forEach(({ resolve }) => resolve()),
          (error: unknown) => batch.forEach(({ reject }) => reject(error)),
        )
        .finally(() => {
          this.#running--;
          this.#next();
        });
    }
  }

  #isWorthALane(): boolean {
    return this.#running < this.#lanes && this.#waiting.length >= MOST_ENTRIES;
  }
}
