import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Option } from 'commander';
import { CommandError, EXIT } from '../exit-codes.ts';
import { expandFileName, expandNodeName } from '../node-name.ts';
import { isRunning, readPid } from '../pidfile.ts';
import { ownOptions, parseArguments } from './node-options.ts';

/** One worker of a cluster on this machine. */
export interface MultiNode {
  /** `celery1@host`. */
  readonly name: string;
  readonly executable: string;
  /** Of the executable: the `lovage` program, its global options, `worker --detach` and the options of the node. */
  readonly args: readonly string[];
  readonly pidfile: string;
}

export interface NodeContext {
  readonly program: string;
  readonly globals: readonly Option[];
  readonly worker: readonly Option[];
  /** Global options that stood before `multi`. */
  readonly before: readonly string[];
  readonly host?: string;
}

const PIDFILE = '%n.pid';
const LOGFILE = '%n%I.log';

/**
 * The nodes that the arguments of `multi` name: a number of them, or names, with their options.
 * Source: celery/apps/multi.py, MultiParser and Node.
 */
export function readNodes(args: readonly string[], context: NodeContext): readonly MultiNode[] {
  const { program, globals, worker, before } = context;
  const own = MULTI_OPTIONS.map((long) => ({ long, required: true }) as Option);
  const parsed = parseArguments(args, [...globals, ...worker, ...own]);
  const options = new Map(parsed.options);
  const take = (...names: string[]): string | undefined => {
    let value: string | null | undefined;
    for (const name of names) {
      value ??= options.get(name);
      options.delete(name);
    }
    return value ?? undefined;
  };
  const prefix = take('--prefix') ?? '';
  const rangePrefix = take('--range-prefix') ?? 'celery';
  const given = take('--hostname', '-n');
  const suffix = unquoted(take('--suffix')) ?? given ?? context.host ?? hostname();
  const command = take('--cmd')?.split(' ').filter(Boolean);
  const append = take('--append');
  const { names, isRange } = nodeNames(parsed.names);
  if (names.length === 0) {
    throw new CommandError('Which nodes? Expected a number of them, or their names: lovage multi start 3', EXIT.usage);
  }
  const mine = ownOptions(parsed.spaces, names);
  return names.map((name): MultiNode => {
    const text = name.includes('@') ? name : `${isRange ? rangePrefix : prefix}${name}@${suffix}`;
    const node = expandNodeName(text, context.host);
    const all = new Map([...options, ...(mine.get(name) ?? [])]);
    const executable = all.get('--executable') ?? process.execPath;
    const pidfile = all.get('--pidfile') ?? all.get('-p') ?? PIDFILE;
    const logfile = all.get('--logfile') ?? all.get('-f') ?? LOGFILE;
    for (const done of ['--executable', '--pidfile', '-p', '--logfile', '-f', '-n', '--hostname']) all.delete(done);
    const isGlobal = (option: string): boolean =>
      globals.some(({ short, long }) => option === short || option === long);
    const pick = (wanted: boolean): readonly string[] =>
      [...all].filter(([option]) => isGlobal(option) === wanted).flatMap((entry) => written(entry, node));
    return {
      name: node,
      executable,
      args: [
        program,
        ...before,
        ...pick(true),
        ...(command ?? ['worker', '--detach']),
        '-n',
        node,
        `--pidfile=${expanded(pidfile, node)}`,
        `--logfile=${expanded(logfile, node)}`,
        ...pick(false),
        ...parsed.extra,
        ...(append === undefined ? [] : [expanded(append, node)]),
      ],
      // The worker writes it where it goes to.
      pidfile: resolve(all.get('--workdir') ?? '.', expandFileName(pidfile, node)),
    };
  });
}

const MULTI_OPTIONS = ['--prefix', '--range-prefix', '--suffix', '--cmd', '--append', '--hostname', '-n'];

function nodeNames(given: readonly string[]): { readonly names: readonly string[]; readonly isRange: boolean } {
  const [only = ''] = given;
  if (given.length !== 1 || !/^\d+$/.test(only)) return { names: given, isRange: false };
  return { names: Array.from({ length: Number(only) }, (_, index) => String(index + 1)), isRange: true };
}

/** `--suffix='""'` asks for none. */
function unquoted(text: string | undefined): string | undefined {
  return text === '""' || text === "''" ? '' : text;
}

function written([option, value]: readonly [string, string | null], node: string): readonly string[] {
  if (value === null) return [option];
  const text = expanded(value, node);
  return option.startsWith('--') ? [`${option}=${text}`] : [option, text];
}

/** `%n`, `%d` and `%h` of the node; `%i` and `%I` are the worker's own. Source: celery/apps/multi.py, build_expander. */
export function expanded(text: string, node: string): string {
  const [name = '', host = ''] = node.split('@');
  const parts: Readonly<Record<string, string>> = { n: name, N: name, d: host, h: node, p: node };
  return text.replace(/%([nNdhp])/g, (_, letter: string) => parts[letter] as string);
}

/** The process of a node, if its pidfile names one that runs. */
export function pidOf({ pidfile }: MultiNode): number | undefined {
  if (!existsSync(pidfile)) return undefined;
  const pid = readPid(pidfile);
  // 1 is init, and what is below it are groups of processes: no worker that multi has started.
  return Number.isInteger(pid) && pid > 1 && isRunning(pid) ? pid : undefined;
}
