/** How long a task waits before it is tried again; seconds. */
export interface BackoffOptions {
  /** false: always `countdown`. true: 1, 2, 4 ...; a number multiplies them, at least by 1, its fraction cut off. */
  readonly backoff: boolean | number;
  /** Celery's default: 600. */
  readonly backoffMax: number;
  /** Take a random whole number of seconds from 0 to the delay. Celery's default: true. */
  readonly jitter: boolean;
  /** Used when `backoff` is false or 0. */
  readonly countdown: number;
}

/**
 * Seconds until the next attempt, after `retries` retries. `random` gives numbers from 0 up to, not including, 1.
 * Source: celery/app/autoretry.py; celery/utils/time.py, get_exponential_backoff_interval.
 */
export function retryDelaySeconds(
  retries: number,
  { backoff, backoffMax, jitter, countdown }: BackoffOptions,
  random: () => number = Math.random,
): number {
  if (backoff === false || backoff === 0) return countdown;
  const factor = Math.trunc(Math.max(1, Number(backoff)));
  const delay = Math.max(0, Math.min(backoffMax, factor * 2 ** retries));
  return jitter ? Math.floor(random() * (Math.floor(delay) + 1)) : delay;
}
