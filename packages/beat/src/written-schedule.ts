import { ConfigError, Crontab, type CrontabOptions, Interval, type Schedule } from '@lovage/core';
import { cron, Once, Solar, type SolarEvent } from './schedules.ts';

/** A schedule as it is kept in the store: one of these. */
export type WrittenSchedule =
  | { readonly every: number; readonly relative?: boolean }
  | { readonly crontab: CrontabOptions }
  | { readonly cron: string; readonly tz?: string }
  | { readonly solar: readonly [event: SolarEvent, latitude: number, longitude: number] }
  | { readonly once: string };

/** Throws `ConfigError` for a schedule of the application's own making: the store could not give it back. */
export function writeSchedule(schedule: Schedule): WrittenSchedule {
  if (schedule instanceof Interval) {
    return schedule.relative ? { every: schedule.seconds, relative: true } : { every: schedule.seconds };
  }
  if (schedule instanceof Crontab) return { crontab: schedule.options };
  if (schedule instanceof Solar) return { solar: [schedule.event, schedule.latitude, schedule.longitude] };
  if (schedule instanceof Once) return { once: new Date(schedule.at).toISOString() };
  if ('line' in schedule && typeof schedule.line === 'string') {
    return 'tz' in schedule && typeof schedule.tz === 'string'
      ? { cron: schedule.line, tz: schedule.tz }
      : { cron: schedule.line };
  }
  throw new ConfigError(
    `The schedule ${String(schedule)} cannot be kept in a store. Expected seconds, crontab(), every(), cron(), solar() or once(); others belong into the application's own beatSchedule.`,
  );
}

/** Throws `ConfigError` for what is no schedule. */
export function readSchedule(written: unknown): Schedule {
  if (typeof written === 'number') return new Interval(written);
  if (typeof written === 'string') return cron(written);
  if (typeof written === 'object' && written !== null) {
    if ('every' in written) {
      return new Interval(written.every as number, {
        relative: (written as { relative?: boolean }).relative === true,
      });
    }
    if ('crontab' in written) return new Crontab(written.crontab as CrontabOptions);
    if ('cron' in written) {
      const { tz } = written as { tz?: string };
      return cron(String(written.cron), tz === undefined ? {} : { tz });
    }
    if ('solar' in written && Array.isArray(written.solar)) {
      const [event, latitude, longitude] = written.solar as [SolarEvent, number, number];
      return new Solar(event, latitude, longitude);
    }
    if ('once' in written) return new Once(new Date(String(written.once)));
  }
  throw new ConfigError(
    `${JSON.stringify(written)} is no schedule. Expected seconds, a cron line, or an object with one of: every, crontab, cron, solar, once.`,
  );
}
