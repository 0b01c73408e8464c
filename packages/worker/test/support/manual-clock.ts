import type { Clock } from '../../src/clock.ts';

/** A clock that moves when told to: the tests' way not to sleep. */
export class ManualClock implements Clock {
  #wall: number;
  #monotonic = 0;
  #timers: { at: number; callback: () => void }[] = [];

  constructor(wall = Date.UTC(2026, 0, 1)) {
    this.#wall = wall;
  }

  now(): number {
    return this.#wall;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  after(ms: number, callback: () => void): () => void {
    if (ms > 2 ** 31 - 1) throw new RangeError(`A timer of ${ms} ms fires at once in Node.`);
    const timer = { at: this.#monotonic + ms, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  get timers(): number {
    return this.#timers.length;
  }

  /** Lets time pass: every timer that becomes due is called at its time. */
  advance(ms: number): void {
    const end = this.#monotonic + ms;
    for (;;) {
      let next: { at: number; callback: () => void } | undefined;
      for (const timer of this.#timers) if (timer.at <= end && (next === undefined || timer.at < next.at)) next = timer;
      if (next === undefined) break;
      const step = Math.max(0, next.at - this.#monotonic);
      this.#monotonic += step;
      this.#wall += step;
      const due = next;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      due.callback();
    }
    this.#wall += end - this.#monotonic;
    this.#monotonic = end;
  }

  /** Somebody sets the wall clock. */
  jump(ms: number): void {
    this.#wall += ms;
  }
}
