import type { AsyncResult } from '../result/async-result.ts';
import { ConfigError, TaskArgumentsError } from '../errors.ts';
import type { Group, ImmutableSignature } from '../canvas/canvas-types.ts';
import { Signature } from '../canvas/signature.ts';
import { acrossCopies } from '../internal/across-copies.ts';
import type { ExceptionInfo } from '../protocol/task-meta.ts';
import type { ScheduleInput } from '../schedule/schedule.ts';
import type { Lovage } from './lovage.ts';
import type { ApplyOptions } from './option-names.ts';
import type { ParameterList } from './parameters.ts';
import { annotationsOf } from './annotations.ts';
import type { PeriodicOptions } from './periodic-task.ts';
import type { TaskContext } from './task-context.ts';
import { callOptionsOf, checkTask, HOOK_NAMES } from './task-options.ts';
import type {
  AnySchema,
  ApplyArguments,
  CallArguments,
  ImmutableSignatureFactory,
  SignatureFactory,
} from './task-types.ts';

/** When and how a failed attempt is tried again without the task asking. Source: celery/app/autoretry.py. */
export interface AutoRetryOptions {
  /** Error classes, or predicates, that lead to a retry. Default: every error. */
  readonly for?: readonly RetryMatcher[];
  /** These never do, whatever `for` says. */
  readonly notFor?: readonly RetryMatcher[];
  /** Default: the task's `maxRetries`. null: for ever. */
  readonly maxRetries?: number | null;
  /** Seconds between attempts when `backoff` is off. Default: the task's `defaultRetryDelay`. */
  readonly countdown?: number;
  /** true: 1, 2, 4 ... seconds; a number multiplies them. Default false. */
  readonly backoff?: boolean | number;
  /** Seconds; default 600. */
  readonly backoffMax?: number;
  /** Takes a random part of each delay. Default true. */
  readonly jitter?: boolean;
}

// biome-ignore format: one line reads better
export type RetryMatcher = (abstract new (...args: never[]) => unknown) | ((error: unknown) => boolean);

/** What failure and retry handlers are told besides the error. */
export interface FailureInfo {
  readonly exception: ExceptionInfo;
  readonly traceback: string;
}

/** Handlers of a task's life. They may be async; what they throw is logged and changes nothing. */
export interface TaskHooks {
  beforeStart?(taskId: string, args: readonly unknown[], kwargs: Kwargs): unknown;
  onSuccess?(result: unknown, taskId: string, args: readonly unknown[], kwargs: Kwargs): unknown;
  onFailure?(error: unknown, taskId: string, args: readonly unknown[], kwargs: Kwargs, info: FailureInfo): unknown;
  onRetry?(error: unknown, taskId: string, args: readonly unknown[], kwargs: Kwargs, info: FailureInfo): unknown;
  /** After everything else, with the final state and its value (the result, or the error). */
  afterReturn?(
    state: string,
    value: unknown,
    taskId: string,
    args: readonly unknown[],
    kwargs: Kwargs,
    info: FailureInfo | undefined,
  ): unknown;
}

type Kwargs = Readonly<Record<string, unknown>>;

/** Options of `app.task`. Times are seconds. What is left out comes from the app's settings. */
export interface TaskOptions extends TaskHooks {
  /** Gives the function a {@link TaskContext} as its first argument. Default false. */
  readonly bind?: boolean;
  /** A class that extends {@link Task}, with handlers and whatever else its tasks share. */
  // never: a base may ask for any arguments; app.task gives it the four of Task
  readonly base?: new (
    ...args: never
  ) => AnyTask;
  /** A Standard Schema (zod, valibot, arktype ...). The task then takes one object, sent as keyword arguments. */
  readonly input?: AnySchema;
  /**
   * Names of the parameters in order, so that keyword arguments of a Python caller find their place. `y?` may be left out:
   * of TypeScript's `y?: number` the function knows nothing, unlike of a default (`y = 0`), and it would be required.
   */
  readonly params?: readonly string[];
  readonly queue?: string;
  readonly exchange?: string;
  readonly routingKey?: string;
  /** 0 to 9. */
  readonly priority?: number;
  readonly serializer?: string;
  readonly compression?: string;
  readonly expires?: number | Date;
  readonly ignoreResult?: boolean;
  readonly storeErrorsEvenIfIgnored?: boolean;
  /** Settle after the result is stored. Default true (`taskAcksLate`). */
  readonly acksLate?: boolean;
  readonly acksOnFailureOrTimeout?: boolean;
  readonly rejectOnWorkerLost?: boolean;
  /** Store STARTED. Default false (`taskTrackStarted`). */
  readonly trackStarted?: boolean;
  /** How often `retry()` may be used. Default 3; null: for ever. */
  readonly maxRetries?: number | null;
  /** Default 180. */
  readonly defaultRetryDelay?: number;
  readonly retry?: AutoRetryOptions;
  /** Expected errors: still FAILURE, but logged without a traceback. */
  readonly throws?: readonly RetryMatcher[];
  readonly timeLimit?: number;
  readonly softTimeLimit?: number;
  /** `10/s`, `10/m`, `1/h` or a number a second, per worker. */
  readonly rateLimit?: string | number | null;
  /** Default true. */
  readonly sendEvents?: boolean;
}

