import { isLovageError, type Lovage } from '@lovage/core';
import type { Connection } from '@lovage/core/transport';
import { Command } from 'commander';
import { confirm } from '../confirm.ts';
import { globalOptions, openApp, print } from '../context.ts';
import { counted, messages } from '../count-text.ts';

interface PurgeOptions {
  readonly force?: boolean;
  readonly queues?: readonly string[];
  readonly excludeQueues?: readonly string[];
  readonly json?: boolean;
}

/** `lovage purge`: drops the waiting messages of the app's queues. */
export function purgeCommand(): Command {
  return new Command('purge')
    .description('Drop all waiting messages of the queues. There is no way back')
    .option('-f, --force', 'do not ask')
    .option('-Q, --queues <names>', 'only these, separated by commas', list)
    .option('-X, --exclude-queues <names>', 'all but these', list)
    .option('-j, --json', 'print JSON')
    .addHelpText(
      'after',
      `
At a terminal it asks first; a script has to give --force. What workers hold already is not in a queue, and stays; so do
messages that RabbitMQ delays in celery_delayed_*: it says how many there are.

Examples:
  lovage -A ./tasks purge                          the app's queues
  lovage -A ./tasks purge -Q mail,images
  lovage -b redis://localhost purge -f --json`,
    )
    .action(async ({ force = false, queues, excludeQueues, json = false }: PurgeOptions, command: Command) => {
      const app = await openApp(globalOptions(command));
      try {
        const names = app.queues
          .select({ ...(queues && { queues }), ...(excludeQueues && { exclude: excludeQueues }) })
          .map(({ name }) => name);
        if (!force) await confirm(`Drop all messages of ${names.join(', ')}?`);
        const dropped = await purgeQueues(app, names);
        const total = Object.values(dropped).reduce((sum, count) => sum + count, 0);
        const where = `${counted(names.length, 'queue', 'queues')} (${names.join(', ')})`;
        print({ purged: total, queues: dropped }, json, `Dropped ${messages(total)} from ${where}.`);
        await sayDelayedAfterPurge(await connectionOf(app));
      } finally {
        await app.close();
      }
    });
}

/** Empties queues; one that does not exist counts as empty. Gives the messages dropped by queue. */
export async function purgeQueues(app: Lovage, names: readonly string[]): Promise<Readonly<Record<string, number>>> {
  const connection = await connectionOf(app);
  const dropped: Record<string, number> = {};
  for (const name of names) {
    try {
      dropped[name] = await connection.purge(name);
    } catch (error) {
      if (!isLovageError(error, 'ERR_NOT_FOUND')) throw error;
      dropped[name] = 0;
    }
  }
  return dropped;
}

function connectionOf(app: Lovage): Promise<Connection> {
  return app.producerConnection().connection({ timeoutMs: app.settings.publishTimeoutSeconds * 1000 });
}

export async function sayDelayedAfterPurge(connection: Connection): Promise<void> {
  const { sayDelayed } = await import('../broker/delayed.ts');
  await sayDelayed(connection, 'They are not dropped.');
}

export function list(text: string): readonly string[] {
  return text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}
