import { type Logger, type Lovage, LovageError } from '@lovage/core';
import { inTime } from '@lovage/core/transport';
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
  const given = await inTime(Promise.resolve(scheduler(app)), {
    timeoutMs: limitMs,
    late: () => new LovageError('ERR_TIMEOUT', `The scheduler has not answered within ${limitMs / 1000} seconds.`),
  });
  for (const [name, input] of Object.entries(given)) {
    try {
      entries.push(toEntry(name, input, zone, 'scheduler'));
    } catch (error) {
      logger.error({ err: error, entry: name }, `The scheduler's periodic task ${name} is left out.`);
    }
  }
  return entries;
}
