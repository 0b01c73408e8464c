import type { Zone } from './zone.ts';

/** What a schedule is asked with. */
export interface ScheduleContext {
  /** The entry's zone: of the schedule itself, else of the entry, else the app's `timezone`. */
  readonly zone: Zone;
  /** Epoch milliseconds since when the entry is there: intervals are counted from it. */
  readonly anchor: number;
}

/**
 * When something is due: a sequence of instants that anybody can compute, so that two who do agree on each of them.
 * Write your own by giving `next` and `toString`.
 */
export interface Schedule {
  /** The first instant after this one, both in epoch milliseconds; undefined: never again. Must not go backwards. */
  next(after: number, context: ScheduleContext): number | undefined;
  /** For people and for the schedule's list: `crontab(minute=0)`. Two of the same text are the same schedule. */
  toString(): string;
}

/** A {@link Schedule}, a number of seconds between two runs, or a Unix cron line, `'0 7 * * 1-5'`. */
export type ScheduleInput = Schedule | number | string;
