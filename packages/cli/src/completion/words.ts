import type { Command, Option } from 'commander';
import { LOG_LEVELS } from '../logging.ts';

/** What may be typed after one verb; '' is the program itself. */
export interface Place {
  /** `schedule list`. */
  readonly path: string;
  readonly verbs: readonly { readonly name: string; readonly summary: string }[];
  /** Words for its first argument, where they are known. */
  readonly words: readonly string[];
  readonly options: readonly Flag[];
}

export interface Flag {
  /** `-c`, `--concurrency`. */
  readonly names: readonly string[];
  readonly summary: string;
  /** undefined: it takes no value. */
  readonly value: Value | undefined;
}

/** The name of a file, one of these words, or what nobody can know. */
export type Value = 'file' | 'other' | readonly string[];

/** All verbs of a program with their options, of which the program's own stand at each. */
export function placesOf(program: Command, wordsOf: (path: string) => readonly string[]): readonly Place[] {
  const global = program.options.map(flagOf);
  const visit = (command: Command, path: string): readonly Place[] => {
    const own = command === program ? [] : command.options.filter(({ hidden }) => !hidden).map(flagOf);
    const known = new Set(own.flatMap(({ names }) => names));
    return [
      {
        path,
        verbs: command.commands.map((verb) => ({ name: verb.name(), summary: summaryOf(verb) })),
        words: wordsOf(path),
        options: [...own, HELP, ...global.filter(({ names }) => !names.some((name) => known.has(name)))],
      },
      ...command.commands.flatMap((verb) => visit(verb, path === '' ? verb.name() : `${path} ${verb.name()}`)),
    ];
  };
  return visit(program, '');
}

const HELP: Flag = { names: ['-h', '--help'], summary: 'show its help', value: undefined };

function summaryOf(verb: Command): string {
  return verb.summary() || verb.description();
}

function flagOf(option: Option): Flag {
  const names = [option.short, option.long].filter((name) => name !== undefined && name !== null);
  return {
    names,
    summary: option.description,
    value: option.required || option.optional ? valueOf(option) : undefined,
  };
}

const WORDS: Readonly<Record<string, readonly string[]>> = {
  '--loglevel': LOG_LEVELS,
  '--pool': ['async', 'threads', 'processes', 'solo', 'prefork', 'gevent', 'eventlet'],
  '--serializer': ['json', 'yaml', 'msgpack'],
};

function valueOf({ long, flags, argChoices }: Option): Value {
  const words = argChoices ?? WORDS[long ?? ''];
  if (words !== undefined) return words;
  return /<(?:file|folder|path|module|modules|place)s?>/.test(flags) ? 'file' : 'other';
}
