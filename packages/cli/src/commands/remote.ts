import { CONTROL_COMMANDS, nearestName, type CommandInfo } from '@lovage/core';
import { Command } from 'commander';
import { globalOptions, openApp, wantsColour } from '../context.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { number, seconds } from '../option-values.ts';
import { renderAnswer } from '../render-answer.ts';
import { list } from './purge.ts';

interface RemoteOptions {
  readonly timeout: number;
  readonly destination?: readonly string[];
  readonly pattern?: string;
  readonly json?: boolean;
  readonly list?: boolean;
}

type Kind = CommandInfo['kind'];

/** `lovage inspect COMMAND`: asks workers. */
export function inspectCommand(): Command {
  return remoteCommand('inspect', 'Ask workers what they do')
    .addHelpText(
      'after',
      `${commandList('inspect')}

Examples:
  lovage -A ./tasks inspect active                       what runs, on every worker
  lovage -A ./tasks inspect ping -d celery@web1          does this one answer (a liveness probe)
  lovage -A ./tasks inspect registered rate_limit        tasks with one of their attributes
  lovage -A ./tasks inspect stats --json | jq .`,
    )
    .action((name: string | undefined, given: readonly string[], options: RemoteOptions, command: Command) =>
      run('inspect', name, given, options, command),
    );
}

/** `lovage control COMMAND`: tells workers what to do. */
export function controlCommand(): Command {
  return remoteCommand('control', 'Tell workers what to do')
    .addHelpText(
      'after',
      `${commandList('control')}

Examples:
  lovage -A ./tasks control revoke 0c1a7e94-...          never start this task
  lovage -A ./tasks control terminate SIGKILL 0c1a7e94-...
  lovage -A ./tasks control rate_limit tasks.mail 10/m
  lovage -A ./tasks control add_consumer images -d celery@web1`,
    )
    .action((name: string | undefined, given: readonly string[], options: RemoteOptions, command: Command) =>
      run('control', name, given, options, command),
    );
}

/** `lovage status`: which workers are online. */
export function statusCommand(): Command {
  return new Command('status')
    .description('Show which workers are online')
    .option('-t, --timeout <seconds>', 'wait so long for answers', seconds, 1)
    .option('-d, --destination <nodes>', 'ask only these, separated by commas', list)
    .option('-j, --json', 'print JSON')
    .addHelpText(
      'after',
      `
Exit code 69 when none answered in time.

Examples:
  lovage -A ./tasks status
  lovage -A ./tasks status -d celery@web1,celery@web2 -t 5
  lovage -A ./tasks status --json | jq keys`,
    )
    .action(async (options: RemoteOptions, command: Command) => {
      const globals = globalOptions(command);
      const app = await openApp(globals);
      try {
        const replies = await app.control.inspect(selection(options)).ping();
        const nodes = Object.keys(replies).toSorted();
        if (nodes.length === 0) throw nobody();
        const colour = wantsColour(globals, process.stdout);
        if (options.json === true) process.stdout.write(`${JSON.stringify(replies)}\n`);
        else
          for (const node of nodes) process.stdout.write(renderAnswer(node, replies[node], { colour, hideBody: true }));
        if (options.json !== true && globals.quiet !== true) process.stdout.write(`\n${online(nodes.length)}\n`);
      } finally {
        await app.close();
      }
    });
}

function remoteCommand(kind: Kind, description: string): Command {
  return new Command(kind)
    .description(description)
    .argument('[command]', `see below, or --list`)
    .argument('[arguments...]')
    .option('-t, --timeout <seconds>', 'wait so long for answers', seconds, 1)
    .option('-d, --destination <nodes>', 'only these workers, separated by commas', list)
    .option('-p, --pattern <glob>', 'only workers whose name fits, for example "mail*@*"')
    .option('-j, --json', 'print JSON')
    .option('--list', 'list the commands');
}

