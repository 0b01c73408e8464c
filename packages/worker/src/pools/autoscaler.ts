import { ConfigError } from '@lovage/core';
import type { Clock } from '../clock.ts';
import type { Pool } from './pool.ts';

/** How many jobs may run at once, at most and at least. */
export interface AutoscaleRange {
  readonly max: number;
  readonly min: number;
}

/** Celery's `AUTOSCALE_KEEPALIVE`: how long after growing nothing shrinks. */
const KEEPALIVE_MS = 30_000;
const LOOK_MS = 1000;

/**
 * Grows and shrinks a pool with the number of tasks that run or could: at once upwards, and back when it was not grown
 * for 30 seconds. Source: celery/worker/autoscale.py.
 */
export class Autoscaler {
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #load: () => number;
  #range: AutoscaleRange;
  #grownAt = Number.NEGATIVE_INFINITY;
  #cancel: (() => void) | undefined;
  #isStopped = false;

  /** `load`: how many tasks run or wait for a slot. */
  constructor(pool: Pool, range: AutoscaleRange, clock: Clock, load: () => number) {
    this.#pool = pool;
    this.#range = checkRange(range);
    this.#clock = clock;
    this.#load = load;
  }

  get range(): AutoscaleRange {
    return this.#range;
  }

  /** As `inspect stats` shows it. */
  get info(): { max: number; min: number; current: number; qty: number } {
    return { ...this.#range, current: this.#pool.concurrency, qty: this.#load() };
  }

  /** Something has changed: looks now. */
  look(): void {
    const { max, min } = this.#range;
    const wanted = Math.max(min, Math.min(max, this.#load()));
    const { concurrency } = this.#pool;
    const now = this.#clock.monotonic();
    if (wanted > concurrency) {
      this.#grownAt = now;
      this.#pool.resize(wanted);
    } else if (wanted < concurrency && now - this.#grownAt >= KEEPALIVE_MS) {
      this.#pool.resize(wanted);
    }
    if (this.#pool.concurrency > min) this.#lookLater();
  }

  /** Throws `ConfigError`. Takes effect at once. */
  setRange(range: AutoscaleRange): void {
    const { max, min } = (this.#range = checkRange(range));
    const { concurrency } = this.#pool;
    if (concurrency > max || concurrency < min) this.#pool.resize(Math.max(min, Math.min(max, concurrency)));
    this.look();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  #lookLater(): void {
    if (this.#cancel !== undefined || this.#isStopped) return;
    this.#cancel = this.#clock.after(LOOK_MS, () => {
      this.#cancel = undefined;
      this.look();
    });
  }
}

export function checkRange({ max, min }: AutoscaleRange): AutoscaleRange {
  if (!Number.isInteger(max) || !Number.isInteger(min) || min < 0 || max < 1 || min > max) {
    throw new ConfigError(
      `The autoscale range max=${String(max)} min=${String(min)} is not one. Expected two whole numbers, the first at least 1 and not below the second.`,
    );
  }
  // A pool without any slot would never see what waits.
  return { max, min: Math.max(1, min) };
}
