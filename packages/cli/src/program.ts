import type { ErrorCode } from '@lovage/core';
import { Command, CommanderError, Option } from 'commander';
import { wantsColour } from './colour.ts';
import { CommandError, EXIT } from './exit-codes.ts';
import { leaveToOthers, OF_PYTHON } from './left-to-others.ts';
import type { LogFormat } from './logging.ts';
import { PROJECT, VERBS } from './verbs.ts';
import { packageVersion } from './version.ts';

/**
 * The `lovage` command. Options have Celery's names and letters; global ones may stand on either side of the verb. With
 * `only` the other verbs are there by name alone, and their modules are not read.
 */
export async function createProgram(only?: string): Promise<Command> {
  const program = globalCommand();
  const verbs = await Promise.all(
    VERBS.map(async ({ name, summary, group, load }) => {
      const isWanted = only === undefined || only === name;
      const command = isWanted ? await load() : new Command(name);
      return command.summary(summary).helpGroup(group);
    }),
  );
  for (const verb of verbs) program.addCommand(settled(verb, program));
  return program;
}

function globalCommand(): Command {
  const program = new Command('lovage')
    .description('A distributed task queue for TypeScript that speaks with Python Celery')
    .usage('[options] COMMAND [options of the command]')
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
    .addOption(new Option('-C, --no-color', 'no colours; so does the variable NO_COLOR'))
    .addOption(new Option('-q, --quiet', 'less output'))
    .addOption(
      new Option('--log-format <format>', 'how log lines look; default: line at a terminal, else json').choices([
        'line',
        'json',
        'pretty',
      ] satisfies LogFormat[]),
    )
    .version(packageVersion(), '--version', 'print the version')
    .helpOption('-h, --help', 'show this help')
    .addHelpCommand(
      new Command('help').argument('[command]').summary('help of a command, as --help').helpGroup(PROJECT),
    )
    .showSuggestionAfterError()
    .showHelpAfterError('(add --help for the options)')
    .exitOverride()
    .addHelpText(
      'after',
      `
Examples:
  lovage init shop                                a new project in the folder shop
  lovage dev                                      its worker and beat, started again when a file changes
  lovage -A ./tasks worker -l info -c 10          run a worker
  lovage -A ./tasks call tasks.add -a '[2, 2]'    call a task
  lovage -A ./tasks result TASK_ID                print its result
  lovage -A ./tasks status                        which workers are online
  lovage -A ./tasks control rate_limit t 10/m     tell them what to do
  lovage -b amqp://localhost purge -Q slow        empty a queue

lovage COMMAND --help has examples of each. With a lovage.config.ts that names the app, -A is not needed.

Exit codes: 0 done, 1 failed, 2 wrong usage, 69 broker, store or workers out of reach, 78 app or setting wrong.`,
    );
  const paint = (code: number) => (text: string) => `\u001B[${code}m${text}\u001B[0m`;
  const [bold, cyan] = [paint(1), paint(36)];
  return leaveToOthers(program, OF_PYTHON)
    .configureHelp({ styleTitle: bold, styleSubcommandText: cyan, styleOptionText: cyan })
    .configureOutput({
      getOutHasColors: () => wantsColour(program.opts(), process.stdout),
      getErrHasColors: () => wantsColour(program.opts(), process.stderr),
    });
}

/** With the program's settings, which a command made apart from it, and its own commands, do not have. */
function settled(command: Command, program: Command): Command {
  command.exitOverride().showHelpAfterError('(add --help for the options)').copyInheritedSettings(program);
  for (const inner of command.commands) settled(inner, program);
  return command;
}

/** Where the verb is: the first word that is neither an option of the program nor the value of one. */
function verbIndex(argv: readonly string[]): number {
  const takesValue = new Set(
    globalCommand().options.flatMap(({ required, short, long }) => (required ? [short, long] : [])),
  );
  let index = 0;
  while (index < argv.length && argv[index]?.startsWith('-') === true) index += takesValue.has(argv[index]) ? 2 : 1;
  return index;
}

/** The program with as much of it as this command line needs, and the command line as its parser has to see it. */
export async function programFor(argv: readonly string[]): Promise<{ program: Command; argv: readonly string[] }> {
  const at = verbIndex(argv);
  const verb = argv[at];
  // A word that is no verb needs the module of none: the error names the nearest.
  const program = await createProgram(
    verb === 'completion' ? undefined : ((verb === 'help' ? argv[at + 1] : verb) ?? ''),
  );
  if (verb !== 'multi') return { program, argv };
  const { shieldMulti } = await import('./commands/multi.ts');
  return { program, argv: shieldMulti(argv, at) };
}

/** Runs the command line and gives its exit code; errors are printed for people, never as a bare stack. */
export async function main(argv: readonly string[]): Promise<number> {
  try {
    const { program, argv: words } = await programFor(argv);
    await program.parseAsync(words as string[], { from: 'user' });
    return Number(process.exitCode ?? EXIT.ok);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const { message, exitCode } = await describe(error);
    const isColoured = wantsColour({ color: !argv.includes('-C') && !argv.includes('--no-color') }, process.stderr);
    process.stderr.write(`${isColoured ? message.replace(/^Error:/, '\u001B[31;1mError:\u001B[0m') : message}\n`);
    const { reportFailure } = await import('./daemon.ts');
    reportFailure(message, exitCode);
    return exitCode;
  }
}

async function describe(error: unknown): Promise<{ readonly message: string; readonly exitCode: number }> {
  if (error instanceof CommandError) return { message: `Error: ${error.message}`, exitCode: error.exitCode };
  const { isLovageError } = await import('@lovage/core');
  if (isLovageError(error))
    return { message: `Error: ${error.message} (${error.code})`, exitCode: exitCodeOf(error.code) };
  // What the system refused says itself what and why; where in the code is no news to anybody.
  if (error instanceof Error && 'syscall' in error)
    return { message: `Error: ${error.message}`, exitCode: EXIT.failed };
  return { message: error instanceof Error ? (error.stack ?? error.message) : String(error), exitCode: EXIT.failed };
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

function exitCodeOf(code: ErrorCode): number {
  if (UNAVAILABLE.has(code)) return EXIT.unavailable;
  return CONFIG.has(code) ? EXIT.config : EXIT.failed;
}
