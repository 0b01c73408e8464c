import type { Clock } from './clock.ts';

/** Where a wait is longer, it is made of several: timers have a longest time. */
const LONGEST_WAIT_MS = 60_000;

/** The time that running tasks have left when their worker stops. It can only become shorter. */
export class Grace {
  readonly #clock: Clock;
  #end = Number.POSITIVE_INFINITY;
  #hurry: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Monotonic; Infinity: nobody stops. */
  get end(): number {
    return this.#end;
  }

  shorten(end: number): void {
    if (end >= this.#end) return;
    this.#end = end;
    this.#hurry?.();
  }

  /** Resolves when the work is done or the time is over. */
  async until(work: Promise<void>): Promise<void> {
    let isOver = false;
    void work.then(() => {
      isOver = true;
      this.#hurry?.();
    });
    while (!isOver) {
      const leftMs = this.#end - this.#clock.monotonic();
      if (leftMs <= 0) {
        // What is idle already is told by a microtask.
        await Promise.resolve();
        break;
      }
      await new Promise<void>((resolve) => {
        const cancel = this.#clock.after(Math.min(leftMs, LONGEST_WAIT_MS), resolve);
        this.#hurry = () => {
          cancel();
          resolve();
        };
        if (isOver) this.#hurry();
      });
    }
    this.#hurry = undefined;
  }
}

/** Resolves when the work is done, however it ends, or after so long. */
export function within(clock: Clock, work: Promise<unknown>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(Math.max(0, ms), resolve);
    const ended = (): void => {
      cancel();
      resolve();
    };
    work.then(ended, ended);
  });
}
