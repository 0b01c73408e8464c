/**
 * Waiting that takes nothing: a waiter sleeps until a hint comes, its time is over, its signal aborts, or the link is lost.
 * A hint that came before the waiter slept is not missed: it compares {@link WakeUps.count} with what it read before.
 */
export class WakeUps {
  readonly #waiters = new Set<() => void>();
  #count = 0;

  /** How many hints came so far. */
  get count(): number {
    return this.#count;
  }

  /** Wakes everybody. */
  notify(): void {
    this.#count++;
    for (const wake of this.#waiters) wake();
  }

  /** Resolves on the first hint after the `seen`th, after `ms`, or on abort. */
  async sleep(seen: number, ms: number, signal: AbortSignal): Promise<void> {
    if (this.#count !== seen || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        this.#waiters.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      signal.addEventListener('abort', wake, { once: true });
      this.#waiters.add(wake);
    });
  }
}

/** No consumer waits longer than this after a hint that others may have got as well. */
const LONGEST_PAUSE_MS = 50;
/** So often in a row may the message be gone when we come. */
const FREE_MISSES = 3;

/**
 * One message wakes every idle consumer of its queue, and one gets it. Who came for nothing several times in a row waits
 * a random moment before it looks again, so that a crowd of idle consumers does not run a script each for every message.
 */
export class HerdBrake {
  readonly #random: () => number;
  #misses = 0;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  hit(): void {
    this.#misses = 0;
  }

  miss(): void {
    this.#misses++;
  }

  /** 0: look at once. */
  get pauseMs(): number {
    const excess = this.#misses - FREE_MISSES;
    return excess <= 0 ? 0 : this.#random() * Math.min(LONGEST_PAUSE_MS, 2 ** excess);
  }
}