/** {@link TaskOptions} with every default filled in from the settings. */
export interface ResolvedTaskOptions {
  readonly bind: boolean;
  readonly ignoreResult: boolean;
  readonly storeErrorsEvenIfIgnored: boolean;
  readonly acksLate: boolean;
  readonly acksOnFailureOrTimeout: boolean;
  readonly rejectOnWorkerLost: boolean;
  readonly trackStarted: boolean;
  readonly maxRetries: number | null;
  readonly defaultRetryDelay: number;
  readonly retry: AutoRetryOptions | undefined;
  readonly throws: readonly RetryMatcher[];
  readonly timeLimit: number | undefined;
  readonly softTimeLimit: number | undefined;
  readonly rateLimit: string | number | null;
  readonly sendEvents: boolean;
}

// any: a registry holds tasks of every shape
// oxlint-disable-next-line typescript/no-explicit-any
export type AnyTask = Task<any, any>;
// oxlint-disable-next-line typescript/no-explicit-any
export type TaskFunction = (...args: any[]) => unknown;

/**
 * A function that can run somewhere else, later. Made by `app.task`; extend it for a `base`.
 *
 * `P` is what it takes, `R` what it returns.
 */
export class Task<P = unknown[], R = unknown> implements TaskHooks {
  static {
    acrossCopies(Task, 'task');
  }

  readonly app: Lovage;
  readonly name: string;
  /** As given to `app.task`. */
  readonly declared: TaskOptions;
  /** Makes a signature; see {@link SignatureFactory}. */
  readonly s: SignatureFactory<P, R>;
  /** Makes an immutable signature. */
  readonly si: ImmutableSignatureFactory<P, R>;
  readonly #fn: TaskFunction;
  readonly #parameters: ParameterList;
  #configured: TaskOptions | undefined;
  #hooks: TaskHooks | undefined;
  #callOptions: ApplyOptions | undefined;
  #options: ResolvedTaskOptions | undefined;

  constructor(app: Lovage, name: string, options: TaskOptions, fn: TaskFunction) {
    this.#parameters = checkTask(name, options, fn);
    this.app = app;
    this.name = name;
    this.declared = options;
    this.#fn = fn;
    const make = (immutable: boolean, given: readonly unknown[]): unknown =>
      options.input === undefined
        ? new Signature(app, { task: name, args: given, kwargs: {}, options: {}, immutable })
        : new Signature(app, { task: name, args: [], kwargs: (given[0] ?? {}) as Kwargs, options: {}, immutable });
    this.s = ((...given: unknown[]) => make(false, given)) as SignatureFactory<P, R>;
    this.si = ((...given: unknown[]) => make(true, given)) as ImmutableSignatureFactory<P, R>;
  }

  beforeStart?(taskId: string, args: readonly unknown[], kwargs: Kwargs): unknown;
  onSuccess?(result: unknown, taskId: string, args: readonly unknown[], kwargs: Kwargs): unknown;
  onFailure?(error: unknown, taskId: string, args: readonly unknown[], kwargs: Kwargs, info: FailureInfo): unknown;
  onRetry?(error: unknown, taskId: string, args: readonly unknown[], kwargs: Kwargs, info: FailureInfo): unknown;
  afterReturn?(
    state: string,
    value: unknown,
    taskId: string,
    args: readonly unknown[],
    kwargs: Kwargs,
    info: FailureInfo | undefined,
  ): unknown;

