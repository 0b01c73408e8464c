import type { Lovage } from '@lovage/core';
import type { Delivery, Message } from '@lovage/core/transport';
import { Command } from 'commander';
import { withBroker } from '../broker/with-broker.ts';
import { confirm } from '../confirm.ts';
import { globalOptions, openApp, print } from '../context.ts';
import { messages, messagesWait } from '../count-text.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { commandLogger } from '../logging.ts';
import type { MigrationReport } from '../migrate/migration.ts';
import { count } from '../option-values.ts';
import { renderTable } from '../render-answer.ts';
import { until } from '../stop-signals.ts';
import { readTaskFacts } from '../task-facts.ts';
import { list as names, purgeQueues, sayDelayedAfterPurge } from './purge.ts';

interface QueuesOptions {
  readonly queues?: readonly string[];
  readonly limit?: number;
  readonly dead?: boolean;
  readonly tasks?: readonly string[];
  readonly ids?: readonly string[];
  readonly force?: boolean;
  readonly ifEmpty?: boolean;
  readonly ifUnused?: boolean;
  readonly json?: boolean;
}

/** `lovage queues`: what waits in queues and in their dead letters, and where it goes. */
export function queuesCommand(): Command {
  const group = new Command('queues').description('Count, look into, move, empty and delete queues; dead letters too');
  const verb = (name: string, description: string, example: string): Command =>
    group
      .command(name)
      .description(description)
      .option('-j, --json', 'print JSON')
      .addHelpText('after', `\nExamples:\n  lovage -A ./tasks queues ${name} ${example}`);
  verb('list', 'The queues of the app, with the messages that wait and the dead ones', '-Q celery,mail')
    .option('-Q, --queues <names>', 'these instead, separated by commas', names)
    .action(list);
  verb('show', 'The first messages of a queue; they stay in it', 'mail --dead')
    .argument('<queue>')
    .option('-n, --limit <n>', 'so many at most', count, 10)
    .option('--dead', 'those that were set aside, and why')
    .addHelpText('after', '\nA look counts as a delivery: a worker sets a message aside after "deliveryLimit" of them.')
    .action(show);
  verb('move', 'Move messages to another queue', 'mail slow -T tasks.newsletter')
    .argument('<from>')
    .argument('<to>')
    .option('-n, --limit <n>', 'so many at most', count)
    .option('-T, --tasks <names>', 'only these tasks, separated by commas', names)
    .option('-i, --ids <ids>', 'only these task ids, separated by commas', names)
    .action((from: string, to: string, options: QueuesOptions, command: Command) =>
      move({ from, to }, options, command),
    );
  verb('requeue', 'Send dead messages back to their queue', 'mail -n 100')
    .argument('<queue>', 'the queue that they came from')
    .argument('[ids...]', 'only these task ids')
    .option('-n, --limit <n>', 'so many at most', count)
    .option('-T, --tasks <names>', 'only these tasks, separated by commas', names)
    .action((queue: string, ids: readonly string[], options: QueuesOptions, command: Command) =>
      move({ from: queue, to: queue, isDead: true }, { ...options, ...(ids.length > 0 && { ids }) }, command),
    );
  verb('purge', 'Drop all messages of queues. There is no way back', 'mail images')
    .argument('<queues...>')
    .option('--dead', 'those that were set aside')
    .option('-f, --force', 'do not ask')
    .action(purge);
  verb('delete', 'Delete queues with all their messages. There is no way back', 'old-queue --if-empty')
    .argument('<queues...>')
    .option('--if-empty', 'only those without messages')
    .option('--if-unused', 'only those without consumers; none where the broker does not count them')
    .option('-f, --force', 'do not ask')
    .addHelpText(
      'after',
      `
RabbitMQ looks and deletes in one step, but for quorum queues. There and on other brokers a message that comes between
the look and the deletion is deleted too. While RabbitMQ delays messages in celery_delayed_*, --if-empty keeps the queue:
they may be for it.`,
    )
    .action(remove);
  return group.addHelpText(
    'after',
    `
Messages that cannot be run are set aside in QUEUE.dead, or where the setting "deadLetterQueue" says.

Examples:
  lovage -A ./tasks queues list
  lovage -A ./tasks queues show celery --dead
  lovage -A ./tasks queues requeue celery                         all of them, once the fault is mended
  lovage -A ./tasks queues move celery slow -T tasks.report`,
  );
}

