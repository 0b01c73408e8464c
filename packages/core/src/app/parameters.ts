import type { StandardSchemaV1 } from '@standard-schema/spec';
import { ConfigError, TaskArgumentsError } from '../errors.ts';
import type { AnySchema } from './task-types.ts';

type Kwargs = Readonly<Record<string, unknown>>;

/** How a task's function takes what a message brings. Errors are worded as Python's TypeError, which peers show. */
export interface ParameterList {
  /** Throws `TaskArgumentsError` when so many positional arguments cannot be right. */
  check(args: readonly unknown[]): void;
  /** The function's arguments, without the context. */
  bind(args: readonly unknown[], kwargs: Kwargs): readonly unknown[] | Promise<readonly unknown[]>;
}

interface Declaration {
  readonly bind?: boolean;
  readonly params?: readonly string[];
  readonly input?: AnySchema;
}

/** At the end of a name in `params`: the parameter may be left out. */
const OPTIONAL = '?';

// The source is what the engine runs, so it never lies about names; anything but plain identifiers is left alone.
const PLAIN_LIST = /^(?:async\s*)?(?:function\s*[\w$]*\s*)?\(([\w$,\s]*)\)/;
const SINGLE_NAME = /^(?:async\s+)?[\w$]+\s*=>/;

/** Reads what can be known of a function's parameters; `ConfigError` when the options contradict the function. */
export function describeParameters(
  task: string,
  fn: { readonly length: number },
  declared: Declaration,
): ParameterList {
  const { input } = declared;
  const firstOptional = declared.params?.findIndex((name) => name.endsWith(OPTIONAL)) ?? -1;
  const params = declared.params?.map((name) => (name.endsWith(OPTIONAL) ? name.slice(0, -1) : name));
  if (firstOptional >= 0 && declared.params?.slice(firstOptional).some((name) => !name.endsWith(OPTIONAL)) === true) {
    throw new ConfigError(
      `Task "${task}" names a required parameter after an optional one in params: ${declared.params.join(', ')}.`,
    );
  }
  if (params !== undefined && new Set(params).size !== params.length) {
    throw new ConfigError(`Task "${task}" names a parameter twice in params: ${params.join(', ')}.`);
  }
  if (input !== undefined) return schemaParameters(task, input, params ?? []);
  const context = declared.bind === true ? 1 : 0;
  const counted = Math.max(0, fn.length - context);
  // TypeScript's `y?: number` is one of those that count; `y = 0` is not.
  const required = firstOptional < 0 ? counted : Math.min(counted, firstOptional);
  if (params !== undefined && params.length < counted) {
    throw new ConfigError(
      `Task "${task}" takes ${counted} arguments but params names ${params.length} (${params.join(', ')}). Name each parameter, in order.`,
    );
  }
  const most =
    params === undefined ? mostArguments(fn, context) : takesRest(fn) ? Number.POSITIVE_INFINITY : params.length;
  return positionalParameters(task, required, most, params);
}

/** Bound functions, proxies and functions of the engine show no parameters. */
const HIDDEN = /\{\s*\[native code\]\s*\}$/;

/** True for `(x, ...rest)`; a body that only looks like it allows more arguments, never fewer. */
function takesRest(fn: object): boolean {
  const source = Function.prototype.toString.call(fn);
  return HIDDEN.test(source) || /\.\.\.\s*[\w$]+\s*\)/.test(source);
}

function mostArguments(fn: { readonly length: number }, context: number): number {
  const source = Function.prototype.toString.call(fn);
  if (HIDDEN.test(source)) return Number.POSITIVE_INFINITY;
  const list = PLAIN_LIST.exec(source);
  if (list !== null)
    return Math.max(0, (list[1] as string).split(',').filter((name) => name.trim() !== '').length - context);
  return SINGLE_NAME.test(source) ? Math.max(0, 1 - context) : Number.POSITIVE_INFINITY;
}