async function run(
  kind: Kind,
  name: string | undefined,
  given: readonly string[],
  options: RemoteOptions,
  command: Command,
): Promise<void> {
  if (options.list === true) {
    process.stdout.write(`${commandList(kind).trim()}\n`);
    return;
  }
  const info = commandInfo(kind, name);
  const method = name as string;
  const args = commandArguments(method, info, given);
  const globals = globalOptions(command);
  const app = await openApp(globals);
  const colour = wantsColour(globals, process.stdout);
  try {
    const isJson = options.json === true;
    const answers = await app.control.broadcast(method, {
      ...selection(options),
      reply: true,
      arguments: args,
      onReply: (node, answer) => {
        if (!isJson) process.stdout.write(renderAnswer(node, answer, { colour }));
      },
    });
    // Celery answers to no `shutdown` either: the workers are busy stopping.
    if (answers.length === 0 && method === 'shutdown') return;
    if (answers.length === 0) throw nobody();
    // As Celery: inspect gives one object by node, control a list of answers.
    const byNode: Record<string, unknown> = Object.assign({}, ...answers) as Record<string, unknown>;
    if (isJson) process.stdout.write(`${JSON.stringify(kind === 'inspect' ? byNode : answers)}\n`);
    else if (kind === 'inspect' && globals.quiet !== true) process.stdout.write(`\n${online(answers.length)}\n`);
  } finally {
    await app.close();
  }
}

function selection({ timeout, destination, pattern }: RemoteOptions): {
  readonly timeout: number;
  readonly destination?: readonly string[];
  readonly pattern?: string;
} {
  return { timeout, ...(destination && { destination }), ...(pattern === undefined ? {} : { pattern }) };
}

function commandInfo(kind: Kind, name: string | undefined): CommandInfo {
  const names = commandNames(kind);
  if (name === undefined) {
    throw new CommandError(`Which command? Expected one of: ${names.join(', ')}.`, EXIT.usage);
  }
  const info = Object.hasOwn(CONTROL_COMMANDS, name) ? CONTROL_COMMANDS[name] : undefined;
  if (info === undefined || info.kind !== kind) {
    const other = info === undefined ? nearestName(name, names) : ` Did you mean "lovage ${info.kind} ${name}"?`;
    throw new CommandError(
      `Command ${name} not recognized. Available ${kind} commands: ${names.join(', ')}.${other}`,
      EXIT.usage,
    );
  }
  return info;
}

/** Source: celery/bin/control.py, _compile_arguments. */
function commandArguments(
  name: string,
  { positional, variadic, required = [], usage = '' }: CommandInfo,
  given: readonly string[],
): Readonly<Record<string, unknown>> {
  const wrong = (): CommandError =>
    new CommandError(`Command ${name} takes ${usage === '' ? 'no arguments' : `arguments: ${usage}`}`, EXIT.usage);
  if (given.length > positional.length && variadic === undefined) throw wrong();
  const args: Record<string, unknown> = {};
  for (const [index, [argument, type]] of positional.entries()) {
    const text = given[index];
    if (text !== undefined) args[argument] = readArgument(text, type);
  }
  if (variadic !== undefined) args[variadic] = given.slice(positional.length);
  const isMissing = required.some((argument) => args[argument] === undefined || [args[argument]].flat().length === 0);
  if (isMissing) throw wrong();
  return args;
}

function readArgument(text: string, type: CommandInfo['positional'][number][1]): unknown {
  switch (type) {
    case 'number':
      return number(text);
    case 'integer': {
      const value = number(text);
      if (Number.isInteger(value)) return value;
      throw new CommandError(`"${text}" is no whole number.`, EXIT.usage);
    }
    case 'flag':
      return /^(?:true|yes|1|on)$/i.test(text);
    case 'text':
      return text;
  }
}

/** The commands that workers take, of one kind. */
export function commandNames(kind: Kind): readonly string[] {
  return Object.entries(CONTROL_COMMANDS)
    .filter(([, info]) => info.kind === kind && info.isHidden !== true)
    .map(([name]) => name)
    .toSorted();
}

function commandList(kind: Kind): string {
  const rows = commandNames(kind).map((name) => {
    const { usage = '', help = '' } = CONTROL_COMMANDS[name] ?? {};
    return [`  ${name} ${usage}`.trimEnd(), help] as const;
  });
  const width = Math.min(44, Math.max(...rows.map(([left]) => left.length)));
  const lines = rows.map(([left, help]) =>
    left.length > width ? `${left}\n${' '.repeat(width)}  ${help}` : `${left.padEnd(width)}  ${help}`,
  );
  return `\nCommands:\n${lines.join('\n')}`;
}

function nobody(): CommandError {
  return new CommandError('No nodes replied within time constraint', EXIT.unavailable);
}

function online(count: number): string {
  return `${count} ${count === 1 ? 'node' : 'nodes'} online.`;
}
