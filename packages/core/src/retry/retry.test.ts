import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { retryDelaySeconds } from './backoff.ts';
import { publishRetryDelays } from './policy.ts';

/** What Celery 5.6.3 and Kombu compute. */
const golden = JSON.parse(
  readFileSync(new URL('../protocol/golden/celery-5.6.3.test.json', import.meta.url), 'utf8'),
) as {
  publishDelays: { start: number; step: number; max: number; delays: number[] }[];
  backoff: { factor: number; maximum: number; delays: number[] }[];
};

describe('publishRetryDelays', () => {
  test.each(golden.publishDelays)('from $start by $step, at most $max more', ({ start, step, max, delays }) => {
    const schedule = { maxRetries: delays.length, intervalStart: start, intervalStep: step, intervalMax: max };
    expect([...publishRetryDelays(schedule)]).toEqual(delays);
  });

  test('three times by default, never with 0, for ever with null', () => {
    const rest = { intervalStart: 0, intervalStep: 0.2, intervalMax: 1 };
    expect([...publishRetryDelays({ maxRetries: 3, ...rest })]).toEqual([0, 0.2, 0.4]);
    expect([...publishRetryDelays({ maxRetries: 0, ...rest })]).toEqual([]);
    const forever = publishRetryDelays({ maxRetries: null, ...rest });
    for (let index = 0; index < 100; index++) expect(forever.next().value).toBeLessThanOrEqual(1);
  });

  test('no wait at all stays none', () => {
    const schedule = { maxRetries: 4, intervalStart: 0, intervalStep: 0.2, intervalMax: 0 };
    expect([...publishRetryDelays(schedule)]).toEqual([0, 0, 0, 0]);
  });
});

describe('retryDelaySeconds', () => {
  test.each(golden.backoff)('factor $factor, at most $maximum', ({ factor, maximum, delays }) => {
    const options = { backoff: factor, backoffMax: maximum, jitter: false, countdown: 180 };
    expect(delays.map((_, retries) => retryDelaySeconds(retries, options))).toEqual(delays);
  });

  test('jitter takes a whole number from 0 to the delay, both included', () => {
    const options = { backoff: true, backoffMax: 600, jitter: true, countdown: 180 };
    expect(retryDelaySeconds(3, options, () => 0)).toBe(0);
    expect(retryDelaySeconds(3, options, () => 0.5)).toBe(4);
    expect(retryDelaySeconds(3, options, () => 1 - Number.EPSILON)).toBe(8);
  });

  test('without backoff it is the countdown; fractions below 1 count as 1; counts without bounds stay bounded', () => {
    const options = { backoff: false, backoffMax: 600, jitter: true, countdown: 180 };
    expect(retryDelaySeconds(5, options)).toBe(180);
    expect(retryDelaySeconds(0, { ...options, backoff: 0.1, jitter: false })).toBe(1);
    expect(retryDelaySeconds(0, { ...options, backoff: 2.9, jitter: false })).toBe(2);
    expect(retryDelaySeconds(100_000, { ...options, backoff: true, jitter: false })).toBe(600);
  });
});