function positionalParameters(
  task: string,
  required: number,
  most: number,
  params: readonly string[] | undefined,
): ParameterList {
  const call = `${task.slice(task.lastIndexOf('.') + 1)}()`;
  const fail = (problem: string): never => {
    throw new TaskArgumentsError(`${call} ${problem}`, { facts: { task } });
  };
  const nameOf = (index: number): string => params?.[index] ?? `argument ${index + 1}`;

  const failMissing = (names: readonly string[]): never =>
    fail(`missing ${plural(names.length, 'required positional argument')}: ${listed(names)}`);

  function check(args: readonly unknown[]): void {
    if (args.length > most) {
      const takes =
        most === required ? plural(most, 'positional argument') : `from ${required} to ${most} positional arguments`;
      fail(`takes ${takes} but ${args.length} ${args.length === 1 ? 'was' : 'were'} given`);
    }
    if (args.length < required) {
      failMissing(Array.from({ length: required - args.length }, (_, index) => `'${nameOf(args.length + index)}'`));
    }
  }

  function bindNamed(args: readonly unknown[], names: readonly string[], kwargs: Kwargs): readonly unknown[] {
    const bound = [...args];
    for (const name of names) {
      const index = params?.indexOf(name) ?? -1;
      if (index < 0) {
        const hint = params === undefined ? `. Declare params: [...] on the task to take keyword arguments` : '';
        fail(`got an unexpected keyword argument '${name}'${hint}`);
      }
      if (index < args.length) fail(`got multiple values for argument '${name}'`);
      bound[index] = kwargs[name];
    }
    if (args.length > most) check(args);
    const missing: string[] = [];
    for (let index = args.length; index < required; index++) if (!(index in bound)) missing.push(`'${nameOf(index)}'`);
    if (missing.length > 0) failMissing(missing);
    // A hole is an optional parameter that was not given; spreading it gives undefined, which takes the default.
    return bound;
  }

  return {
    check,
    bind(args, kwargs) {
      const names = Object.keys(kwargs);
      if (names.length > 0) return bindNamed(args, names, kwargs);
      check(args);
      return args;
    },
  };
}

function schemaParameters(task: string, input: AnySchema, params: readonly string[]): ParameterList {
  const call = `${task.slice(task.lastIndexOf('.') + 1)}()`;
  function outcome(result: StandardSchemaV1.Result<unknown>): readonly unknown[] {
    if (result.issues === undefined) return [result.value];
    const problems = result.issues.map(({ message, path }) => {
      const where = (path ?? []).map((part) => String(typeof part === 'object' ? part.key : part)).join('.');
      return where === '' ? message : `${where}: ${message}`;
    });
    throw new TaskArgumentsError(`${call} got arguments that do not fit its input schema: ${problems.join('; ')}`, {
      facts: { task },
    });
  }
  return {
    check() {},
    bind(args, kwargs) {
      if (typeof kwargs !== 'object' || kwargs === null || Array.isArray(kwargs)) {
        throw new TaskArgumentsError(`${call} takes one input object.`, { facts: { task } });
      }
      let value = kwargs;
      if (args.length > 0) {
        if (args.length > params.length) {
          throw new TaskArgumentsError(
            `${call} takes keyword arguments but ${plural(args.length, 'positional argument')} ${args.length === 1 ? 'was' : 'were'} given. Declare params: [...] on the task to take them by position`,
            { facts: { task } },
          );
        }
        const named = Object.fromEntries(args.map((arg, index) => [params[index] as string, arg]));
        const twice = Object.keys(named).find((name) => Object.hasOwn(kwargs, name));
        if (twice !== undefined)
          throw new TaskArgumentsError(`${call} got multiple values for argument '${twice}'`, { facts: { task } });
        value = { ...kwargs, ...named };
      }
      const result = input['~standard'].validate(value);
      return result instanceof Promise ? result.then(outcome) : outcome(result);
    },
  };
}

/** `'x', 'y', and 'z'`. Source: CPython, Python/ceval.c, format_missing. */
function listed(names: readonly string[]): string {
  if (names.length < 3) return names.join(' and ');
  return `${names.slice(0, -1).join(', ')}, and ${names.at(-1)}`;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
