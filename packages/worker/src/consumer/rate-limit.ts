import { ConfigError } from '@lovage/core';
import type { Clock } from '../clock.ts';
import { DeadlineHeap, type HeapEntry } from './deadline-heap.ts';
import { Fifo } from './fifo.ts';

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/**
 * Milliseconds between two starts: `10/m` is 6000. undefined: no limit (null, 0, ""). Throws `ConfigError`.
 * Source: celery/utils/time.py, rate.
 */
export function parseRateLimit(limit: string | number | null | undefined): number | undefined {
  if (limit === null || limit === undefined || limit === 0 || limit === '') return undefined;
  const match = /^(\d+(?:\.\d+)?|\.\d+)(?:\/([smh]))?$/.exec(String(limit));
  if (match === null) {
    throw new ConfigError(
      `The rate limit ${JSON.stringify(limit)} is not one. Expected a number, or "10/s", "10/m", "1/h".`,
    );
  }
  const count = Number(match[1]);
  if (count === 0) return undefined;
  return ((UNIT_SECONDS[match[2] ?? 's'] as number) * 1000) / count;
}

interface Bucket<T> {
  intervalMs: number;
  /** Monotonic; when the last one started. */
  lastAt: number;
  readonly waiting: Fifo<T>;
  /** When the first that waits may start. */
  alarm: HeapEntry<Bucket<T>> | undefined;
}

/**
 * Lets tasks of a name start one by one, at their rate: a token bucket that holds one token.
 * Source: kombu/utils/limits.py, TokenBucket.
 */
export class RateLimiter<T> {
  readonly #clock: Clock;
  readonly #release: (items: readonly T[]) => void;
  readonly #buckets = new Map<string, Bucket<T> | undefined>();
  /** Limits that were set while the worker runs. */
  readonly #changed = new Map<string, string | number | null>();
  readonly #alarms: DeadlineHeap<Bucket<T>>;
  #waiting = 0;

  constructor(clock: Clock, release: (items: readonly T[]) => void) {
    this.#clock = clock;
    this.#release = release;
    this.#alarms = new DeadlineHeap<Bucket<T>>(clock, 'monotonic', (due) => this.#open(due));
  }

  /** How many wait for their turn. */
  get waiting(): number {
    return this.#waiting;
  }

  /** True: it may start now. False: it is kept, and released when it may. */
  pass(name: string, limit: string | number | null, item: T): boolean {
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      if (this.#buckets.has(name)) return true;
      const intervalMs = parseRateLimit(this.#changed.has(name) ? this.#changed.get(name) : limit);
      bucket =
        intervalMs === undefined
          ? undefined
          : { intervalMs, lastAt: Number.NEGATIVE_INFINITY, waiting: new Fifo(), alarm: undefined };
      this.#buckets.set(name, bucket);
      if (bucket === undefined) return true;
    }
    const now = this.#clock.monotonic();
    if (bucket.waiting.size === 0 && now >= bucket.lastAt + bucket.intervalMs) {
      bucket.lastAt = now;
      return true;
    }
    bucket.waiting.push(item);
    this.#waiting++;
    if (bucket.alarm === undefined) this.#arm(bucket);
    return false;
  }

  /** What waits follows the new limit at once; null, 0 and "" take it away. Throws `ConfigError`. */
  setLimit(name: string, limit: string | number | null): void {
    const intervalMs = parseRateLimit(limit);
    this.#changed.set(name, limit);
    const bucket = this.#buckets.get(name);
    // Made anew with the next task; without a limit nothing is kept.
    if (bucket === undefined || intervalMs === undefined) this.#buckets.delete(name);
    if (bucket === undefined) return;
    if (bucket.alarm !== undefined) this.#alarms.remove(bucket.alarm);
    bucket.alarm = undefined;
    if (intervalMs !== undefined) {
      bucket.intervalMs = intervalMs;
      if (bucket.waiting.size > 0) this.#arm(bucket);
      return;
    }
    const released = bucket.waiting.extract(() => true);
    this.#waiting -= released.length;
    if (released.length > 0) this.#release(released);
  }

  #arm(bucket: Bucket<T>): void {
    bucket.alarm = this.#alarms.add(bucket.lastAt + bucket.intervalMs, bucket);
  }

  /** Takes out all for which `test` holds. */
  extract(test: (item: T) => boolean): T[] {
    const out: T[] = [];
    for (const bucket of this.#buckets.values()) if (bucket !== undefined) out.push(...bucket.waiting.extract(test));
    this.#waiting -= out.length;
    return out;
  }

  items(): T[] {
    return [...this.#buckets.values()].flatMap((bucket) => bucket?.waiting.items() ?? []);
  }

  close(): void {
    this.#alarms.clear();
  }

  #open(due: readonly Bucket<T>[]): void {
    const released: T[] = [];
    for (const bucket of due) {
      bucket.alarm = undefined;
      const item = bucket.waiting.shift();
      if (item === undefined) continue;
      released.push(item);
      this.#waiting--;
      // From the time it was due, not from now: a late timer does not lower the rate.
      bucket.lastAt = Math.max(bucket.lastAt + bucket.intervalMs, this.#clock.monotonic() - bucket.intervalMs);
      if (bucket.waiting.size > 0) this.#arm(bucket);
    }
    if (released.length > 0) this.#release(released);
  }
}
