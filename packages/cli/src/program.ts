import { isLovageError, type ErrorCode } from '@lovage/core';
import { Command, CommanderError, Option } from 'commander';
import { amqpCommand } from './commands/amqp.ts';
import { beatCommand } from './commands/beat.ts';
import { callCommand } from './commands/call.ts';
import { eventsCommand } from './commands/events.ts';
import { graphCommand } from './commands/graph.ts';
import { listCommand } from './commands/list.ts';
import { logtoolCommand } from './commands/logtool.ts';
import { migrateCommand } from './commands/migrate.ts';
import { multiCommand, shieldMulti } from './commands/multi.ts';
import { purgeCommand } from './commands/purge.ts';
import { queuesCommand } from './commands/queues.ts';
import { controlCommand, inspectCommand, statusCommand } from './commands/remote.ts';
import { reportCommand } from './commands/report.ts';
import { resultCommand } from './commands/result.ts';
import { scheduleCommand } from './commands/schedule.ts';
import { upgradeCommand } from './commands/upgrade.ts';
import { shellCommand } from './commands/shell.ts';
import { workerCommand } from './commands/worker.ts';
import { reportFailure } from './daemon.ts';
import { CommandError, EXIT } from './exit-codes.ts';
import { packageVersion } from './version.ts';

/** The `lovage` command. Options have Celery's names and letters; global ones may stand on either side of the verb. */
export function createProgram(): Command {
  const program = new Command('lovage')
    .description('A distributed task queue for TypeScript that speaks with Python Celery')
    .addOption(
      new Option('-A, --app <module>', 'the app: a file, folder or package, with ":name" for an export').env(
        'LOVAGE_APP',
      ),
    )
    .addOption(
      new Option('--config <file>', 'the config file; default: lovage.config.ts, .js or .mjs in this folder').env(
        'LOVAGE_CONFIG',
      ),
    )
    .addOption(new Option('-b, --broker <url>', "broker URL, over the app's own"))
    .addOption(new Option('--result-backend <url>', "result store URL, over the app's own"))
    .addOption(new Option('--workdir <folder>', 'change to this folder first'))
    .addOption(new Option('-C, --no-color', 'no colours'))
    .addOption(new Option('-q, --quiet', 'less output'))
    .addOption(
      new Option('--log-format <format>', 'how log lines look; default: line at a terminal, else json').choices([
        'line',
        'json',
      ]),
    )
    .version(packageVersion(), '--version', 'print the version')
    .showSuggestionAfterError()
    .showHelpAfterError('(add --help for the options)')
    .exitOverride()
    .addHelpText(
      'after',
      `
Examples:
  lovage -A ./tasks worker -l info -c 10          run a worker
  lovage -A ./tasks beat -l info                  send periodic tasks
  lovage -A ./tasks call tasks.add -a '[2, 2]'    call a task
  lovage -A ./tasks result TASK_ID                print its result
  lovage -A ./tasks status                        which workers are online
  lovage -A ./tasks inspect active                what they do
  lovage -A ./tasks control rate_limit t 10/m     tell them what to do
  lovage -b amqp://localhost purge -Q slow        empty a queue

Exit codes: 0 done, 1 failed, 2 wrong usage, 69 broker, store or workers out of reach, 78 app or setting wrong.`,
    );
  for (const command of [
    workerCommand(),
    beatCommand(),
    scheduleCommand(),
    callCommand(),
    resultCommand(),
    statusCommand(),
    inspectCommand(),
    controlCommand(),
    eventsCommand(),
    shellCommand(),
    multiCommand(),
    migrateCommand(),
    purgeCommand(),
    queuesCommand(),
    amqpCommand(),
    listCommand(),
    graphCommand(),
    reportCommand(),
    upgradeCommand(),
    logtoolCommand(),
  ]) {
    program.addCommand(settled(command, program));
  }
  return program;
}

/** With the program's settings, which a command made apart from it, and its own commands, do not have. */
function settled(command: Command, program: Command): Command {
  command.exitOverride().showHelpAfterError('(add --help for the options)').copyInheritedSettings(program);
  for (const inner of command.commands) settled(inner, program);
  return command;
}

/** Runs the command line and gives its exit code; errors are printed for people, never as a bare stack. */
export async function main(argv: readonly string[]): Promise<number> {
  try {
    const program = createProgram();
    await program.parseAsync(shieldMulti(argv, program) as string[], { from: 'user' });
    return Number(process.exitCode ?? EXIT.ok);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const text = describe(error);
    const exitCode = exitCodeOf(error);
    process.stderr.write(`${text}\n`);
    reportFailure(text, exitCode);
    return exitCode;
  }
}

function describe(error: unknown): string {
  if (error instanceof CommandError) return `Error: ${error.message}`;
  if (isLovageError(error)) return `Error: ${error.message} (${error.code})`;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

const UNAVAILABLE: ReadonlySet<ErrorCode> = new Set([
  'ERR_CONNECT',
  'ERR_CONNECTION_LOST',
  'ERR_BLOCKED',
  'ERR_TIMEOUT',
  'ERR_AUTH',
  'ERR_PUBLISH',
]);
const CONFIG: ReadonlySet<ErrorCode> = new Set([
  'ERR_CONFIG',
  'ERR_TRANSPORT_NOT_FOUND',
  'ERR_UNSUPPORTED',
  'ERR_QUEUE_NOT_FOUND',
  'ERR_BACKEND_DISABLED',
]);

function exitCodeOf(error: unknown): number {
  if (error instanceof CommandError) return error.exitCode;
  if (!isLovageError(error)) return EXIT.failed;
  if (UNAVAILABLE.has(error.code)) return EXIT.unavailable;
  return CONFIG.has(error.code) ? EXIT.config : EXIT.failed;
}
