import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { AsyncPool } from './async-pool.ts';
import { Autoscaler } from './autoscaler.ts';

function scaled(load: { value: number }, max = 10, min = 2) {
  const clock = new ManualClock();
  const pool = new AsyncPool(min, clock);
  return { clock, pool, autoscaler: new Autoscaler(pool, { max, min }, clock, () => load.value) };
}

describe('Autoscaler', () => {
  test('grows at once as far as it may, and shrinks 30 seconds after it last grew', () => {
    const load = { value: 7 };
    const { clock, pool, autoscaler } = scaled(load);
    autoscaler.look();
    expect(pool.concurrency).toBe(7);
    load.value = 50;
    autoscaler.look();
    expect(pool.concurrency).toBe(10);
    load.value = 0;
    clock.advance(29_000);
    expect(pool.concurrency).toBe(10);
    clock.advance(1000);
    expect(pool.concurrency).toBe(2);
    expect(clock.timers).toBe(0);
  });

  test('a new range takes effect at once; a wrong one is refused', () => {
    const { pool, autoscaler } = scaled({ value: 0 });
    autoscaler.setRange({ max: 20, min: 5 });
    expect(pool.concurrency).toBe(5);
    expect(autoscaler.info).toEqual({ max: 20, min: 5, current: 5, qty: 0 });
    expect(() => autoscaler.setRange({ max: 3, min: 5 })).toThrow('max=3 min=5');
    autoscaler.setRange({ max: 1, min: 0 });
    expect(pool.concurrency).toBe(1);
  });
});
