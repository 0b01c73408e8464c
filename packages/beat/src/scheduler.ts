import { type Logger, type Lovage, LovageError } from '@lovage/core';
import { appZone, type Entry, type PeriodicTaskInput, toEntry } from './entry.ts';

/**
 * Where an application keeps periodic tasks itself, a table of its own for example: gives all of them by name. Beat asks
 * again within its `maxInterval`; what is not named any more is no longer sent.
 *
 * @example
 * export default async () =>
 *   Object.fromEntries((await db.reports()).map(({ id, cron, tz }) => [`report-${id}`, { task: 'report', schedule: cron, args: [id], tz }]))
 */
export type Scheduler = (
  app: Lovage,
) => Readonly<Record<string, PeriodicTaskInput>> | Promise<Readonly<Record<string, PeriodicTaskInput>>>;

/** Asks it. An entry that is wrong is logged and left out. Throws what it throws, and `ERR_TIMEOUT` after `limitMs`. */
export async function scheduledEntries(
  app: Lovage,
  scheduler: Scheduler,
  logger: Logger,
  limitMs: number,
): Promise<readonly Entry[]> {
  const zone = appZone(app);
  const entries: Entry[] = [];
  for (const [name, input] of Object.entries(await inTime(scheduler(app), limitMs))) {
    try {
      entries.push(toEntry(name, input, zone, 'scheduler'));
    } catch (error) {
      logger.error({ err: error, entry: name }, `The scheduler's periodic task ${name} is left out.`);
    }
  }
  return entries;
}

async function inTime<T>(answer: T | Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new LovageError('ERR_TIMEOUT', `The scheduler has not answered within ${limitMs / 1000} seconds.`)),
      limitMs,
    );
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
