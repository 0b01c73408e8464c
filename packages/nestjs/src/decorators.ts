import {
  ConfigError,
  type PeriodicOptions,
  type ScheduleInput,
  type SignalHandler,
  type SignalName,
  type TaskContext,
  type TaskOptions,
} from '@lovage/core';

/** Options of {@link Task}: those of `app.task`, and the name. */
export interface NestTaskOptions extends TaskOptions {
  /** Default: the class and the method, `MailTasks.welcome`. Give one when code is minified, or the caller is Python. */
  readonly name?: string;
}

/** One {@link Every} of a method. */
export interface Periodic {
  readonly schedule: ScheduleInput;
  readonly args: readonly unknown[];
  readonly options: PeriodicOptions;
}

/** What the decorators have said of one method. */
export interface MethodMarks {
  task?: NestTaskOptions;
  readonly periodic: Periodic[];
  readonly signals: SignalName[];
}

type Method = (...args: never[]) => unknown;
type MethodMark<M extends Method> = <F extends M>(
  target: object,
  key: string | symbol,
  descriptor: TypedPropertyDescriptor<F>,
) => void;

// By prototype and method. One for all installed copies of this package.
const KEY = Symbol.for('@lovage/nestjs-marks');
const shared = globalThis as { [KEY]?: WeakMap<object, Map<string, MethodMarks>> };
const marked = (shared[KEY] ??= new WeakMap());

/**
 * Makes a method of a provider, or of a controller, a task. It runs with the provider's own dependencies; a provider in
 * the scope of a request, or a transient one, is made anew for each run, with the task's context as its `REQUEST`.
 *
 * @example
 * class MailTasks {
 *   constructor(private readonly mailer: Mailer) {}
 *   @Task('mail.welcome', { retry: { maxRetries: 5 } }) async welcome(to: string) {
 *     await this.mailer.send(to, 'Welcome')
 *   }
 * }
 */
export function Task(nameOrOptions: string | NestTaskOptions = {}, more: TaskOptions = {}): MethodMark<Method> {
  const options = typeof nameOrOptions === 'string' ? { ...more, name: nameOrOptions } : nameOrOptions;
  return (target, key, descriptor) => {
    marksFor('Task', target, key, descriptor.value).task = options;
  };
}

/**
 * Makes a task periodic: `@Every(crontab({ hour: 3 }))`, `@Every(30, ['sales'])`. May be there more than once. The
 * arguments are those of the method. Beat sends it: see `beat` of the module's options.
 */
export function Every<A extends unknown[] = []>(
  schedule: ScheduleInput,
  args?: readonly [...A],
  options: PeriodicOptions = {},
): MethodMark<((...args: A) => unknown) | ((task: TaskContext, ...args: A) => unknown)> {
  return (target, key, descriptor) => {
    // Decorators are applied from the last to the first.
    marksFor('Every', target, key, descriptor.value).periodic.unshift({ schedule, args: args ?? [], options });
  };
}

/** Calls a method when something happens in the app: `@OnSignal('taskFailure')`. See `app.on`. */
export function OnSignal<N extends SignalName>(signal: N): MethodMark<SignalHandler<N>> {
  return (target, key, descriptor) => {
    marksFor('OnSignal', target, key, descriptor.value).signals.push(signal);
  };
}

/** What the decorators have said of a class's method; undefined for one without any, and for one that overrides such a one. */
export function readMarks(prototype: object, method: string): MethodMarks | undefined {
  let owner: object | null = prototype;
  while (owner !== null && !Object.hasOwn(owner, method)) owner = Object.getPrototypeOf(owner) as object | null;
  return owner === null ? undefined : marked.get(owner)?.get(method);
}

function marksFor(decorator: string, target: object, key: string | symbol, method: unknown): MethodMarks {
  if (typeof target === 'function' || typeof method !== 'function' || typeof key === 'symbol') {
    const owner = typeof target === 'function' ? target.name : target.constructor.name;
    throw new ConfigError(
      `@${decorator}() is on ${owner}.${String(key)}, which cannot be called on a provider. Expected a method that is not static and has a plain name.`,
    );
  }
  const methods = marked.get(target) ?? new Map<string, MethodMarks>();
  marked.set(target, methods);
  const marks = methods.get(key) ?? { periodic: [], signals: [] };
  methods.set(key, marks);
  return marks;
}
