import { describe, expect, test } from 'vitest';
import { isLovageError } from '@lovage/core';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { parseRateLimit, RateLimiter } from './rate-limit.ts';

describe('parseRateLimit', () => {
  test.each([
    ['10/m', 6000],
    ['10/s', 100],
    ['1/h', 3_600_000],
    ['0.5/s', 2000],
    [5, 200],
    ['5', 200],
    [null, undefined],
    [0, undefined],
    ['', undefined],
    ['0/s', undefined],
  ])('%s', (limit, intervalMs) => {
    expect(parseRateLimit(limit)).toBe(intervalMs);
  });

  test.each(['fast', '1/d', '-1/s', '1 /s', '1e3'])('refuses %s', (limit) => {
    expect(() => parseRateLimit(limit)).toThrow(expect.toSatisfy((error) => isLovageError(error, 'ERR_CONFIG')));
  });
});

describe('RateLimiter', () => {
  test('lets one pass at a time, in order, and the next after the interval', () => {
    const clock = new ManualClock();
    const released: number[] = [];
    const limiter = new RateLimiter<number>(clock, (items) => released.push(...items));
    expect(limiter.pass('a', '2/s', 0)).toBe(true);
    for (const n of [1, 2, 3]) expect(limiter.pass('a', '2/s', n)).toBe(false);
    expect(limiter.pass('b', null, 9)).toBe(true);
    expect(limiter.waiting).toBe(3);
    clock.advance(499);
    expect(released).toEqual([]);
    clock.advance(1);
    expect(released).toEqual([1]);
    clock.advance(500);
    expect(released).toEqual([1, 2]);
    expect(limiter.extract((n) => n === 3)).toEqual([3]);
    expect(limiter.waiting).toBe(0);
    clock.advance(2000);
    expect(limiter.pass('a', '2/s', 4)).toBe(true);
    expect(released).toEqual([1, 2]);
  });

  test('a new limit holds at once for what waits, and taking it away releases all', () => {
    const clock = new ManualClock();
    const released: number[] = [];
    const limiter = new RateLimiter<number>(clock, (items) => released.push(...items));
    for (const n of [0, 1, 2, 3]) limiter.pass('a', '1/h', n);
    limiter.setLimit('a', '1/s');
    clock.advance(1000);
    expect(released).toEqual([1]);
    limiter.setLimit('a', '1/m');
    clock.advance(59_999);
    expect(released).toEqual([1]);
    clock.advance(1);
    expect(released).toEqual([1, 2]);
    limiter.setLimit('a', null);
    expect(released).toEqual([1, 2, 3]);
    expect(limiter.pass('a', '1/h', 4)).toBe(true);
    limiter.setLimit('b', '1/s');
    expect(limiter.pass('b', null, 5)).toBe(true);
    expect(limiter.pass('b', null, 6)).toBe(false);
    expect(() => limiter.setLimit('b', 'fast')).toThrow('fast');
  });

  test('after a pause one passes at once, not as many as the pause was long', () => {
    const clock = new ManualClock();
    const limiter = new RateLimiter<number>(clock, () => {});
    expect(limiter.pass('a', 1, 0)).toBe(true);
    clock.advance(60_000);
    expect(limiter.pass('a', 1, 1)).toBe(true);
    expect(limiter.pass('a', 1, 2)).toBe(false);
  });
});
