/** The longest that `setTimeout` can wait; beyond it, it would not wait at all. */
const MAX_TIMER_MS = 2 ** 31 - 1;

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