  /** {@link declared}, with what `taskAnnotations` says over it. */
  get configured(): TaskOptions {
    return (this.#configured ??= { ...this.declared, ...annotationsOf(this.app.settings.taskAnnotations, this) });
  }

  /** The handlers that exist: those of the options, else those of the class. */
  get hooks(): TaskHooks {
    return (this.#hooks ??= Object.fromEntries(
      HOOK_NAMES.flatMap((hook) => {
        const handler = this.configured[hook] ?? (this as TaskHooks)[hook]?.bind(this);
        return handler === undefined ? [] : [[hook, handler]];
      }),
    ));
  }

  /** The options of every call of this task, before those of the call itself. */
  get callOptions(): ApplyOptions {
    return (this.#callOptions ??= callOptionsOf(this.configured));
  }

  /** Options with the settings' defaults. */
  get options(): ResolvedTaskOptions {
    return (this.#options ??= this.#resolve());
  }

  /** Publishes a call with these arguments. Resolves when the broker has the message. */
  delay(...args: CallArguments<P>): Promise<AsyncResult<R>> {
    return this.applyAsync(
      ...([this.declared.input === undefined ? args : args[0]] as unknown as ApplyAsyncArguments<P>),
    );
  }

  /**
   * Publishes a call. Rejects with `TaskArgumentsError` when the arguments do not fit, with `ConfigError` on a bad
   * option, and with a retryable error when the broker did not take the message within `publishTimeoutSeconds`.
   */
  async applyAsync(...[given, options]: ApplyAsyncArguments<P>): Promise<AsyncResult<R>> {
    const input = this.declared.input;
    if (input === undefined) {
      const args = (given ?? []) as readonly unknown[];
      if (!Array.isArray(args)) {
        throw new TaskArgumentsError(
          `Task "${this.name}" takes positional arguments. Expected applyAsync([...], options).`,
          { facts: { task: this.name } },
        );
      }
      this.#parameters.check(args);
      return this.#send(args, {}, options);
    }
    await this.#parameters.bind([], given as Kwargs);
    return this.#send([], given as Kwargs, options);
  }

  /**
   * Makes it periodic: beat calls it with these arguments at the instants of the schedule.
   *
   * @example
   * report.every(crontab({ hour: 7, minute: 0 }), ['daily'], { tz: 'Europe/Paris' })
   */
  every(schedule: ScheduleInput, ...[given, periodic]: PeriodicArguments<P>): this {
    this.app.addPeriodicTask(
      schedule,
      {
        task: this.name,
        args: this.declared.input === undefined ? ((given ?? []) as readonly unknown[]) : [],
        kwargs: this.declared.input === undefined ? {} : (given as Kwargs),
        options: {},
      },
      periodic,
    );
    return this;
  }

  #send(args: readonly unknown[], kwargs: Kwargs, options: ApplyOptions = {}): Promise<AsyncResult<R>> {
    if (this.app.settings.taskAlwaysEager)
      return this.app.eager.asIfSent(this, args, kwargs, options) as Promise<AsyncResult<R>>;
    return this.app.producer.send<R>(this.name, args, kwargs, options, this);
  }

  /**
   * Runs it here and now, without a broker, and gives its end, with retries, callbacks and handlers as a worker would run
   * them. An error is in the result, or thrown with `taskEagerPropagates`. Source: celery/app/task.py, apply.
   */
  apply(...[given, options = {}]: ApplyAsyncArguments<P>): Promise<AsyncResult<R>> {
    const positional = this.declared.input === undefined;
    const call = {
      task: this.name,
      args: positional ? ((given ?? []) as readonly unknown[]) : [],
      kwargs: positional ? {} : (given as Kwargs),
      options,
      immutable: false,
    };
    return this.app.eager.apply(call) as Promise<AsyncResult<R>>;
  }

  /** One message that runs the task with each item in turn; gives the list of its results. `celery.map`. */
  map(items: readonly FirstOf<P>[]): ImmutableSignature<R[]> {
    return this.#mapped('celery.map', { it: items });
  }

  /** {@link map} with the arguments of each call: `add.starmap([[1, 2], [3, 4]])`. `celery.starmap`. */
  starmap(items: readonly ListOf<P>[]): ImmutableSignature<R[]> {
    return this.#mapped('celery.starmap', { it: items });
  }

  /**
   * A group of messages that run the task with `size` argument lists each; gives a list for each message.
   * Source: celery/canvas.py, chunks.
   */
  chunks(items: readonly ListOf<P>[], size: number): Group<[], R[][]> {
    if (!Number.isInteger(size) || size < 1) {
      throw new ConfigError(`Chunks of ${String(size)} are not possible. Expected an integer from 1 up.`);
    }
    return this.#mapped('celery.chunks', { it: items, n: size }) as unknown as Group<[], R[][]>;
  }

  #mapped(name: string, rest: Kwargs): ImmutableSignature<R[]> {
    const task = new Signature(this.app, { task: this.name, args: [], kwargs: {}, options: {}, immutable: false });
    const kwargs = { task: task.toJSON(), ...rest };
    const fields = { task: name, args: [], kwargs, options: {}, immutable: true };
    return new Signature(this.app, fields) as unknown as ImmutableSignature<R[]>;
  }

