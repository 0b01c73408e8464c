import { every, Zone } from '@lovage/core';
import { describe, expect, test } from 'vitest';
import { dueInstants, type Misfire } from './due.ts';

const context = { zone: Zone.of('UTC'), anchor: 0 };
const SECOND = 1000;

function due(misfire: Misfire, last: number, now: number, deadlineMs?: number) {
  return dueInstants(every(10), context, last * SECOND, now * SECOND, { misfire, missedAfterMs: 5000, deadlineMs });
}

describe('dueInstants', () => {
  test('nothing before its time, one at its time', () => {
    expect(due('runOnce', 0, 9.999)).toEqual({ instants: [], last: 0, skipped: 0, next: 10_000 });
    expect(due('runOnce', 0, 10)).toEqual({ instants: [10_000], last: 10_000, skipped: 0, next: 20_000 });
    expect(due('skip', 0, 14)).toMatchObject({ instants: [10_000], skipped: 0 });
  });

  test('missed ones by their policy', () => {
    expect(due('runOnce', 0, 47)).toEqual({ instants: [40_000], last: 40_000, skipped: 3, next: 50_000 });
    expect(due('skip', 0, 47)).toEqual({ instants: [], last: 40_000, skipped: 4, next: 50_000 });
    expect(due('skip', 0, 43)).toMatchObject({ instants: [40_000], skipped: 3 });
    expect(due('runAll', 0, 47).instants).toEqual([10_000, 20_000, 30_000, 40_000]);
  });

  test('the rest of a long absence comes in the next round', () => {
    const first = due('runAll', 0, 5000);
    expect(first.instants.length).toBe(100);
    expect(first.next).toBe(first.last + 10_000);
    expect(due('runAll', first.last / SECOND, 5000).instants[0]).toBe(first.next);
  });

  test('what one round cannot look through sends nothing before its end is found', () => {
    const early = dueInstants(every(0.01), context, 0, 5000 * SECOND, {
      misfire: 'runOnce',
      missedAfterMs: 5000,
      deadlineMs: undefined,
    });
    expect(early).toMatchObject({ instants: [], skipped: 20_000 });
    expect(early.next).toBeLessThan(5000 * SECOND);
  });

  test('a schedule that stands still or goes backwards is an error, not due for ever', () => {
    const still = { next: () => 10_000, toString: () => 'still' };
    const run = () =>
      dueInstants(still, context, 0, 20_000, { misfire: 'runAll', missedAfterMs: 1, deadlineMs: undefined });
    expect(run).toThrow('The schedule still gave 1970-01-01T00:00:10.000Z as what follows 1970-01-01T00:00:10.000Z.');
  });

  test('what is older than the deadline is never sent', () => {
    expect(due('runOnce', 0, 47, 5000)).toMatchObject({ instants: [], skipped: 4 });
    expect(due('runAll', 0, 47, 20_000).instants).toEqual([30_000, 40_000]);
  });
});
