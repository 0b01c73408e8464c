import type { Lovage } from '@lovage/core';
import { maskUrl, type Message } from '@lovage/core/transport';
import { Command, Option } from 'commander';
import { globalOptions, openApp, print, type GlobalOptions } from '../context.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { commandLogger } from '../logging.ts';
import { messages, messagesWait } from '../count-text.ts';
import type { MigrationReport, QueuePair } from '../migrate/migration.ts';
import { isSameBroker } from '../migrate/same-broker.ts';
import { count, secondsAbove0 } from '../option-values.ts';
import { ProgressBar } from '../progress.ts';
import { until } from '../stop-signals.ts';
import { list } from './purge.ts';

interface MigrateOptions {
  readonly limit?: number;
  readonly timeout: number;
  readonly ackMessages: boolean;
  readonly copy?: boolean;
  readonly tasks?: readonly string[];
  readonly queues?: readonly string[];
  readonly forever?: boolean;
  readonly window: number;
  readonly json?: boolean;
}

/** `lovage migrate SOURCE DESTINATION`: moves waiting messages from one broker to another. */
export function migrateCommand(): Command {
  return new Command('migrate')
    .description('Move waiting messages from one broker to another, between any two kinds')
    .argument('<source>', 'URL of the broker that has them')
    .argument('<destination>', 'URL of the broker that gets them')
    .option('-n, --limit <n>', 'move so many at most', count)
    .option('-t, --timeout <seconds>', 'end when no message came for so long', secondsAbove0, 1)
    .addOption(
      new Option('-a, --ack-messages', 'take them from the source once the destination has them: always so').hideHelp(),
    )
    .option('--copy', 'leave them at the source too')
    .option('-T, --tasks <names>', 'only these tasks, separated by commas', list)
    .option('-Q, --queues <names>', 'only these queues, separated by commas; from:to renames one', list)
    .option('-F, --forever', 'go on with what comes in until a signal says stop', false)
    .option('--window <n>', 'messages on their way at once', count, 500)
    .option('-j, --json', 'print JSON')
    .addHelpText(
      'after',
      `
A message is taken from the source after the destination has confirmed it: a process that is killed loses none, and up
to --window messages are at both places then. Bodies, headers, properties and ids stay as they are. What cannot be moved
(too large for the destination, unreadable) stays where it is and is listed; the exit code is 1 then.

Without -Q the queues are those of the app (-A), or "celery". With --copy and -T, messages that stay are held until the
end. Without -F it ends with what waited at the start. Delayed messages (an ETA) stay until they are due: they are
counted, those in RabbitMQ's celery_delayed_* for all queues together and before anything is moved, and the exit code is
1. Messages that workers hold at the source, for their ETA too, come when those workers stop. Priorities keep their
number: Redis serves 0 first, RabbitMQ 9, and only in queues with x-max-priority.

Examples:
  lovage migrate redis://localhost amqp://localhost
  lovage -A ./tasks migrate redis://old amqp://new -F        while clients still send to the old one
  lovage migrate amqp://localhost redis://localhost -Q images,mail:letters -n 1000 --json`,
    )
    .action(run);
}

async function run(source: string, destination: string, options: MigrateOptions, command: Command): Promise<void> {
  const globals = globalOptions(command);
  const { json = false, forever = false, limit, timeout } = options;
  // -A is for the queues; the URLs are the arguments.
  const app = await openApp(globals.app === undefined ? { ...globals, broker: source } : globals);
  const stop = until('SIGINT', 'SIGTERM');
  const bar = await ProgressBar.open(process.stderr.isTTY === true && globals.quiet !== true);
  const from = app.connectBroker('read', { url: source });
  const to = app.connectBroker('write', { url: destination });
  try {
    const [{ Migration }, { delayedText }] = await Promise.all([
      import('../migrate/migration.ts'),
      import('../broker/delayed.ts'),
    ]);
    const queues = pairs(app, options.queues, isSameBroker(source, destination));
    const migration = new Migration({
      source: from,
      destination: to,
      queues,
      // Spellings are endless: what goes into a queue of its own name may have come out of it.
      presentOnly: !forever && queues.some(({ from, to }) => from === to),
      ...(limit === undefined ? {} : { limit }),
      idleMs: timeout * 1000,
      forever,
      copies: options.copy === true,
      ...(options.tasks === undefined ? {} : { wants: await wantsTasks(options.tasks) }),
      window: options.window,
      reconnectMs: app.settings.publishTimeoutSeconds * 1000,
      signal: stop.signal,
      logger: commandLogger(globals),
      onDelayed: (count) =>
        process.stderr.write(
          delayedText(
            count,
            forever
              ? 'They are moved when they are due.'
              : 'They are not moved: call this again when they are due, or use -F.',
          ),
        ),
      onProgress: ({ moved, total }) => bar.update({ done: moved, total: forever ? undefined : total }),
    });
    const report = await migration.run();
    bar.close();
    const isAtLimit = limit !== undefined && report.moved >= limit;
    const waiting = isAtLimit ? 0 : waitingIn(report, options.copy === true);
    const isDelayed = !isAtLimit && (report.delayed ?? 0) > 0;
    show(report, { json, globals, source, destination, copies: options.copy === true });
    if (waiting > 0 && !forever) {
      process.stderr.write(
        `Warning: ${messages(waiting)} stayed at the source: delayed ones (an ETA), or what came or came back meanwhile. Delayed ones can be moved when they are due.\n`,
      );
    }
    const isMissing = options.queues !== undefined && report.missing.length > 0;
    if (isMissing || report.failed.length > 0 || (!forever && (waiting > 0 || isDelayed || stop.signal.aborted)))
      process.exitCode = EXIT.failed;
  } finally {
    bar.close();
    stop.forget();
    await Promise.all([from.close(), to.close()]);
    await app.close();
  }
}

