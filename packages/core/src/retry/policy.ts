/** `RetryPolicy` with every default filled in; seconds. */
export interface RetrySchedule {
  /** null: for ever; 0: not at all. */
  readonly maxRetries: number | null;
  readonly intervalStart: number;
  readonly intervalStep: number;
  /** The most that is added to `intervalStart`. */
  readonly intervalMax: number;
}

/**
 * The waits, in seconds, before each retry of a failed publish: 0, 0.2, 0.4 with Celery's defaults. Ends after
 * `maxRetries` of them. Source: kombu/utils/functional.py, retry_over_time and fxrange (Kombu 5.6).
 */
export function* publishRetryDelays(schedule: RetrySchedule): Generator<number, void, void> {
  const { maxRetries, intervalStart, intervalStep, intervalMax } = schedule;
  const stop = intervalStart + intervalMax;
  let next = intervalStart;
  for (let retries = 0; maxRetries === null || retries < maxRetries; retries++) {
    // Kombu's range takes a stop of zero for none and grows without end; the last wait repeats here.
    if (next <= stop) {
      yield next;
      next += intervalStep;
    } else {
      yield Math.max(0, next - intervalStep);
    }
  }
}