interface QueueRow {
  readonly queue: string;
  readonly messages: number | null;
  readonly consumers: number | null;
  readonly dead: number | null;
}

function list({ queues, json = false }: QueuesOptions, command: Command): Promise<void> {
  return withBroker(command, async ({ app, connection }) => {
    const [{ statusOf }, { sayDelayed }] = await Promise.all([
      import('../broker/take.ts'),
      import('../broker/delayed.ts'),
    ]);
    const all = queues ?? app.queues.all().flatMap(({ name, broadcast }) => (broadcast ? [] : [name]));
    const rows = await Promise.all(
      all.map(async (queue): Promise<QueueRow> => {
        const dead = app.queues.deadLetterOf(queue)?.name;
        const [status, aside] = await Promise.all([
          statusOf(connection, queue),
          dead === undefined ? undefined : statusOf(connection, dead),
        ]);
        return {
          queue,
          messages: status?.ready ?? null,
          consumers: status?.consumers ?? null,
          dead: aside?.ready ?? (dead === undefined ? null : 0),
        };
      }),
    );
    const cell = (value: number | null): string => (value === null ? '-' : String(value));
    print(
      rows,
      json,
      renderTable(
        ['queue', 'messages', 'consumers', 'dead'],
        rows.map((row) => [row.queue, cell(row.messages), cell(row.consumers), cell(row.dead)]),
      ),
    );
    await sayDelayed(connection, 'They are not counted above.');
  });
}

function show(
  given: string,
  { limit = 10, dead = false, json = false }: QueuesOptions,
  command: Command,
): Promise<void> {
  return withBroker(command, async ({ app, connection }) => {
    const [{ take }, { messageValue }] = await Promise.all([import('../broker/take.ts'), import('../broker/admin.ts')]);
    const queue = dead ? deadOf(app, given) : given;
    const deliveries = await take(connection, queue, limit);
    // Before they are printed: whoever reads may have enough of it.
    await connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'requeue' as const })));
    if (json) print(deliveries.map(messageValue), true, '');
    else {
      const rows = deliveries.map((delivery) => (dead ? deadRow(delivery) : row(delivery)));
      const titles = dead
        ? ['id', 'task', 'reason', 'since', 'error']
        : ['id', 'task', 'eta', 'deliveries', 'arguments'];
      process.stdout.write(rows.length === 0 ? '- empty -\n' : `${renderTable(titles, rows)}\n`);
    }
  });
}

function row({ message, deliveryCount }: Delivery): readonly string[] {
  const { id = '?', task = '?', eta = '', args = '', kwargs = '' } = readTaskFacts(message);
  return [id, task, eta, String(deliveryCount), `${args} ${kwargs}`.trim()];
}

function deadRow({ message }: Delivery): readonly string[] {
  const { id = '?', task = '?' } = readTaskFacts(message);
  const header = (name: string): string => {
    const value = message.headers[name];
    return typeof value === 'string' ? value : '';
  };
  return [
    id,
    task,
    header('x-lovage-reason') || header('x-first-death-reason'),
    header('x-lovage-time'),
    header('x-lovage-error'),
  ];
}

function deadOf(app: Lovage, queue: string): string {
  const place = app.queues.deadLetterOf(queue);
  if (place === undefined)
    throw new CommandError('The app keeps no dead letters: "deadLetterQueue" is null.', EXIT.config);
  return place.name;
}

const DEAD_HEADERS = /^x-(?:lovage-|death$|first-death-|last-death-)/;
const IDLE_MS = 500;
const WINDOW = 100;

interface Move {
  readonly from: string;
  readonly to: string;
  /** From the dead letters of the queue, without what was noted on them. */
  readonly isDead?: boolean;
}

