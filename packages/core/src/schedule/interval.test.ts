import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { every, toSchedule } from './interval.ts';
import { Zone } from './zone.ts';

const context = { zone: Zone.of('UTC'), anchor: Date.parse('2026-01-01T00:00:07.250Z') };

describe('every', () => {
  test('is counted from the anchor, without drift', () => {
    const schedule = every(30);
    expect(schedule.next(context.anchor, context)).toBe(context.anchor + 30_000);
    expect(schedule.next(context.anchor + 30_001, context)).toBe(context.anchor + 60_000);
    expect(schedule.next(context.anchor + 86_400_000, context)).toBe(context.anchor + 86_430_000);
  });

  test('always goes on', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.001, max: 1e6, noNaN: true }), fc.nat(1e12), (seconds, after) => {
        const at = context.anchor + after;
        const next = every(seconds).next(at, context) as number;
        expect(next).toBeGreaterThan(at);
        expect(next).toBeLessThanOrEqual(at + 2 * Math.max(1, seconds * 1000) + 1);
      }),
    );
  });

  test('relative: on round times of the wall clock', () => {
    const paris = { zone: Zone.of('Europe/Paris'), anchor: 0 };
    const at = Date.parse('2026-01-01T10:17:33Z');
    const iso = (seconds: number): string =>
      new Date(every(seconds, { relative: true }).next(at, paris) as number).toISOString();
    expect(iso(86_400)).toBe('2026-01-01T23:00:00.000Z');
    expect(iso(7200)).toBe('2026-01-01T12:00:00.000Z');
    expect(iso(90)).toBe('2026-01-01T10:19:00.000Z');
    expect(iso(2)).toBe('2026-01-01T10:17:35.000Z');
  });

  test('a number is an interval; what is no schedule is said', () => {
    expect(String(toSchedule(5))).toBe('every(5)');
    expect(() => toSchedule(0)).toThrow('The interval 0 is not one.');
    expect(() => toSchedule('hourly' as unknown as number)).toThrow('"hourly" is no schedule.');
  });
});
