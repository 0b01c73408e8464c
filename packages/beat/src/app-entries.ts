import { ConfigError, crontab, type Lovage } from '@lovage/core';
import { appZone, type Entry, toEntry } from './entry.ts';

const CLEANUP = 'celery.backend_cleanup';

/**
 * The periodic tasks of the application: `beatSchedule`, those written on tasks, those added, and the nightly removal of
 * expired results where the store does not do it by itself. Throws `ConfigError` for a wrong one and for a name used twice.
 *
 * Source: celery/beat.py, install_default_entries.
 */
export async function appEntries(app: Lovage): Promise<readonly Entry[]> {
  const zone = appZone(app);
  const entries = new Map<string, Entry>();
  for (const [name, input] of Object.entries(app.settings.beatSchedule)) {
    entries.set(name, toEntry(name, input, zone, 'app'));
  }
  for (const { name, ...input } of app.periodicTasks) {
    if (entries.has(name)) {
      throw new ConfigError(
        `Two periodic tasks are named ${JSON.stringify(name)}. Give one of them a name of its own: every(schedule, args, { name }).`,
      );
    }
    entries.set(name, toEntry(name, input, zone, 'app'));
  }
  if (app.settings.resultExpires !== null && app.settings.resultExpires !== undefined && !entries.has(CLEANUP)) {
    const backend = await app.resultBackend();
    if (backend?.capabilities.autoExpires === false) {
      const schedule = crontab({ minute: 0, hour: 4 });
      const input = { task: CLEANUP, schedule, options: { expires: 12 * 3600 } };
      entries.set(CLEANUP, toEntry(CLEANUP, input, zone, 'app'));
    }
  }
  return [...entries.values()];
}
