import { describe, expect, test } from 'vitest';
import { crontab, type CrontabOptions } from './crontab.ts';
import { Zone } from './zone.ts';

function instants(options: CrontabOptions, zone: string, from: string, count: number): string[] {
  const schedule = crontab(options);
  const context = { zone: Zone.of(zone), anchor: 0 };
  const found: string[] = [];
  for (let at: number | undefined = Date.parse(from); found.length < count; ) {
    at = schedule.next(at, context);
    if (at === undefined) break;
    found.push(new Date(at).toISOString().replace(':00.000Z', 'Z'));
  }
  return found;
}

describe('crontab', () => {
  test.each<[CrontabOptions, string[]]>([
    [{ minute: 0, hour: '*/3,10-19' }, ['2026-01-01T03:00Z', '2026-01-01T06:00Z', '2026-01-01T09:00Z']],
    [{ minute: '*/7', hour: 0 }, ['2026-01-01T00:07Z', '2026-01-01T00:14Z', '2026-01-01T00:21Z']],
    [{ minute: 0, hour: '23-1/2' }, ['2026-01-01T01:00Z', '2026-01-01T23:00Z', '2026-01-02T01:00Z']],
    [{ minute: 0, hour: 0, dayOfWeek: 'fri-mon' }, ['2026-01-02T00:00Z', '2026-01-03T00:00Z', '2026-01-04T00:00Z']],
    [{ minute: 0, hour: 0, dayOfWeek: 'Thursday' }, ['2026-01-08T00:00Z', '2026-01-15T00:00Z']],
    // Day of the week and of the month must both match, unlike Unix cron.
    [{ minute: 0, hour: 0, dayOfMonth: 13, dayOfWeek: 5 }, ['2026-02-13T00:00Z', '2026-03-13T00:00Z']],
    [{ minute: 0, hour: 0, dayOfMonth: 31 }, ['2026-01-31T00:00Z', '2026-03-31T00:00Z', '2026-05-31T00:00Z']],
    [{ minute: 0, hour: 0, dayOfMonth: 29, monthOfYear: 2 }, ['2028-02-29T00:00Z', '2032-02-29T00:00Z']],
    [{ minute: [5, 1], hour: new Set([4]) }, ['2026-01-01T04:01Z', '2026-01-01T04:05Z', '2026-01-02T04:01Z']],
    [{ minute: 0, hour: 0, dayOfMonth: '*/10', monthOfYear: 'dec' }, ['2026-12-01T00:00Z', '2026-12-11T00:00Z']],
  ])('%o', (options, expected) => {
    expect(instants(options, 'UTC', '2026-01-01T00:00:00Z', expected.length)).toEqual(expected);
  });

  test('a clock put forward: skipped times come as much later, minutes that are due anyway once', () => {
    const night = '2026-03-08T06:00:00Z'; // 01:00 in New York, an hour before the gap
    expect(instants({ minute: 30, hour: 2 }, 'America/New_York', night, 2)).toEqual([
      '2026-03-08T07:30Z',
      '2026-03-09T06:30Z',
    ]);
    expect(instants({ minute: '*/30' }, 'America/New_York', night, 3)).toEqual([
      '2026-03-08T06:30Z',
      '2026-03-08T07:00Z',
      '2026-03-08T07:30Z',
    ]);
  });

  test('a gap of half an hour: a skipped time does not push out one that follows it', () => {
    // Lord Howe: 02:00 becomes 02:30 at 15:30 UTC; 02:05 is moved to 02:35, behind 02:32.
    expect(instants({ minute: '5,32', hour: 2 }, 'Australia/Lord_Howe', '2026-10-03T15:00:00Z', 3)).toEqual([
      '2026-10-03T15:32Z',
      '2026-10-03T15:35Z',
      '2026-10-04T15:05Z',
    ]);
  });

  test('a clock put back: a time that occurs twice counts once', () => {
    expect(instants({ minute: '*/30', hour: 1 }, 'America/New_York', '2026-11-01T05:00:00Z', 3)).toEqual([
      '2026-11-01T05:30Z',
      '2026-11-02T06:00Z',
      '2026-11-02T06:30Z',
    ]);
  });

  test('a zone of its own wins', () => {
    expect(instants({ minute: 0, hour: 9, tz: 'Asia/Tokyo' }, 'UTC', '2026-01-01T00:00:00Z', 1)).toEqual([
      '2026-01-02T00:00Z',
    ]);
  });

  test.each<[CrontabOptions, string]>([
    [{ minute: 60 }, 'The crontab field minute is "60": 60 is not from 0 to 59.'],
    [{ dayOfWeek: 7 }, 'day_of_week is "7"'],
    [{ minute: '5/10' }, 'a step needs "*" or a range before it'],
    [{ minute: '*/0' }, 'a step of 0'],
    [{ minute: '1,,2' }, '"" cannot be read'],
    [{ hour: 'noon' }, '"noon" is no number'],
    [{ dayOfMonth: 'L' }, '"L" is no number'],
    [{ dayOfMonth: 31, monthOfYear: 'feb,apr' }, 'never comes: no such month has a day 31'],
    [{ minute: [] }, 'nothing is left of it'],
    [{ minutes: 5 } as CrontabOptions, 'A crontab has no field "minutes". Did you mean "minute"?'],
    [{ tz: 'Mars/Base' }, 'The time zone "Mars/Base" is not known'],
  ])('%o is refused', (options, message) => {
    expect(() => crontab(options)).toThrow(message);
  });

  test("Celery's spellings, a Unix line, and back to text", () => {
    const one = crontab({ day_of_week: 'mon-fri', minute: 0, hour: 7 } as CrontabOptions);
    expect(String(one)).toBe("crontab(minute=0, hour=7, day_of_week='mon-fri')");
    expect(String(crontab.fromString('0 7 * * mon-fri'))).toBe(String(one));
    expect(() => crontab.fromString('0 7 * *')).toThrow('has 4 fields');
  });
});
