/** Periodic tasks: `Beat` sends them, `PeriodicTasks` shows and changes them. Crontabs and intervals are in `@lovage/core`. */
export { Beat, type BeatOptions } from './beat.ts';
export type { Misfire } from './due.ts';
export type { PeriodicTaskInput } from './entry.ts';
export { PeriodicTasks, type PeriodicTaskStatus } from './periodic-tasks.ts';
export type { Scheduler } from './scheduler.ts';
export { cron, Once, once, Solar, solar, type SolarEvent } from './schedules.ts';
