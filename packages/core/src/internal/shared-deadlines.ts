/** How late a deadline may be noticed: one timer looks at all of them. */
const LOOK_MS = 100;

interface Waiting {
  readonly deadline: number;
  readonly reject: (error: Error) => void;
}

/** Deadlines for many short waits at once, over one timer: a timer for each would cost more than the wait itself. */
export class SharedDeadlines {
  readonly #late: () => Error;
  readonly #waiting = new Set<Waiting>();
  #timer: NodeJS.Timeout | undefined;

  /** `late` makes the error of a wait whose deadline has passed. */
  constructor(late: () => Error) {
    this.#late = late;
  }

  /** Settles as `work` does, or rejects once `deadline` (epoch milliseconds) has passed. */
  race<T>(work: Promise<T>, deadline: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = { deadline, reject };
      this.#waiting.add(waiting);
      // What is waited for keeps the process; the timer need not. It ends at the first look that finds nobody.
      this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
      work.then(
        (value) => {
          this.#waiting.delete(waiting);
          resolve(value);
        },
        (error: unknown) => {
          this.#waiting.delete(waiting);
          reject(error as Error);
        },
      );
    });
  }

  #look(): void {
    if (this.#waiting.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    const now = Date.now();
    for (const waiting of this.#waiting) {
      if (waiting.deadline > now) continue;
      this.#waiting.delete(waiting);
      waiting.reject(this.#late());
    }
  }
}
