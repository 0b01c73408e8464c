import { ConfigError } from '../errors.ts';
import { acrossCopies } from '../internal/across-copies.ts';
import type { Schedule, ScheduleContext } from './schedule.ts';

export interface IntervalOptions {
  /**
   * Runs fall on round times of the wall clock: whole days for an interval of a day or more, else whole hours, minutes or
   * seconds. Default false: they are counted from when the entry was first seen. Source: celery/schedules.py, `relative`.
   */
  readonly relative?: boolean;
}

const UNITS_MS = [86_400_000, 3_600_000, 60_000, 1000] as const;

/** Every so many seconds, without drift: the n-th instant is the first one plus n intervals. */
export class Interval implements Schedule {
  static {
    acrossCopies(Interval, 'interval');
  }

  readonly seconds: number;
  readonly relative: boolean;

  /** Throws `ConfigError` for what is no time. */
  constructor(seconds: number, { relative = false }: IntervalOptions = {}) {
    if (typeof seconds !== 'number' || !Number.isFinite(seconds) || seconds < 0.001) {
      throw new ConfigError(`The interval ${JSON.stringify(seconds)} is not one. Expected seconds, at least 0.001.`);
    }
    this.seconds = seconds;
    this.relative = relative;
  }

  next(after: number, { zone, anchor }: ScheduleContext): number | undefined {
    const everyMs = this.seconds * 1000;
    if (!this.relative) {
      if (after < anchor) return anchor + everyMs;
      const count = Math.floor((after - anchor) / everyMs) + 1;
      const next = anchor + count * everyMs;
      // Fractions of a millisecond may round to where we are.
      return next > after ? next : anchor + (count + 1) * everyMs;
    }
    const unit = UNITS_MS.find((one) => everyMs >= one) ?? 1;
    for (let steps = 1; ; steps++) {
      const wall = zone.toWall(after + steps * everyMs);
      const next = zone.toInstant(Math.floor(wall / unit) * unit);
      if (next > after) return next;
    }
  }

  toString(): string {
    return this.relative ? `every(${this.seconds}, relative)` : `every(${this.seconds})`;
  }
}

/** An {@link Interval}: `every(30)`, `every(3600, { relative: true })`. */
export function every(seconds: number, options?: IntervalOptions): Interval {
  return new Interval(seconds, options);
}

/** A schedule as it is, a number as an interval. Throws `ConfigError` for anything else. */
export function toSchedule(input: Schedule | number): Schedule {
  if (typeof input === 'number') return new Interval(input);
  if (typeof input === 'object' && input !== null && typeof input.next === 'function') return input;
  throw new ConfigError(
    `${JSON.stringify(input)} is no schedule. Expected seconds, crontab({ ... }), every(seconds), a cron line, or an object with next().`,
  );
}