  /**
   * Binds a message's arguments to the function's, by position, by `params` or through the schema.
   * Throws or rejects with `TaskArgumentsError`, worded as Python words it.
   */
  prepare(args: readonly unknown[], kwargs: Kwargs): readonly unknown[] | Promise<readonly unknown[]> {
    return this.#parameters.bind(args, kwargs);
  }

  /** Runs the function on a message's arguments, in this process, with no state kept: what a worker does. */
  run(context: TaskContext, args: readonly unknown[], kwargs: Kwargs): unknown {
    const bound = this.#parameters.bind(args, kwargs);
    if (bound instanceof Promise) return bound.then((values) => this.#call(context, values));
    return this.#call(context, bound);
  }

  #call(context: TaskContext, args: readonly unknown[]): unknown {
    return this.declared.bind === true ? this.#fn(context, ...args) : this.#fn(...args);
  }

  /** A signature with options, for `link` and the canvas: `add.signature([1], { countdown: 10 })`. */
  signature(args: ApplyArguments<P>, options: ApplyOptions = {}): Signature<[], R> {
    const positional = this.declared.input === undefined;
    return new Signature<[], R>(this.app, {
      task: this.name,
      args: positional ? (args as readonly unknown[]) : [],
      kwargs: positional ? {} : (args as Kwargs),
      options,
      immutable: false,
    });
  }

  /** The result of a call whose id is known. */
  asyncResult(taskId: string): AsyncResult<R> {
    return this.app.asyncResult<R>(taskId);
  }

  #resolve(): ResolvedTaskOptions {
    const settings = this.app.settings;
    const own = this.configured;
    return {
      bind: own.bind ?? false,
      ignoreResult: own.ignoreResult ?? settings.taskIgnoreResult,
      storeErrorsEvenIfIgnored: own.storeErrorsEvenIfIgnored ?? settings.taskStoreErrorsEvenIfIgnored,
      acksLate: own.acksLate ?? settings.taskAcksLate,
      acksOnFailureOrTimeout: own.acksOnFailureOrTimeout ?? settings.taskAcksOnFailureOrTimeout,
      rejectOnWorkerLost: own.rejectOnWorkerLost ?? settings.taskRejectOnWorkerLost ?? false,
      trackStarted: own.trackStarted ?? settings.taskTrackStarted,
      maxRetries: own.maxRetries === undefined ? 3 : own.maxRetries,
      defaultRetryDelay: own.defaultRetryDelay ?? 180,
      retry: own.retry,
      throws: own.throws ?? [],
      timeLimit: own.timeLimit ?? settings.taskTimeLimit ?? undefined,
      softTimeLimit: own.softTimeLimit ?? settings.taskSoftTimeLimit ?? undefined,
      rateLimit: own.rateLimit === undefined ? (settings.taskDefaultRateLimit ?? null) : own.rateLimit,
      sendEvents: own.sendEvents ?? true,
    };
  }
}

type FirstOf<P> = P extends readonly [infer First, ...unknown[]]
  ? First
  : P extends readonly (infer Each)[]
    ? Each
    : never;
type ListOf<P> = P extends readonly unknown[] ? P : never;

/** The arguments may be left out when the task takes none. */
export type ApplyAsyncArguments<P> = P extends readonly unknown[]
  ? [] extends P
    ? [args?: P, options?: ApplyOptions]
    : [args: P, options?: ApplyOptions]
  : [input: P, options?: ApplyOptions];

/** The same for `every`: the arguments, then how it is periodic. */
export type PeriodicArguments<P> = P extends readonly unknown[]
  ? [] extends P
    ? [args?: P, options?: PeriodicOptions]
    : [args: P, options?: PeriodicOptions]
  : [input: P, options?: PeriodicOptions];
