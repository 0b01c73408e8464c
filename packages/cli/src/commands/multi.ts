import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { styleText } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, type Option } from 'commander';
import { globalOptions, wantsColour } from '../context.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { type MultiNode, expanded, pidOf, readNodes } from '../multi/nodes.ts';
import { workerCommand } from './worker.ts';

const HELP = `
Verbs:
  start NODES [worker options]           start them in the background
  stop NODES [-SIG]                      send them a signal (default: -TERM)
  stopwait NODES [-SIG]                  the same, and wait until they have ended
  restart NODES [-SIG] [worker options]  stopwait, then start
  kill NODES                             end them at once; what they run goes back to the broker
  show NODES [worker options]            print the commands that start would run
  names NODES                            print their full names
  get NAME NODES [worker options]        print the arguments of one
  expand TEMPLATE NODES                  print a template for each: %n name, %d host, %h both

NODES is a number of them (celery1, celery2 ...; --range-prefix=mail for mail1 ...), or their names. Each option of the
worker may be given for some of them only: -c:1 10, -c:1-3 10, -Q:mail,images slow. The name of a node stands for %n in
--pidfile (default: %n.pid) and --logfile (default: %n.log), both in the present folder; stop and kill need the same ones
as start. Options of multi: --quiet, --verbose, --nosplash, --json, --executable=PATH, --cmd=..., --append=...,
--prefix=..., --suffix=..., --hostname=HOST.

Examples:
  lovage multi start 3 -A ./tasks -l info -c 3
  lovage multi start mail images -A ./tasks -c 4 -c:images 1 -Q:mail mail -Q:images images
  lovage multi restart 3 -A ./tasks --pidfile=/var/run/lovage/%n.pid --logfile=/var/log/lovage/%n.log
  lovage multi stopwait 3 --pidfile=/var/run/lovage/%n.pid

For machines that start by themselves, a service manager does more: see docs/guide/running-workers.md.`;

/** `lovage multi VERB NODES`: several workers of one machine in the background, with Celery's syntax. */
export function multiCommand(): Command {
  return new Command('multi')
    .description('Start, stop and restart several workers on this machine, in the background')
    .argument('[verb]', 'see below')
    .argument('[arguments...]', 'nodes, and options of the worker')
    .addHelpText('after', HELP)
    .action((verb: string | undefined, args: readonly string[], _: object, command: Command) =>
      run(verb, args, command),
    );
}

/**
 * Options behind `multi`, which is the word at this index, are the nodes', global ones too: they are kept from the parser by a `--`. Without one,
 * `-b:2 URL` would be the broker ":2".
 */
export function shieldMulti(argv: readonly string[], at: number): readonly string[] {
  const next = argv[at + 1];
  if (next === undefined || next === '--help' || next === '-h') return argv;
  return [...argv.slice(0, at + 1), '--', ...argv.slice(at + 1)];
}

interface Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly paint: (format: 'green' | 'red' | 'magenta' | 'blue', text: string) => string;
}

interface NodeStatus {
  readonly name: string;
  readonly pid?: number;
  readonly status: 'started' | 'failed' | 'signalled' | 'stopped' | 'down';
  readonly error?: string;
}

async function run(verb: string | undefined, given: readonly string[], command: Command): Promise<void> {
  if (verb === undefined || verb === 'help') {
    process.stdout.write(command.helpInformation().concat(HELP, '\n'));
    if (verb === undefined) throw new CommandError('Which verb? Expected start, stop, restart ...', EXIT.usage);
    return;
  }
  const args = [...given];
  const has = (...names: string[]): boolean => {
    const count = args.length;
    for (const name of names) while (args.includes(name)) args.splice(args.indexOf(name), 1);
    return args.length < count;
  };
  has('--nosplash');
  const isPlain = has('--no-color', '-C');
  const globals = globalOptions(command);
  const colour = !isPlain && wantsColour(globals, process.stdout);
  const output: Output = {
    json: has('--json'),
    quiet: has('--quiet', '-q') || globals.quiet === true,
    verbose: has('--verbose'),
    paint: (format, text) => (colour ? styleText(format, text, { validateStream: false }) : text),
  };
  const before = (command.parent as Command).options.flatMap((option) => {
    const value = (command.parent as Command).opts<Record<string, unknown>>()[option.attributeName()];
    return option.long !== undefined && option.required && typeof value === 'string' ? [`${option.long}=${value}`] : [];
  });
  const context = {
    program: process.argv[1] as string,
    globals: (command.parent as Command).options,
    worker: workerCommand().options,
    before,
  };
  const known = [...context.globals, ...context.worker];
  const nodes = (rest: readonly string[] = args): readonly MultiNode[] => readNodes(rest, context);
  switch (verb) {
    case 'start':
      return finish(await start(nodes(), output), output);
    case 'stop':
    case 'stopwait':
    case 'stop_verify': {
      const signal = takeSignal(args, known);
      return finish(await stop(nodes(), signal, { waits: verb !== 'stop', output }), output);
    }
    case 'kill':
      return finish(await stop(nodes(), 'SIGKILL', { waits: false, output }), output);
    case 'restart': {
      const signal = takeSignal(args, known);
      const all = nodes();
      await stop(all, signal, { waits: true, output });
      return finish(await start(all, output), output);
    }
    case 'show':
      return list(
        nodes().map((node) => [node.executable, ...node.args].map(quoted).join(' ')),
        output,
      );
    case 'names':
      return list(
        nodes().map(({ name }) => name),
        output,
      );
    case 'expand': {
      const [template = '', ...rest] = args;
      return list(
        nodes(rest).map(({ name }) => expanded(template, name)),
        output,
      );
    }
    case 'get': {
      const [wanted, ...rest] = args;
      const found = nodes(rest).find(({ name }) => name === wanted);
      if (found === undefined) throw new CommandError(`There is no node "${wanted ?? ''}".`, EXIT.failed);
      return list([found.args.map(quoted).join(' ')], output);
    }
    default:
      throw new CommandError(
        `"${verb}" is no verb of multi. Expected start, stop, stopwait, restart, kill, show, names, get or expand.`,
        EXIT.usage,
      );
  }
}

