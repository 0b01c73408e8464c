import { ConfigError, nearestName, nextOnWallClock, type Schedule, type ScheduleContext, Zone } from '@lovage/core';
import { Cron } from 'croner';
import { getTimes, type SunTimeName } from 'suncalc';

const DAY_MS = 86_400_000;

/** A {@link cron} schedule. */
export interface CronLine extends Schedule {
  readonly line: string;
  /** Its own zone. */
  readonly tz: string | undefined;
}

/**
 * A Unix cron line, `cron('0 7 * * 1-5')`, by the rules of Unix: either day may match. A sixth field in front is seconds.
 *
 * When clocks change, a line with `*` for the hour goes by real time: each hour is one, also the one that comes twice.
 * Others go by {@link nextOnWallClock}: no time is left out and none comes twice. Throws `ConfigError`.
 */
export function cron(line: string, { tz }: { readonly tz?: string } = {}): CronLine {
  const own = tz === undefined ? undefined : Zone.of(tz);
  const onTheWall = openCron(line, 'UTC');
  const isHourly = goesByRealTime(line);
  const hourly = new Map<string, Cron>();
  return {
    line,
    tz: own?.name,
    next(after: number, context: ScheduleContext): number | undefined {
      const zone = own ?? context.zone;
      if (!isHourly) return nextOnWallClock(after, zone, (wall) => nextOf(onTheWall, wall));
      let job = hourly.get(zone.name);
      if (job === undefined) hourly.set(zone.name, (job = openCron(line, zone.name)));
      return nextOf(job, after);
    },
    toString: () => (own === undefined ? `cron(${line})` : `cron(${line}, ${own.name})`),
  };
}

function openCron(line: string, timezone: string): Cron {
  try {
    return new Cron(line, { timezone, paused: true });
  } catch (cause) {
    throw new ConfigError(`The cron line ${JSON.stringify(line)} cannot be read: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function nextOf(job: Cron, after: number): number | undefined {
  return job.nextRun(new Date(after))?.getTime();
}

/** It names no hour. */
function goesByRealTime(line: string): boolean {
  const fields = line.trim().split(/\s+/);
  return fields.length === 1
    ? fields[0] === '@hourly'
    : ['*', '*/1'].includes(fields.at(fields.length === 5 ? 1 : 2) ?? '');
}

/** Once, at this instant; at once when it has passed already. */
export class Once implements Schedule {
  readonly at: number;

  constructor(at: Date) {
    this.at = at.getTime();
    if (!Number.isFinite(this.at)) throw new ConfigError('once() was given no date. Expected a Date.');
  }

  next(after: number): number | undefined {
    return after < this.at ? this.at : undefined;
  }

  toString(): string {
    return `once(${new Date(this.at).toISOString()})`;
  }
}

/** A {@link Once}. */
export function once(at: Date): Once {
  return new Once(at);
}

/** Celery's names of the sun's events, and where they are found. Source: celery/schedules.py, solar. */
const EVENTS = {
  dawn_astronomical: 'nightEnd',
  dawn_nautical: 'nauticalDawn',
  dawn_civil: 'dawn',
  sunrise: 'sunrise',
  solar_noon: 'solarNoon',
  sunset: 'sunset',
  dusk_civil: 'dusk',
  dusk_nautical: 'nauticalDusk',
  dusk_astronomical: 'night',
} as const satisfies Record<string, SunTimeName | 'solarNoon'>;

export type SolarEvent = keyof typeof EVENTS;

/** The sun at a place. */
export class Solar implements Schedule {
  readonly event: SolarEvent;
  readonly latitude: number;
  readonly longitude: number;

  /** Throws `ConfigError` for an unknown event or a place that is none. */
  constructor(event: SolarEvent, latitude: number, longitude: number) {
    if (!Object.hasOwn(EVENTS, event)) {
      const known = Object.keys(EVENTS);
      throw new ConfigError(
        `The sun has no event ${JSON.stringify(event)}.${nearestName(String(event), known)} Expected one of: ${known.join(', ')}.`,
      );
    }
    if (!(Math.abs(latitude) <= 90) || !(Math.abs(longitude) <= 180)) {
      throw new ConfigError(
        `There is no place at latitude ${latitude}, longitude ${longitude}. Expected -90 to 90 and -180 to 180.`,
      );
    }
    this.event = event;
    this.latitude = latitude;
    this.longitude = longitude;
  }

  next(after: number): number | undefined {
    // Near the poles half a year may go by without the event.
    for (let day = -1; day <= 370; day++) {
      const found = getTimes(new Date(after + day * DAY_MS), this.latitude, this.longitude)[EVENTS[this.event]];
      if (found instanceof Date && found.getTime() > after) return found.getTime();
    }
    return undefined;
  }

  toString(): string {
    return `solar(${this.event}, ${this.latitude}, ${this.longitude})`;
  }
}

/** A {@link Solar}: `solar('sunset', 48.85, 2.35)`. Exact to about a minute. */
export function solar(event: SolarEvent, latitude: number, longitude: number): Solar {
  return new Solar(event, latitude, longitude);
}
