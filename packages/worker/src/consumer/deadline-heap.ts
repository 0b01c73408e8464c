import type { Clock } from '../clock.ts';

/** One thing that waits for its time. `item` is what `fire` is given. */
export interface HeapEntry<T> {
  readonly item: T;
  /** In the heap's own time. */
  readonly at: number;
  /** Order of arrival: equal times fire first in, first out. */
  readonly sequence: number;
  /** Place in the heap; -1: fired, removed. */
  index: number;
}

/**
 * The longest sleep. ETA is wall clock time and timers are not: a clock that was set forward is noticed within this
 * time. It also keeps a far ETA away from `setTimeout`'s limit of 2^31 - 1 ms, beyond which Node fires at once.
 */
const LONGEST_SLEEP_MS = 1000;

/**
 * Things that happen at a time: one heap and one timer for all of them. Whatever the horizon, nothing fires early, and
 * what is due fires within a second of the clock saying so.
 */
export class DeadlineHeap<T> {
  readonly #clock: Clock;
  readonly #now: () => number;
  readonly #fire: (items: readonly T[]) => void;
  readonly #heap: HeapEntry<T>[] = [];
  #sequence = 0;
  #cancelTimer: (() => void) | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  /** `time`: `wall` for instants that people named, `monotonic` for durations. */
  constructor(clock: Clock, time: 'wall' | 'monotonic', fire: (items: readonly T[]) => void) {
    this.#clock = clock;
    this.#now = time === 'wall' ? () => clock.now() : () => clock.monotonic();
    this.#fire = fire;
  }

  get size(): number {
    return this.#heap.length;
  }

  /** In no order. */
  items(): T[] {
    return this.#heap.map(({ item }) => item);
  }

  /** In no order; a copy. */
  entries(): readonly HeapEntry<T>[] {
    return [...this.#heap];
  }

  add(at: number, item: T): HeapEntry<T> {
    const entry: HeapEntry<T> = { item, at, sequence: this.#sequence++, index: this.#heap.length };
    this.#heap.push(entry);
    this.#rise(entry);
    if (at < this.#timerAt) this.#arm();
    return entry;
  }

  /** False when it fired or was removed before. */
  remove(entry: HeapEntry<T>): boolean {
    const { index } = entry;
    if (index < 0) return false;
    this.#take(index);
    // The timer stays: one wake-up too many costs less than arming it anew for each task that ends in time.
    if (this.#heap.length === 0) this.#disarm();
    return true;
  }

  /** Takes out all for which `test` holds, in no order. */
  extract(test: (item: T) => boolean): T[] {
    const out = this.#heap.filter((entry) => test(entry.item));
    for (const entry of out) this.remove(entry);
    return out.map(({ item }) => item);
  }

  /** Forgets everything and stops the timer. */
  clear(): T[] {
    return this.extract(() => true);
  }

  #arm(): void {
    this.#cancelTimer?.();
    const now = this.#now();
    const sleep = Math.min(LONGEST_SLEEP_MS, Math.max(0, Math.ceil((this.#heap[0] as HeapEntry<T>).at - now)));
    this.#timerAt = now + sleep;
    this.#cancelTimer = this.#clock.after(sleep, () => this.#tick());
  }

  #disarm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #tick(): void {
    this.#cancelTimer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = this.#now();
    const due: T[] = [];
    for (let first = this.#heap[0]; first !== undefined && first.at <= now; first = this.#heap[0]) {
      due.push(first.item);
      this.#take(0);
    }
    if (this.#heap.length > 0) this.#arm();
    if (due.length > 0) this.#fire(due);
  }

  #take(index: number): void {
    const heap = this.#heap;
    const taken = heap[index] as HeapEntry<T>;
    const last = heap.pop() as HeapEntry<T>;
    taken.index = -1;
    if (last === taken) return;
    heap[index] = last;
    last.index = index;
    this.#rise(last);
    this.#sink(last);
  }

  #rise(entry: HeapEntry<T>): void {
    const heap = this.#heap;
    let index = entry.index;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex] as HeapEntry<T>;
      if (!isBefore(entry, parent)) break;
      heap[index] = parent;
      parent.index = index;
      index = parentIndex;
    }
    heap[index] = entry;
    entry.index = index;
  }

  #sink(entry: HeapEntry<T>): void {
    const heap = this.#heap;
    let index = entry.index;
    for (;;) {
      const left = 2 * index + 1;
      if (left >= heap.length) break;
      const right = left + 1;
      const smaller =
        right < heap.length && isBefore(heap[right] as HeapEntry<T>, heap[left] as HeapEntry<T>) ? right : left;
      const child = heap[smaller] as HeapEntry<T>;
      if (!isBefore(child, entry)) break;
      heap[index] = child;
      child.index = index;
      index = smaller;
    }
    heap[index] = entry;
    entry.index = index;
  }
}

function isBefore<T>(a: HeapEntry<T>, b: HeapEntry<T>): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}