function list(lines: readonly string[], { json }: Output): void {
  process.stdout.write(json ? `${JSON.stringify(lines)}\n` : `${lines.join('\n')}\n`);
}

function finish(statuses: readonly NodeStatus[], { json }: Output): void {
  if (json) process.stdout.write(`${JSON.stringify(statuses)}\n`);
  if (statuses.some(({ status }) => status === 'failed')) process.exitCode = EXIT.failed;
}

function say({ json, quiet }: Output, line: string): void {
  if (!json && !quiet) process.stdout.write(`${line}\n`);
}

/** All at once; the first line of each is its name, whoever is ready first. */
async function start(nodes: readonly MultiNode[], output: Output): Promise<readonly NodeStatus[]> {
  say(output, output.paint('blue', '> Starting nodes...'));
  return Promise.all(
    nodes.map(async (node): Promise<NodeStatus> => {
      const { name, executable, args } = node;
      if (output.verbose) say(output, `  ${[executable, ...args].map(quoted).join(' ')}`);
      const child = spawn(executable, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      let error = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => (error += text));
      const failed = once(child, 'error').then(([cause]) => {
        error ||= (cause as Error).message;
        return [EXIT.failed];
      });
      const [code] = (await Promise.race([once(child, 'close'), failed])) as [number | null];
      if (code === 0) {
        say(output, `\t> ${name}: ${output.paint('green', 'OK')}`);
        const pid = pidOf(node);
        return { name, ...(pid === undefined ? {} : { pid }), status: 'started' };
      }
      say(output, `\t> ${name}: ${output.paint('red', 'FAILED')}`);
      if (!output.json) process.stderr.write(error === '' ? `It ended with exit code ${code}.\n` : error);
      return { name, status: 'failed', error: error.trim() };
    }),
  );
}

const LOOK_MS = 100;

async function stop(
  nodes: readonly MultiNode[],
  signal: NodeJS.Signals,
  { waits, output }: { readonly waits: boolean; readonly output: Output },
): Promise<readonly NodeStatus[]> {
  const { paint } = output;
  say(output, paint('blue', signal === 'SIGKILL' ? '> Killing nodes...' : '> Stopping nodes...'));
  return Promise.all(
    nodes.map(async (node): Promise<NodeStatus> => {
      const { name } = node;
      const pid = pidOf(node);
      if (pid === undefined || !send(pid, signal)) {
        say(output, `\t> ${name}: ${paint('magenta', 'DOWN')}`);
        return { name, status: 'down' };
      }
      say(output, `\t> ${name}: ${signal} -> ${pid}`);
      if (!waits) return { name, pid, status: 'signalled' };
      // Somebody else's child: nothing tells of its end.
      while (pidOf(node) === pid) await sleep(LOOK_MS);
      say(output, `\t> ${name}: ${paint('green', 'OK')}`);
      return { name, pid, status: 'stopped' };
    }),
  );
}

function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw new CommandError(`Process ${pid} cannot be sent ${signal}: ${(cause as Error).message}`, EXIT.failed, {
      cause,
    });
  }
}

/**
 * `-9`, `-KILL`, `-SIGKILL` among the arguments; what looks like one and is none is refused, for TERM would be sent
 * instead. Source: celery/bin/multi.py, _find_sig_argument.
 */
function takeSignal(args: string[], known: readonly Option[]): NodeJS.Signals {
  const valued = new Set(known.flatMap(({ short, required, optional }) => (required || optional ? [short] : [])));
  for (const [index, arg] of args.entries()) {
    if (arg === '--') break;
    const [, number, name] = /^-(?:(\d+)|(?:SIG)?([A-Z][A-Z\d]+))$/i.exec(arg) ?? [];
    if (number === undefined && name === undefined) continue;
    const found = Object.entries(constants.signals).find(([signal, value]) =>
      name === undefined ? value === Number(number) : signal === `SIG${name.toUpperCase()}`,
    );
    if (found === undefined) {
      // The value of an option that stands right behind its letter.
      if (valued.has(arg.slice(0, 2))) continue;
      throw new CommandError(`"${arg}" is no signal. Expected for example -TERM, -QUIT or -9.`, EXIT.usage);
    }
    args.splice(index, 1);
    return found[0] as NodeJS.Signals;
  }
  return 'SIGTERM';
}

/** For a shell. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