/** As Celery's: `a` is the same queue there, `a:b` another. Source: celery/contrib/migrate.py, prepare_queues. */
function pairs(app: Lovage, given: readonly string[] | undefined, isOneBroker: boolean): readonly QueuePair[] {
  const names = given ?? app.queues.all().flatMap(({ name, broadcast }) => (broadcast ? [] : [name]));
  return names.map((text) => {
    const [from = '', to = from] = text.split(':').map((part) => part.trim());
    if (from === '' || to === '') {
      throw new CommandError(`"${text}" names no queue. Expected a name, or from:to.`, EXIT.usage);
    }
    const source = app.queues.find(from)?.name ?? from;
    const target = app.queues.get(to);
    if (isOneBroker && source === target.name) {
      throw new CommandError(
        `Source and destination are the same, and so is the queue "${from}". Give -Q from:to.`,
        EXIT.usage,
      );
    }
    return { from: source, to: target.name, topology: target.publishTopology };
  });
}

async function wantsTasks(tasks: readonly string[]): Promise<(delivery: { readonly message: Message }) => boolean> {
  const { readTaskFacts } = await import('../task-facts.ts');
  const wanted = new Set(tasks);
  return ({ message }) => {
    const { task } = readTaskFacts(message);
    return task !== undefined && wanted.has(task);
  };
}

/** What waits at the source though it was asked for. */
function waitingIn({ left, skipped, failed, moved }: MigrationReport, copies: boolean): number {
  const all = Object.values(left).reduce((sum: number, count) => sum + (count ?? 0), 0);
  return Math.max(0, all - skipped - failed.length - (copies ? moved : 0));
}

interface ShowOptions {
  readonly json: boolean;
  readonly globals: GlobalOptions;
  readonly source: string;
  readonly destination: string;
  readonly copies: boolean;
}

function show(report: MigrationReport, { json, source, destination, copies }: ShowOptions): void {
  const { moved, queues, skipped, failed, unsettled, left, delayed, missing } = report;
  const lines = [
    `${copies ? 'Copied' : 'Moved'} ${messages(moved)} from ${maskUrl(source)} to ${maskUrl(destination)}.`,
    ...Object.entries(queues).map(([queue, moved]) => `  ${queue}: ${moved}`),
    ...missing.map((queue) => `  ${queue}: no such queue at the source`),
    ...(skipped === 0 ? [] : [`Left ${messages(skipped)} that were not asked for.`]),
    ...failed.map(
      ({ queue, id, task, error }) => `Not moved: ${task ?? 'a message'}[${id ?? '?'}] of ${queue}: ${error}`,
    ),
    ...(unsettled === 0
      ? []
      : [`${messages(unsettled)} may be at both places: the source was lost before it was told.`]),
    ...Object.entries(left).flatMap(([queue, count]) =>
      count === null || count === 0 || copies ? [] : [`${messagesWait(count)} in ${queue} at the source.`],
    ),
    ...(delayed === null || delayed === 0
      ? []
      : [`${messages(delayed)} of any queue ${delayed === 1 ? 'is' : 'are'} delayed at the source.`]),
  ];
  print({ source: maskUrl(source), destination: maskUrl(destination), ...report }, json, lines.join('\n'));
}
