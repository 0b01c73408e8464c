import type { Option } from 'commander';
import { CommandError, EXIT } from '../exit-codes.ts';

/** Option names, as given, with their values; null: a flag. */
export type NodeOptions = ReadonlyMap<string, string | null>;

/** The arguments of `multi` taken apart. */
export interface ParsedArguments {
  readonly names: readonly string[];
  readonly options: NodeOptions;
  /** Options of single nodes, `-c:mail 3`, by what stands after the colon. */
  readonly spaces: ReadonlyMap<string, NodeOptions>;
  /** What stands after `--`. */
  readonly extra: readonly string[];
}

/**
 * Names of nodes and options of the worker, in any order. Which options are flags is known from the commands; of one
 * that is not known, what follows is its value unless it begins with a dash, as in Celery.
 * Source: celery/apps/multi.py, NamespacedOptionParser.
 */
export function parseArguments(args: readonly string[], known: readonly Option[]): ParsedArguments {
  const flags = new Set<string>();
  const valued = new Set<string>();
  for (const option of known) {
    const kind = option.required || option.optional ? valued : flags;
    for (const name of [option.short, option.long]) if (name !== undefined) kind.add(name);
  }
  const names: string[] = [];
  const options = new Map<string, string | null>();
  const spaces = new Map<string, Map<string, string | null>>();
  const end = args.indexOf('--');
  const given = end < 0 ? args : args.slice(0, end);
  for (let at = 0; at < given.length; at++) {
    const arg = given[at] as string;
    if (!arg.startsWith('-') || arg === '-') {
      if (arg !== '') names.push(arg);
      continue;
    }
    const [, text = '', equal] = /^([^=]*)(?:=([^]*))?$/.exec(arg) as RegExpExecArray;
    const [name = '', space] = splitOnce(text);
    const next = given[at + 1];
    const takesNext =
      equal === undefined &&
      next !== undefined &&
      !flags.has(name) &&
      (valued.has(name) || (!arg.startsWith('--') && !next.startsWith('-')));
    const value = takesNext ? next : (equal ?? null);
    if (takesNext) at++;
    if (space === undefined) options.set(name, value);
    else {
      const own = spaces.get(space) ?? new Map<string, string | null>();
      spaces.set(space, own.set(name, value));
    }
  }
  return { names, options, spaces, extra: end < 0 ? [] : args.slice(end + 1) };
}

function splitOnce(text: string): readonly string[] {
  const at = text.indexOf(':');
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/**
 * The nodes' own options by the name of the node as it was given: `1-3` and `1,3` are places in the list from 1, a
 * word is a name. Source: celery/apps/multi.py, _update_ns_opts and _update_ns_ranges.
 */
export function ownOptions(
  spaces: ParsedArguments['spaces'],
  names: readonly string[],
): ReadonlyMap<string, NodeOptions> {
  const own = new Map<string, Map<string, string | null>>();
  for (const [space, options] of spaces) {
    for (const name of space.split(',').flatMap((part) => placesOf(part, names))) {
      const mine = own.get(name) ?? new Map<string, string | null>();
      for (const [option, value] of options) mine.set(option, value);
      own.set(name, mine);
    }
  }
  return own;
}

function placesOf(part: string, names: readonly string[]): readonly string[] {
  const [, from, to = from] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? [];
  if (from === undefined) {
    if (names.includes(part)) return [part];
    throw new CommandError(`There is no node "${part}". Expected one of: ${names.join(', ')}.`, EXIT.usage);
  }
  const places: string[] = [];
  for (let place = Number(from); place <= Number(to); place++) {
    const name = names[place - 1];
    if (name === undefined) {
      throw new CommandError(`There is no node number ${place}. Expected 1 to ${names.length}.`, EXIT.usage);
    }
    places.push(name);
  }
  return places;
}
