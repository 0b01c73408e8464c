import { acrossCopies } from '../internal/across-copies.ts';
import { ConfigError } from '../errors.ts';
import { nearestName } from '../internal/nearest-name.ts';
import { type CrontabField, FIELDS, parseField, showField } from './crontab-fields.ts';
import type { Schedule, ScheduleContext } from './schedule.ts';
import { nextOnWallClock } from './wall-clock.ts';
import { Zone } from './zone.ts';

/** All default to `*`. Celery's own spellings (`day_of_week`) are read too. */
export interface CrontabOptions {
  /** 0 to 59. */
  readonly minute?: CrontabField;
  /** 0 to 23. */
  readonly hour?: CrontabField;
  /** 0 (Sunday) to 6, or names. */
  readonly dayOfWeek?: CrontabField;
  /** 1 to 31. */
  readonly dayOfMonth?: CrontabField;
  /** 1 to 12, or names. */
  readonly monthOfYear?: CrontabField;
  /** IANA name of the zone in which these are read; default the entry's, else the app's `timezone`. */
  readonly tz?: string;
}

type FieldName = keyof typeof FIELDS;

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** A 29 February on a given weekday comes within 40 years. */
const MOST_YEARS = 41;
const LONGEST_MONTH = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/**
 * Times by the wall clock: every minute for which all five fields match (also day of the week *and* day of the month,
 * unlike Unix cron).
 *
 * When clocks change, as in Celery: a time that occurs twice counts once, the first time; one that is skipped counts at as
 * much later as the clock was put forward (02:30 at 03:30), unless that minute is due by itself.
 *
 * Source: celery/schedules.py, crontab.
 */
export class Crontab implements Schedule {
  static {
    acrossCopies(Crontab, 'crontab');
  }

  /** As it was made; sets are lists. */
  readonly options: CrontabOptions;
  readonly tz: string | undefined;
  readonly #given: Readonly<Record<FieldName, CrontabField>>;
  readonly #minutes: readonly number[];
  readonly #hours: readonly number[];
  readonly #weekdays: ReadonlySet<number>;
  readonly #days: ReadonlySet<number>;
  readonly #months: ReadonlySet<number>;

  /** Throws `ConfigError` for a field that cannot be read, and for fields that never match together. */
  constructor(options: CrontabOptions = {}) {
    const { tz, ...fields } = readOptions(options);
    this.tz = tz === undefined ? undefined : Zone.of(tz).name;
    const numbers = Object.fromEntries(
      (Object.keys(FIELDS) as FieldName[]).map((name) => [name, parseField(fields[name], FIELDS[name])]),
    ) as Record<FieldName, readonly number[]>;
    this.#given = fields;
    this.options = Object.fromEntries(
      Object.entries({ ...fields, tz: this.tz })
        .filter(([, value]) => value !== undefined && value !== '*')
        .map(([name, value]) => [name, typeof value === 'object' ? [...value] : value]),
    );
    this.#minutes = numbers.minute;
    this.#hours = numbers.hour;
    this.#weekdays = new Set(numbers.dayOfWeek);
    this.#days = new Set(numbers.dayOfMonth);
    this.#months = new Set(numbers.monthOfYear);
    const firstDay = numbers.dayOfMonth[0] as number;
    if (!numbers.monthOfYear.some((month) => firstDay <= (LONGEST_MONTH[month - 1] as number))) {
      throw new ConfigError(`${this.toString()} never comes: no such month has a day ${firstDay}.`);
    }
  }

  next(after: number, context: ScheduleContext): number | undefined {
    const zone = this.tz === undefined ? context.zone : Zone.of(this.tz);
    return nextOnWallClock(after, zone, (wall) => this.#wallAfter(wall));
  }

  toString(): string {
    const fields = Object.entries(FIELDS).flatMap(([key, { name }]) => {
      const text = showField(this.#given[key as FieldName]);
      return text === '*' ? [] : [`${name}=${/^\d+$/.test(text) ? text : `'${text}'`}`];
    });
    if (this.tz !== undefined) fields.push(`tz='${this.tz}'`);
    return `crontab(${fields.join(', ')})`;
  }

  /** The first matching wall clock minute after this one. */
  #wallAfter(wall: number): number | undefined {
    const time = new Date((Math.floor(wall / MINUTE_MS) + 1) * MINUTE_MS);
    const lastYear = time.getUTCFullYear() + MOST_YEARS;
    while (time.getUTCFullYear() <= lastYear) {
      if (!this.#months.has(time.getUTCMonth() + 1)) {
        time.setUTCMonth(time.getUTCMonth() + 1, 1);
        time.setUTCHours(0, 0, 0, 0);
        continue;
      }
      if (this.#days.has(time.getUTCDate()) && this.#weekdays.has(time.getUTCDay())) {
        const hour = this.#hours.find((one) => one >= time.getUTCHours());
        if (hour !== undefined) {
          const from = hour === time.getUTCHours() ? time.getUTCMinutes() : 0;
          const minute = this.#minutes.find((one) => one >= from);
          if (minute !== undefined) return time.setUTCHours(hour, minute, 0, 0);
          // This hour is over; the same day may have another one.
          if (hour < 23) {
            time.setUTCHours(hour + 1, 0, 0, 0);
            continue;
          }
        }
      }
      time.setTime(Math.floor(time.getTime() / DAY_MS + 1) * DAY_MS);
    }
    return undefined;
  }
}

/**
 * A {@link Crontab}: `crontab({ minute: 0, hour: '*\/3,10-19' })`.
 */
export function crontab(options: CrontabOptions = {}): Crontab {
  return new Crontab(options);
}

/**
 * From the five fields of a Unix crontab line, `'0 7 * * mon-fri'`, read by Celery's rules.
 * Source: celery/schedules.py, crontab.from_string.
 */
crontab.fromString = (line: string, options: Pick<CrontabOptions, 'tz'> = {}): Crontab => {
  const fields = line.trim().split(/ +/);
  if (fields.length !== 5) {
    throw new ConfigError(
      `The crontab line ${JSON.stringify(line)} has ${fields.length} fields. Expected five: minute, hour, day of month, month, day of week.`,
    );
  }
  const [minute, hour, dayOfMonth, monthOfYear, dayOfWeek] = fields as [string, string, string, string, string];
  return new Crontab({ minute, hour, dayOfMonth, monthOfYear, dayOfWeek, ...options });
};

function readOptions(options: CrontabOptions): Record<FieldName, CrontabField> & { readonly tz?: string } {
  const read: Record<FieldName, CrontabField> & { tz?: string } = {
    minute: '*',
    hour: '*',
    dayOfWeek: '*',
    dayOfMonth: '*',
    monthOfYear: '*',
  };
  for (const [name, value] of Object.entries(options)) {
    const key = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    if (key !== 'tz' && !Object.hasOwn(FIELDS, key)) {
      const known = [...Object.keys(FIELDS), 'tz'];
      throw new ConfigError(
        `A crontab has no field "${name}".${nearestName(key, known)} Expected some of: ${known.join(', ')}.`,
      );
    }
    if (value !== undefined) read[key as FieldName] = value as CrontabField;
  }
  return read;
}
