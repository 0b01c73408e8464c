import {
  type ApplyOptions,
  ConfigError,
  every,
  type Lovage,
  nearestName,
  type Schedule,
  type ScheduleInput,
  toSchedule,
  Zone,
} from '@lovage/core';
import type { Misfire } from './due.ts';
import { cron } from './schedules.ts';

/** A periodic task as `beatSchedule` has it, in Celery's words; `misfire` and `tz` are ours. */
export interface PeriodicTaskInput {
  readonly task: string;
  readonly schedule: ScheduleInput;
  readonly args?: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
  readonly options?: ApplyOptions;
  /** For a number of seconds: on round times of the clock. */
  readonly relative?: boolean;
  /** Default `runOnce`. */
  readonly misfire?: Misfire;
  /** IANA name of the zone that crontabs are read in; default the app's `timezone`. */
  readonly tz?: string;
}

/** The same, checked. */
export interface Entry {
  readonly name: string;
  readonly task: string;
  readonly schedule: Schedule;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly options: ApplyOptions;
  readonly misfire: Misfire;
  /** The schedule's own, else the entry's, else the app's. */
  readonly zone: Zone;
  /** Where it is written: the application's code, what its scheduler gives, or the store. */
  readonly from: 'app' | 'scheduler' | 'store';
}

const NAMES = ['task', 'schedule', 'args', 'kwargs', 'options', 'relative', 'misfire', 'tz'] as const;
const MISFIRES: readonly Misfire[] = ['runOnce', 'skip', 'runAll'];

/** The zone of the app's schedules. Source: celery/app/base.py, timezone: UTC, or local time without `enable_utc`. */
export function appZone(app: Lovage): Zone {
  const { timezone, enableUtc } = app.settings;
  if (timezone !== undefined && timezone !== null) return Zone.of(String(timezone));
  return enableUtc ? Zone.of('UTC') : Zone.local();
}

/** Throws `ConfigError` that names the entry. */
export function toEntry(name: string, input: unknown, zone: Zone, from: Entry['from']): Entry {
  try {
    return readEntry(name, input, zone, from);
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    throw new ConfigError(`The periodic task ${JSON.stringify(name)} is wrong: ${cause.message}`, { cause });
  }
}

function readEntry(name: string, input: unknown, zone: Zone, from: Entry['from']): Entry {
  if (typeof input !== 'object' || input === null) throw new ConfigError(`it is ${JSON.stringify(input)}, no object.`);
  for (const key of Object.keys(input)) {
    if (!(NAMES as readonly string[]).includes(key)) {
      throw new ConfigError(`it has no "${key}".${nearestName(key, NAMES)} Expected some of: ${NAMES.join(', ')}.`);
    }
  }
  const {
    task,
    schedule,
    args = [],
    kwargs = {},
    options = {},
    relative,
    misfire = 'runOnce',
    tz,
  } = input as PeriodicTaskInput;
  if (typeof task !== 'string' || task === '') throw new ConfigError('it names no task. Expected "task": its name.');
  if (schedule === undefined) {
    throw new ConfigError('it has no schedule. Expected "schedule": seconds, crontab() or a cron line.');
  }
  if (!MISFIRES.includes(misfire)) {
    throw new ConfigError(`"misfire" is ${JSON.stringify(misfire)}. Expected one of: ${MISFIRES.join(', ')}.`);
  }
  if (!Array.isArray(args)) throw new ConfigError(`"args" is ${JSON.stringify(args)}. Expected a list.`);
  const when = readWhen(schedule, relative);
  const ownZone = 'tz' in when && typeof when.tz === 'string' ? when.tz : tz;
  return {
    name,
    task,
    schedule: when,
    args: args as readonly unknown[],
    kwargs,
    options,
    misfire,
    zone: ownZone === undefined ? zone : Zone.of(ownZone),
    from,
  };
}

function readWhen(schedule: ScheduleInput, relative: boolean | undefined): Schedule {
  if (typeof schedule === 'string') return cron(schedule);
  return typeof schedule === 'number' && relative === true ? every(schedule, { relative: true }) : toSchedule(schedule);
}
