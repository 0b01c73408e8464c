import type { Scheduler } from '@lovage/beat';
import type { Lovage } from '@lovage/core';
import { CommandError, EXIT } from './exit-codes.ts';
import { importExport } from './load-app.ts';

/** Celery's names for what is always there: entries in code, and when they ran in a file. */
const BUILT_IN = /^celery\.beat[:.](?:Persistent)?Scheduler$/;
const PYTHON = /^(?:django|[A-Za-z_]\w*(?:\.\w+)*[:.]\w*Scheduler)$/;

/** What `--scheduler` or `beatScheduler` names; undefined: nothing besides the entries of code and store. */
export async function loadScheduler(app: Lovage, given: string | undefined): Promise<Scheduler | undefined> {
  const reference = given ?? app.settings.beatScheduler;
  if (BUILT_IN.test(reference)) return undefined;
  if (PYTHON.test(reference)) {
    throw new CommandError(
      `"${reference}" is a scheduler of Python. Expected a module whose default export gives periodic tasks, such as ./schedules.ts. Entries that are put into the schedule's store (-s) need none.`,
      given === undefined ? EXIT.config : EXIT.usage,
    );
  }
  const scheduler = await importExport(reference, process.cwd(), '--scheduler');
  if (typeof scheduler === 'function') return scheduler as Scheduler;
  throw new CommandError(
    `The scheduler ${reference} is no function. Expected a default export that gives periodic tasks by name; add ":name" to pick another export.`,
    EXIT.config,
  );
}
