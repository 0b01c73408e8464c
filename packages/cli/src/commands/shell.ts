import { homedir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { globalOptions, openApp, wantsColour } from '../context.ts';
import { CommandError, EXIT } from '../exit-codes.ts';

interface ShellOptions {
  readonly eval?: string;
  readonly withoutTasks: boolean;
  readonly json?: boolean;
}

/** `lovage shell`: JavaScript with the app, its tasks and the canvas at hand. */
export function shellCommand(): Command {
  const command = new Command('shell')
    .description('A JavaScript prompt with the app, its tasks and the canvas at hand')
    .option('-e, --eval <code>', 'run this code and print its value, instead of asking for more')
    .option('-T, --without-tasks', 'do not name the tasks', false)
    .option('-j, --json', 'print the value of the code as JSON')
    .addHelpText(
      'after',
      `
Names: app (also celery), tasks (by their whole names), each task by the last part of its name where that is free, chain,
group, chord, signature(name, options), result(id), crontab, every. "await" works everywhere. What is piped in is run as
one script. The history is kept in ~/.lovage_history, or where LOVAGE_SHELL_HISTORY says; empty: nowhere.

Examples:
  lovage -A ./tasks shell
  lovage -A ./tasks shell -e 'await (await add.delay(2, 2)).get({ timeout: 10 })'
  echo 'await group([add.s(1, 1), add.s(2, 2)]).delay()' | lovage -A ./tasks shell`,
    )
    .action(run);
  // Celery chooses between Python's shells by these: scripts may keep them.
  for (const flags of ['-I, --ipython', '-B, --bpython', '--python', '--eventlet', '--gevent'])
    command.addOption(new Option(flags, 'of Python').hideHelp());
  return command;
}

async function run(options: ShellOptions, command: Command): Promise<void> {
  const globals = globalOptions(command);
  const app = await openApp(globals);
  try {
    const { shellNames, evaluate, talk } = await import('../shell/shell.ts');
    const names = await shellNames(app, { tasks: !options.withoutTasks });
    const code = options.eval ?? (process.stdin.isTTY === true ? undefined : await piped());
    if (code === undefined) {
      const history = process.env.LOVAGE_SHELL_HISTORY ?? join(homedir(), '.lovage_history');
      await talk(app, names, { history, colour: wantsColour(globals, process.stdout), quiet: globals.quiet === true });
      return;
    }
    let value: unknown;
    try {
      value = await evaluate(code, names);
    } catch (cause) {
      throw new CommandError(cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause), EXIT.failed, {
        cause,
      });
    }
    if (options.json === true) process.stdout.write(`${json(value)}\n`);
    else if (value !== undefined) await show(value, wantsColour(globals, process.stdout));
  } finally {
    await app.close();
  }
}

function json(value: unknown): string {
  try {
    // undefined: what is no value in JSON, as a function.
    return JSON.stringify(value ?? null) ?? 'null';
  } catch (cause) {
    const [reason] = (cause as Error).message.split('\n');
    throw new CommandError(`The value cannot be written as JSON: ${reason}`, EXIT.failed, { cause });
  }
}

async function show(value: unknown, colors: boolean): Promise<void> {
  const { inspect } = await import('node:util');
  process.stdout.write(`${typeof value === 'string' ? value : inspect(value, { colors, depth: 4 })}\n`);
}

async function piped(): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk as string;
  return text;
}