async function move({ from, to, isDead = false }: Move, options: QueuesOptions, command: Command): Promise<void> {
  const globals = globalOptions(command);
  const { json = false, limit, tasks, ids } = options;
  const app = await openApp(globals);
  const stop = until('SIGINT', 'SIGTERM');
  // Of their own: a broker may stop reading from a connection that publishes.
  const [source, destination] = [app.connectBroker('read'), app.connectBroker('write')];
  try {
    const [{ Migration, withoutHeaders }, { delayedText }] = await Promise.all([
      import('../migrate/migration.ts'),
      import('../broker/delayed.ts'),
    ]);
    const place = isDead ? deadOf(app, from) : from;
    const target = app.queues.get(to);
    if (place === target.name) throw new CommandError(`"${from}" and "${to}" are one queue.`, EXIT.usage);
    const wanted = (kind: readonly string[] | undefined, value: string | undefined): boolean =>
      kind === undefined || (value !== undefined && kind.includes(value));
    const unseen = new Set(ids);
    const report = await new Migration({
      source,
      destination,
      queues: [{ from: place, to: target.name, topology: target.publishTopology }],
      ...(limit === undefined ? {} : { limit }),
      presentOnly: true,
      idleMs: IDLE_MS,
      wants: ({ message }) => {
        const facts = readTaskFacts(message);
        if (facts.id !== undefined) unseen.delete(facts.id);
        return wanted(tasks, facts.task) && wanted(ids, facts.id);
      },
      ...(isDead && {
        rewrite: (message: Message) => ({ ...message, headers: withoutHeaders(message.headers, DEAD_HEADERS) }),
      }),
      window: WINDOW,
      reconnectMs: app.settings.publishTimeoutSeconds * 1000,
      signal: stop.signal,
      logger: commandLogger(globals),
      onDelayed: (count) => process.stderr.write(delayedText(count, 'They are not moved.')),
    }).run();
    showMove(report, place, target.name, json);
    // With a limit it may not have come to them.
    if (unseen.size > 0 && (limit === undefined || report.moved < limit)) {
      process.stderr.write(`Warning: not in ${place}: ${[...unseen].join(', ')}\n`);
      process.exitCode = EXIT.failed;
    }
    if (report.failed.length > 0 || stop.signal.aborted) process.exitCode = EXIT.failed;
  } finally {
    stop.forget();
    await Promise.all([source.close(), destination.close()]);
    await app.close();
  }
}

function showMove(report: MigrationReport, from: string, to: string, json: boolean): void {
  const { moved, failed, missing } = report;
  const left = report.left[from] ?? 0;
  const lines = [
    ...missing.map((queue) => `There is no queue "${queue}".`),
    `Moved ${messages(moved)} from ${from} to ${to}.`,
    ...failed.map(({ id, task, error }) => `Not moved: ${task ?? 'a message'}[${id ?? '?'}]: ${error}`),
    ...(left === 0 ? [] : [`${messagesWait(left)} in ${from}.`]),
  ];
  print({ from, to, ...report }, json, lines.join('\n'));
}

function purge(
  given: readonly string[],
  { dead, force, json = false }: QueuesOptions,
  command: Command,
): Promise<void> {
  return withBroker(command, async ({ app, connection }) => {
    const queues = dead === true ? given.map((queue) => deadOf(app, queue)) : given;
    if (force !== true) await confirm(`Drop all messages of ${queues.join(', ')}?`);
    const dropped = await purgeQueues(app, queues);
    const total = Object.values(dropped).reduce((sum, count) => sum + count, 0);
    print({ purged: total, queues: dropped }, json, `Dropped ${messages(total)} from ${queues.join(', ')}.`);
    if (dead !== true) await sayDelayedAfterPurge(connection);
  });
}

function remove(given: readonly string[], options: QueuesOptions, command: Command): Promise<void> {
  return withBroker(command, async ({ connection }) => {
    const { removeQueue } = await import('../broker/remove-queue.ts');
    const { ifEmpty = false, ifUnused = false, force, json = false } = options;
    if (force !== true) await confirm(`Delete ${given.join(', ')} with all messages?`);
    const deleted: Record<string, number> = {};
    const kept: Record<string, string> = {};
    for (const queue of given) {
      const removal = await removeQueue(connection, queue, { ifEmpty, ifUnused });
      if ('kept' in removal) kept[queue] = removal.kept;
      else deleted[queue] = removal.deleted;
    }
    const lines = [
      ...Object.entries(deleted).map(([queue, count]) => `Deleted ${queue} with ${messages(count)}.`),
      ...Object.entries(kept).map(([queue, reason]) => `Kept ${queue}: ${reason}.`),
    ];
    print({ deleted, kept }, json, lines.join('\n'));
    if (Object.keys(kept).length > 0) process.exitCode = EXIT.failed;
  });
}
