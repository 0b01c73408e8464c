import { ConfigError } from '@lovage/core';
import type { Clock } from '../clock.ts';
import { DeadlineHeap } from './deadline-heap.ts';
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
  readonly intervalMs: number;
  /** Monotonic; when the next one may start. */
  nextAt: number;
  readonly waiting: Fifo<T>;
}

/**
 * Lets tasks of a name start one by one, at their rate: a token bucket that holds one token.
 * Source: kombu/utils/limits.py, TokenBucket.
 */
export class RateLimiter<T> {
  readonly #clock: Clock;
  readonly #release: (items: readonly T[]) => void;
  readonly #buckets = new Map<string, Bucket<T> | undefined>();
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
      if (limit === null || this.#buckets.has(name)) return true;
      const intervalMs = parseRateLimit(limit);
      bucket =
        intervalMs === undefined ? undefined : { intervalMs, nextAt: Number.NEGATIVE_INFINITY, waiting: new Fifo() };
      this.#buckets.set(name, bucket);
      if (bucket === undefined) return true;
    }
    const now = this.#clock.monotonic();
    if (bucket.waiting.size === 0 && now >= bucket.nextAt) {
      bucket.nextAt = now + bucket.intervalMs;
      return true;
    }
    bucket.waiting.push(item);
    this.#waiting++;
    if (bucket.waiting.size === 1) this.#alarms.add(bucket.nextAt, bucket);
    return false;
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
      const item = bucket.waiting.shift();
      if (item === undefined) continue;
      released.push(item);
      this.#waiting--;
      // From the time it was due, not from now: a late timer does not lower the rate.
      bucket.nextAt = Math.max(bucket.nextAt, this.#clock.monotonic() - bucket.intervalMs) + bucket.intervalMs;
      if (bucket.waiting.size > 0) this.#alarms.add(bucket.nextAt, bucket);
    }
    if (released.length > 0) this.#release(released);
  }
}
