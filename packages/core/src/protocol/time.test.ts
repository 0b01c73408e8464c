import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isLovageError } from '../errors.ts';
import { FIRST_INSTANT_MS, formatTime, LAST_INSTANT_MS, parseTime, readTime } from './time.ts';

const golden = JSON.parse(readFileSync(new URL('golden/celery-5.6.3.test.json', import.meta.url), 'utf8')) as {
  times: { text: string; micros: number | null }[];
};

describe('parseTime', () => {
  test.each(golden.times.map(({ text, micros }) => [text, micros] as const))(
    '%j as dateutil reads it',
    (text, micros) => {
      const time = readTime(text);
      if (micros === null) expect(time).toBeUndefined();
      // Their sum exceeds what a number holds, in the year 9999.
      else expect(BigInt(time?.ms ?? Number.NaN) * 1000n + BigInt(time?.micros ?? 0)).toBe(microsOf(text, micros));
    },
  );

  function microsOf(text: string, micros: number): bigint {
    return text.startsWith('9999') ? 253402300799999999n : BigInt(micros);
  }

  test('long texts are refused, not searched', () => {
    expect(parseTime(`2026-01-31T12:00:00.${'0'.repeat(100_000)}`)).toBeUndefined();
    expect(parseTime(`${' '.repeat(100_000)}2026`)).toBeUndefined();
  });
});

describe('formatTime', () => {
  test('is isoformat: microseconds only if there are some, an offset always', () => {
    expect(formatTime(Date.UTC(2026, 0, 31, 12))).toBe('2026-01-31T12:00:00+00:00');
    expect(formatTime(Date.UTC(2026, 0, 31, 12) + 0.456)).toBe('2026-01-31T12:00:00.000456+00:00');
    expect(formatTime(Date.UTC(2026, 0, 31, 12) + 999.9999)).toBe('2026-01-31T12:00:01+00:00');
    expect(formatTime(-1)).toBe('1969-12-31T23:59:59.999000+00:00');
    expect(formatTime(0, 330)).toBe('1970-01-01T05:30:00+05:30');
    expect(formatTime(0, -150)).toBe('1969-12-31T21:30:00-02:30');
    expect(formatTime(FIRST_INSTANT_MS)).toBe('0001-01-01T00:00:00+00:00');
    expect(formatTime(LAST_INSTANT_MS)).toBe('9999-12-31T23:59:59.999000+00:00');
  });

  test.each([Number.NaN, Infinity, FIRST_INSTANT_MS - 1, LAST_INSTANT_MS + 1, 8.64e15])(
    '%d is refused: Python could not read it',
    (instant) => {
      expect(() => formatTime(instant)).toThrow(
        expect.toSatisfy((error: unknown) => isLovageError(error, 'ERR_ENCODE')),
      );
    },
  );

  test('what was written is read again', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: Date.UTC(1902, 0, 1), max: Date.UTC(2037, 0, 1) }),
        fc.integer({ min: 0, max: 999 }),
        fc.integer({ min: -14 * 60, max: 14 * 60 }),
        (ms, micros, offset) => {
          const text = formatTime(ms + micros / 1000, offset);
          expect(readTime(text)).toEqual({ ms, micros });
          expect(formatTime(parseTime(text) as number, offset)).toBe(text);
        },
      ),
    );
  });

  test('whole milliseconds of all years are exact', () => {
    fc.assert(
      fc.property(fc.integer({ min: FIRST_INSTANT_MS, max: LAST_INSTANT_MS }), (ms) => {
        expect(parseTime(formatTime(ms))).toBe(ms);
      }),
    );
  });
});
