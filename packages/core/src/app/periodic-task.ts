import type { ScheduleInput } from '../schedule/schedule.ts';
import type { ApplyOptions } from './option-names.ts';

/** A periodic task that the application's code declares. `@lovage/beat` sends it. */
export interface PeriodicTask {
  /** Its name in the schedule. */
  readonly name: string;
  readonly task: string;
  readonly schedule: ScheduleInput;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly options: ApplyOptions;
  readonly misfire?: 'runOnce' | 'skip' | 'runAll';
  readonly tz?: string;
}

/** How a task or signature is made periodic: its name in the schedule, what becomes of missed runs, and how it is called. */
export interface PeriodicOptions extends ApplyOptions {
  /** Default: the task with its arguments. */
  readonly name?: string;
  /** Missed runs: one of them is sent late, none, or all. Default `runOnce`. */
  readonly misfire?: 'runOnce' | 'skip' | 'runAll';
  /** IANA name of the zone in which crontabs are read. Default the app's `timezone`. */
  readonly tz?: string;
}
