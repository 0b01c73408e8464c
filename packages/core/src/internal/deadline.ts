/** The longest that `setTimeout` can wait; beyond it, it would not wait at all. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export interface TimeLimit {
  readonly timeoutMs: number;
  /** What it rejects with when the time is up. */
  readonly late: () => Error;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What `work` comes to; rejects with `late()` when the time is up first, and with the signal's reason when that fires. The
 * work goes on then, and what it comes to is of no interest any more.
 */
export async function inTime<T>(work: Promise<T>, { timeoutMs, late, signal }: TimeLimit): Promise<T> {
  let giveUp!: (reason: unknown) => void;
  const givenUp = new Promise<never>((_, reject) => {
    giveUp = reject;
  });
  const timer = setTimeout(() => giveUp(late()), Math.max(0, Math.min(timeoutMs, MAX_TIMER_MS)));
  const onAbort = (): void => giveUp(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  try {
    return await Promise.race([work, givenUp]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/** What {@link within} resolves with when the time is up. */
export const LATE: unique symbol = Symbol('late');

/**
 * Waits for `work`, but no longer than `ms` milliseconds: then resolves with {@link LATE}, and what `work` comes to is
 * of no interest any more. The timer does not keep the process alive when `ref` is false.
 */
export function within<T>(work: Promise<T>, ms: number, { ref = true } = {}): Promise<T | typeof LATE> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(LATE), Math.max(0, Math.min(ms, MAX_TIMER_MS)));
    if (!ref) timer.unref();
    work.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error as Error);
      },
    );
  });
}
