import { crontab, every, type Schedule, Zone } from '@lovage/core';
import { describe, expect, test } from 'vitest';
import { instantId } from './instant-id.ts';
import { cron, once, solar, type SolarEvent } from './schedules.ts';
import { readSchedule, writeSchedule } from './written-schedule.ts';

const context = { zone: Zone.of('Europe/Paris'), anchor: 0 };
const from = Date.parse('2026-06-20T12:00:00Z');
const next = (schedule: Schedule, after = from): string | undefined => {
  const at = schedule.next(after, context);
  return at === undefined ? undefined : new Date(at).toISOString();
};

describe('schedules', () => {
  test('a cron line in the zone of the entry, or its own', () => {
    expect(next(cron('30 7 * * *'))).toBe('2026-06-21T05:30:00.000Z');
    expect(next(cron('30 7 * * *', { tz: 'UTC' }))).toBe('2026-06-21T07:30:00.000Z');
    // Unix: either day will do.
    expect(next(cron('0 0 1 * 1'))).toBe('2026-06-21T22:00:00.000Z');
    expect(() => cron('61 * * * *')).toThrow('The cron line "61 * * * *" cannot be read');
  });

  // Clocks of Paris are put forward from 02:00 to 03:00, and back from 03:00 to 02:00, at 01:00 UTC.
  const SPRING = ['2026-03-29T00:59Z', '2026-03-29T02:59Z'];
  const AUTUMN = ['2026-10-24T23:59Z', '2026-10-25T02:59Z'];
  test.each([
    ['30 2 * * *', SPRING, ['01:30']],
    ['5,32 2 * * *', SPRING, ['01:05', '01:32']],
    ['0 */2 * * *', SPRING, ['01:00', '02:00']],
    ['*/30 * * * *', SPRING, ['01:00', '01:30', '02:00', '02:30']],
    ['30 2 * * *', AUTUMN, ['00:30']],
    ['0 */2 * * *', AUTUMN, ['00:00']],
    ['*/30 * * * *', AUTUMN, ['00:00', '00:30', '01:00', '01:30', '02:00', '02:30']],
    ['15 30 * * * *', AUTUMN, ['00:30', '01:30', '02:30']],
  ])('clocks change: %s between %j', (line, [from, to], expected) => {
    const schedule = cron(line);
    const found: string[] = [];
    let at = schedule.next(Date.parse(from as string), context);
    for (; at !== undefined && at < Date.parse(to as string); at = schedule.next(at, context)) {
      found.push(new Date(at).toISOString().slice(11, 16));
    }
    expect(found).toEqual(expected);
  });

  test('once', () => {
    const schedule = once(new Date(from + 5000));
    expect(next(schedule)).toBe('2026-06-20T12:00:05.000Z');
    expect(next(schedule, from + 5000)).toBeUndefined();
  });

  // Almanac times of Paris, 21 June 2026, to the minute.
  test.each<[SolarEvent, string]>([
    ['sunrise', '2026-06-21T03:47'],
    ['solar_noon', '2026-06-20T11:52'],
    ['sunset', '2026-06-20T19:57'],
    ['dawn_civil', '2026-06-21T03:05'],
    ['dusk_civil', '2026-06-20T20:39'],
  ])('the sun over Paris: %s', (event, expected) => {
    const at = Date.parse(next(solar(event, 48.8566, 2.3522), from - 3_600_000) as string);
    expect(Math.abs(at - Date.parse(`${expected}:00Z`))).toBeLessThan(120_000);
  });

  test('a sun that does not set is waited for', () => {
    expect(next(solar('sunset', 69.65, 18.96))?.slice(0, 7)).toBe('2026-07');
    expect(() => solar('moonrise' as SolarEvent, 0, 0)).toThrow('The sun has no event "moonrise"');
    expect(() => solar('sunset', 91, 0)).toThrow('no place at latitude 91');
  });

  test.each<[Schedule]>([
    [every(5)],
    [every(3600, { relative: true })],
    [crontab({ minute: [0, 30], hour: '*/3,10-19', dayOfWeek: 'mon-fri', tz: 'Asia/Tokyo' })],
    [cron('*/5 * * * *')],
    [cron('*/5 * * * *', { tz: 'Asia/Tokyo' })],
    [solar('sunset', 1, 2)],
    [once(new Date(from))],
  ])('%s is written and read back', (schedule) => {
    const read = readSchedule(JSON.parse(JSON.stringify(writeSchedule(schedule))));
    expect(String(read)).toBe(String(schedule));
    expect(next(read)).toBe(next(schedule));
  });

  test('an own schedule cannot be kept in a store', () => {
    expect(() => writeSchedule({ next: () => undefined, toString: () => 'mine' })).toThrow('The schedule mine cannot');
    expect(() => readSchedule({ never: true })).toThrow('is no schedule');
  });
});

test('the same instant of the same entry has the same id, and no other has', () => {
  const id = instantId('shop', 'report', from);
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(instantId('shop', 'report', from)).toBe(id);
  expect(
    new Set([
      id,
      instantId('shop', 'report', from + 1),
      instantId('shop2', 'report', from),
      instantId('shop', 'x', from),
    ]).size,
  ).toBe(4);
});
