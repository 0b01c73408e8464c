export { type CrontabField } from './crontab-fields.ts';
export { Crontab, crontab, type CrontabOptions } from './crontab.ts';
export { every, Interval, type IntervalOptions, toSchedule } from './interval.ts';
export type { Schedule, ScheduleContext, ScheduleInput } from './schedule.ts';
export { nextOnWallClock } from './wall-clock.ts';
export { Zone } from './zone.ts';
