import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Backend, ResultBackend } from '../backend/contract.ts';
import type { SignatureDict } from '../canvas/signature-dict.ts';
import { builtinTask } from '../canvas/builtins.ts';
import { readFields } from '../canvas/fields.ts';
import type { ResultNode } from '../canvas/freeze.ts';
import { Signature } from '../canvas/signature.ts';
import { Control } from '../control/control.ts';
import { Events } from '../events/events.ts';
import { ConfigError } from '../errors.ts';
import { callingFile } from '../internal/calling-file.ts';
import { silentLogger, type Logger } from '../internal/log.ts';
import { fromResultTuple } from '../protocol/result-tuple.ts';
import { AsyncResult, type RevokeOptions } from '../result/async-result.ts';
import { markRevoked } from '../result/mark-revoked.ts';
import { GroupResult } from '../result/group-result.ts';
import type { ResultWaiter } from '../result/waiter.ts';
import { toSchedule } from '../schedule/interval.ts';
import type { ScheduleInput } from '../schedule/schedule.ts';
import { SerializerRegistry } from '../serialization/registry.ts';
import type { Transport } from '../transport/contract.ts';
import type { ConnectionSupervisor } from '../transport/supervisor.ts';
import { LogicalClock } from './clock.ts';
import { AppBackend } from './app-backend.ts';
import { chooseApp, forgetApp, noteApp } from './apps.ts';
import { BrokerLinks, type BrokerLinkOptions, type BrokerUse } from './broker-links.ts';
import { importConfig } from './config-module.ts';
import { configFile, configParts, type LovageConfig } from './define-config.ts';
import type { ApplyOptions } from './option-names.ts';
import { EagerRunner } from './eager.ts';
import type { PeriodicOptions, PeriodicTask } from './periodic-task.ts';
import { Producer } from './producer.ts';
import { Queues } from './queues.ts';
import { TaskRegistry } from './registry.ts';
import { Router } from './router.ts';
import { readSettings, settingsObject, settingsOnlyIn, type SettingsSource } from './settings.ts';
import type { SettingName, Settings } from './settings-table.ts';
import { Signals, type SignalHandler, type SignalName } from './signals.ts';
import type { TaskContext } from './task-context.ts';
import { TaskModules } from './task-modules.ts';
import type {
  AfterContext,
  AnyBoundFunction,
  AnyFunction,
  AnySchema,
  ImmutableSignatureFactory,
  SchemaInput,
  SchemaOutput,
  SignatureFactory,
} from './task-types.ts';
import { Task, type AnyTask, type TaskFunction, type TaskOptions } from './task.ts';

/**
 * What an app is made with: any setting, under any of Celery's spellings, and the parts that are not settings. A config
 * of {@link defineConfig} is such options.
 */
export interface LovageOptions extends LovageConfig {
  /** Transports given by value; other schemes are found by their package. */
  readonly transports?: readonly Transport[];
  /** Result stores given by value. */
  readonly backends?: readonly Backend[];
  /** Default: says nothing. The `lovage` command gives one. */
  readonly logger?: Logger;
  /** Folder, or `file:` URL, from which transport packages are looked up. Default: the working directory. */
  readonly resolveFrom?: string;
  /** Whether shared tasks may take it for the current app when none was chosen by `setDefault()`. Default true. */
  readonly setAsCurrent?: boolean;
}

/** Options of {@link Lovage.configFrom}. */
export interface ConfigFromOptions {
  readonly namespace?: string;
}

/** Options of {@link Lovage.autodiscoverTasks}. */
export interface AutodiscoverOptions {
  /** The file from which patterns are read, as a path or `import.meta.url`. Default: the calling file. */
  readonly from?: string | undefined;
  /** Whether patterns may match nothing. Default false. */
  readonly optional?: boolean;
}

/** Arguments of {@link Lovage.sendTask}. */
export interface SendTaskOptions extends ApplyOptions {
  readonly args?: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
}

/** What a continuation inherits from the task that leads to it. */
export interface ContinuationOptions extends ApplyOptions {
  /** Put before the signature's own arguments; an immutable signature ignores them. */
  readonly args?: readonly unknown[];
}

/** A task that runs elsewhere, known by name and type only. See {@link Lovage.remote}. */
export interface RemoteTask<P extends readonly unknown[], R> {
  readonly name: string;
  delay(...args: P): Promise<AsyncResult<R>>;
  applyAsync(args: P, options?: ApplyOptions): Promise<AsyncResult<R>>;
  /** Makes a signature; see {@link SignatureFactory}. */
  readonly s: SignatureFactory<P, R>;
  /** Makes an immutable signature. */
  readonly si: ImmutableSignatureFactory<P, R>;
}

const BRAND = Symbol.for('@lovage/app');

/** True for an app of this library, of this or another installed copy. */
export function isLovageApp(value: unknown): value is Lovage {
  return typeof value === 'object' && value !== null && (value as { [BRAND]?: unknown })[BRAND] === true;
}

/** See {@link Lovage.around}. */
export type TaskWrapper = (context: TaskContext, run: () => unknown) => unknown;

/**
 * An application: its tasks, settings, broker and result store. Nothing is connected before it is needed.
 *
 * @example
 * const app = new Lovage('shop', { broker: 'redis://localhost', backend: 'redis://localhost' })
 * const add = app.task('shop.add', (x: number, y: number) => x + y)
 * const result = await add.delay(2, 2)
 * await result.get({ timeout: 5 }) // 4
 */
export class Lovage implements AsyncDisposable {
  readonly [BRAND] = true;
  readonly name: string;
  readonly tasks: TaskRegistry = new TaskRegistry({
    builtin: (name) => builtinTask(this, name),
    shared: ({ name, options, fn }) => this.#makeTask(name, options, fn),
  });
  readonly producer: Producer;
  /** Runs signatures in this process: `apply()`, and every call while `taskAlwaysEager`. */
  readonly eager: EagerRunner;
  /** Where everything of this app logs to. The `lovage` command puts its own here when the app was given none. */
  logger: Logger;
  /** {@link LovageOptions.resolveFrom}; the `lovage` command puts the app's own module here when it was given none. */
  resolveFrom: string | undefined;
  /** This process's reply address: the `reply_to` of what it sends. */
  readonly oid: string = randomUUID();
  /** How this process names itself as a sender. Source: celery/utils/nodenames.py, anon_nodename. */
  readonly nodeName: string = `gen${process.pid}@${hostname()}`;
  /** What happens in this app; see {@link on}. */
  readonly signals: Signals = new Signals(() => this.logger);
  /** Orders what this process and its peers tell each other. */
  readonly clock: LogicalClock = new LogicalClock();
  readonly #links: BrokerLinks;
  readonly #backend: AppBackend;
  readonly #sources: SettingsSource[] = [];
  readonly #periodicTasks: PeriodicTask[] = [];
  readonly #taskModules: TaskModules = new TaskModules(this);
  #settings: Settings | undefined;
  #serializers: SerializerRegistry | undefined;
  #queues: Queues | undefined;
  #router: Router | undefined;
  readonly #wrappers: TaskWrapper[] = [];
  readonly #closers: (() => unknown)[] = [];
  #control: Control | undefined;
  #events: Events | undefined;
  #closing: Promise<void> | undefined;

  constructor(name: string, options: LovageOptions = {}) {
    if (name === '') throw new ConfigError('An app needs a name: new Lovage("shop", { broker: "redis://localhost" }).');
    this.name = name;
    const { transports = [], backends = [], logger, resolveFrom, setAsCurrent = true, ...settings } = options;
    this.#links = new BrokerLinks(this, transports);
    this.#backend = new AppBackend(this, backends);
    this.logger = logger ?? silentLogger;
    this.resolveFrom = resolveFrom;
    this.#sources.push({ from: `new Lovage("${name}")`, values: settings });
    const { tasks } = configParts(options);
    if (tasks.length > 0) {
      this.autodiscoverTasks(tasks, { from: configFile(options) ?? callingFile(new.target as never) });
    }
    this.producer = new Producer(this);
    this.eager = new EagerRunner(this);
    noteApp(this, setAsCurrent);
  }

  /** All settings with their defaults. Reading it ends {@link configFrom}. Throws `ConfigError` on a wrong one. */
  get settings(): Settings {
    return (this.#settings ??= readSettings(this.#sources));
  }

  /**
   * Adds settings over those given before: an object, a config of `defineConfig`, a module's exports, or `process.env`
   * with a namespace. A text names a module of settings, which is imported: `./settings.ts` beside the calling file,
   * `settings.ts` in its package, or a package; `:name` picks an export.
   *
   * With a namespace only keys that begin with it are read: with `CELERY`, `CELERY_TASK_ALWAYS_EAGER`.
   */
  configFrom(module: string, options?: ConfigFromOptions): Promise<this>;
  configFrom(values: object, options?: ConfigFromOptions): this;
  configFrom(given: string | object, { namespace }: ConfigFromOptions = {}): this | Promise<this> {
    this.#refuseLateSettings('configFrom()');
    // oxlint-disable-next-line typescript/unbound-method -- it is looked for in the stack, not called
    const caller = callingFile(this.configFrom);
    if (typeof given === 'string') {
      return importConfig(given, caller).then(({ file, values }) => this.#addConfig(values, file, file, namespace));
    }
    return this.#addConfig(given, 'configFrom()', caller, namespace);
  }

  /**
   * The same with the module that an environment variable names, from the working directory:
   * `await app.configFromEnvvar('CELERY_CONFIG_MODULE')`. Rejects with `ConfigError` when the variable is not set.
   */
  async configFromEnvvar(variable: string, { namespace }: ConfigFromOptions = {}): Promise<this> {
    const module = process.env[variable];
    if (module === undefined || module === '') {
      throw new ConfigError(
        `The environment variable ${variable} is not set. Expected the module that holds the settings, for example ${variable}=./settings.js.`,
      );
    }
    this.#refuseLateSettings('configFromEnvvar()');
    const { file, values } = await importConfig(module, undefined);
    return this.#addConfig(values, file, file, namespace);
  }

  /**
   * Adds settings under all others, as the `lovage` command does with its config file. Gives the names of those that
   * nothing else gives. `from` is how errors call the place.
   */
  addDefaults(values: object, from = 'addDefaults()'): readonly SettingName[] {
    const { tasks } = configParts(settingsObject(values));
    const source = { from, values };
    const only = settingsOnlyIn(source, this.#sources);
    if (only.length > 0) {
      this.#refuseLateSettings(from);
      this.#sources.unshift(source);
    }
    if (tasks.length > 0) this.autodiscoverTasks(tasks, { from: configFile(settingsObject(values)) ?? from });
    return only;
  }

  #addConfig(values: object, from: string, file: string | undefined, namespace: string | undefined): this {
    // Once more: a module takes time to load.
    this.#refuseLateSettings(from);
    this.#sources.push({ from, values, ...(namespace === undefined ? {} : { namespace }) });
    const config = settingsObject(values);
    const { tasks } = namespace ? { tasks: [] } : configParts(config);
    if (tasks.length > 0) this.autodiscoverTasks(tasks, { from: configFile(config) ?? file });
    return this;
  }

  #refuseLateSettings(what: string): void {
    if (this.#settings === undefined) return;
    throw new ConfigError(`${what} came too late: the settings are in use already. Call it right after new Lovage().`);
  }

  /**
   * Finds files that register tasks, by patterns: `app.autodiscoverTasks(['src/**\/tasks.ts', '!src/old/**'])`. They are
   * imported when the worker, beat or the `lovage` command starts, or by {@link importTasks}, not here: a program that
   * only sends tasks imports those that it uses.
   *
   * `./` and `../` begin at the folder of the calling file, everything else at the folder of its package. A pattern of
   * TypeScript files finds what they are compiled to when the calling file is compiled: from `dist/app.js`,
   * `src/**\/tasks.ts` is `dist/**\/tasks.js`. A pattern that matches no file is an error unless `optional`.
   */
  autodiscoverTasks(patterns: string | readonly string[], options: AutodiscoverOptions = {}): this {
    // oxlint-disable-next-line typescript/unbound-method -- it is looked for in the stack, not called
    const { from = callingFile(this.autodiscoverTasks), optional = false } = options;
    this.#taskModules.discover({
      patterns: typeof patterns === 'string' ? [patterns] : patterns,
      from: from?.startsWith('file:') ? fileURLToPath(from) : from,
      optional,
    });
    return this;
  }

  /**
   * Imports what {@link autodiscoverTasks} finds and the settings `imports` and `include` name, once. The worker, beat and
   * the `lovage` command do it; await it where a program of your own needs all tasks, but not in the module that makes
   * the app: task files wait for that one. Rejects with `ConfigError` that names the file.
   */
  importTasks(): Promise<void> {
    return this.#taskModules.importAll();
  }

  /** Serializers and compressions; what `acceptContent` names is accepted. */
  get serializers(): SerializerRegistry {
    const { acceptContent: accept, maxMessageBytes } = this.settings;
    const limits = { maxBodyBytes: maxMessageBytes, maxDecompressedBytes: maxMessageBytes };
    return (this.#serializers ??= new SerializerRegistry({ accept, limits }));
  }

  get queues(): Queues {
    return (this.#queues ??= new Queues(this.settings));
  }

  get router(): Router {
    return (this.#router ??= new Router(this.settings, this.queues));
  }

  /** Makes it the current app of the process: the one that shared tasks belong to. See `sharedTask`. */
  setDefault(): this {
    chooseApp(this);
    return this;
  }

  /** Registers a task and gives it types: arguments and result are inferred from the function. */
  task<F extends AnyFunction>(name: string, fn: F): Task<Parameters<F>, Awaited<ReturnType<F>>>;
  task<S extends AnySchema, R>(
    name: string,
    options: TaskOptions & { readonly input: S; readonly bind: true },
    fn: (task: TaskContext, input: SchemaOutput<S>) => R,
  ): Task<SchemaInput<S>, Awaited<R>>;
  task<S extends AnySchema, R>(
    name: string,
    options: TaskOptions & { readonly input: S; readonly bind?: false },
    fn: (input: SchemaOutput<S>) => R,
  ): Task<SchemaInput<S>, Awaited<R>>;
  task<F extends AnyBoundFunction>(
    name: string,
    options: TaskOptions & { readonly input?: never; readonly bind: true },
    fn: F,
  ): Task<AfterContext<Parameters<F>>, Awaited<ReturnType<F>>>;
  task<F extends AnyFunction>(
    name: string,
    options: TaskOptions & { readonly input?: never; readonly bind?: false },
    fn: F,
  ): Task<Parameters<F>, Awaited<ReturnType<F>>>;
  task(name: string, given: TaskOptions | TaskFunction, fn?: TaskFunction): AnyTask {
    const [options, run] = typeof given === 'function' ? [{}, given] : [given, fn];
    const task = this.#makeTask(name, options, run);
    this.tasks.register(task);
    return task;
  }

  #makeTask(name: string, options: TaskOptions, fn: TaskFunction | undefined): AnyTask {
    const Base = (options.base ?? Task) as typeof Task;
    const task = new Base(this, name, options, fn as TaskFunction);
    if (!(task instanceof Task)) throw new ConfigError(`The base of task "${name}" does not extend Task.`);
    return task;
  }

  /**
   * Adds a periodic task: a signature at the instants of a schedule. Default name: the task with its arguments.
   * Source: celery/app/base.py, add_periodic_task.
   */
  addPeriodicTask(
    schedule: ScheduleInput,
    { task, args, kwargs, options }: Pick<Signature, 'task' | 'args' | 'kwargs' | 'options'>,
    { name, misfire, tz, ...own }: PeriodicOptions = {},
  ): this {
    // Lines of cron are read by @lovage/beat.
    if (typeof schedule !== 'string') toSchedule(schedule);
    const shown = [
      ...args.map((arg) => JSON.stringify(arg)),
      ...Object.entries(kwargs).map(([key, value]) => `${key}=${JSON.stringify(value)}`),
    ];
    this.#periodicTasks.push({
      name: name ?? `${task}(${shown.join(', ')})`,
      task,
      schedule,
      args,
      kwargs,
      options: { ...options, ...own },
      ...(misfire === undefined ? {} : { misfire }),
      ...(tz === undefined ? {} : { tz }),
    });
    return this;
  }

  /** What `every()` and {@link addPeriodicTask} have declared, on shared tasks too; for `@lovage/beat`. */
  get periodicTasks(): readonly PeriodicTask[] {
    this.tasks.values(); // makes this app's own of what is shared
    return this.#periodicTasks;
  }

  /** A task of another program, Python's for example: `app.remote<(path: string) => number>('img.size')`. */
  remote<F extends AnyFunction>(name: string): RemoteTask<Parameters<F>, Awaited<ReturnType<F>>> {
    type P = Parameters<F>;
    type R = Awaited<ReturnType<F>>;
    const signature = (args: readonly unknown[], immutable: boolean): Signature =>
      new Signature(this, { task: name, args, kwargs: {}, options: {}, immutable });
    return {
      name,
      delay: (...args: P) => this.producer.send<R>(name, args, {}),
      applyAsync: (args: P, options?: ApplyOptions) => this.producer.send<R>(name, args, {}, options),
      s: ((...args: unknown[]) => signature(args, false)) as SignatureFactory<P, R>,
      si: ((...args: unknown[]) => signature(args, true)) as unknown as ImmutableSignatureFactory<P, R>,
    };
  }

  /** Publishes a call by name; the task need not be known here. */
  sendTask<R = unknown>(
    name: string,
    { args = [], kwargs = {}, ...options }: SendTaskOptions = {},
  ): Promise<AsyncResult<R>> {
    return this.producer.send<R>(name, args, kwargs, options, this.tasks.get(name));
  }

  /** A signature by name. */
  signature(
    name: string,
    { args = [], kwargs = {}, immutable = false, ...options }: SendTaskOptions & { immutable?: boolean } = {},
  ): Signature {
    return new Signature(this, { task: name, args, kwargs, options, immutable });
  }

  /** Sends a signature that came with a message: a callback, an errback, the next of a chain, whatever it is made of. */
  applySignature(dict: SignatureDict, { args = [], ...options }: ContinuationOptions = {}): Promise<AsyncResult> {
    return this.producer.apply(readFields(dict), args, {}, options);
  }

  /** The result of a task whose id is known. */
  asyncResult<R = unknown>(taskId: string): AsyncResult<R> {
    return new AsyncResult<R>(this, taskId);
  }

  /**
   * Calls `handler` when something happens: `app.on('taskFailure', ({ task, error }) => ...)`. The result takes it back.
   * Task signals come in the process of the worker, whatever its pool; what a handler throws is logged.
   */
  on<N extends SignalName>(name: N, handler: SignalHandler<N>): () => void {
    return this.signals.on(name, handler);
  }

  /**
   * Calls `wrapper` around the function of every task, where it runs, in a child process too: for tracing, transactions,
   * contexts. It must call `run` once and return what that returns. The first one that was added is the outermost.
   */
  around(wrapper: TaskWrapper): void {
    this.#wrappers.push(wrapper);
  }

  /** The wrappers of {@link around}. */
  get wrappers(): readonly TaskWrapper[] {
    return this.#wrappers;
  }

  /** Commands and questions to running workers, this library's and Python's. */
  get control(): Control {
    return (this.#control ??= new Control(this));
  }

  /** What workers and clients tell of themselves and of tasks. */
  get events(): Events {
    return (this.#events ??= new Events(this));
  }

  /** The result that a tuple refers to, a group's with its members. Throws `DecodeError` when it is no result tuple. */
  resultFromTuple(tuple: unknown): AsyncResult {
    const { id, parent, children } = fromResultTuple(tuple);
    const before = parent === null ? undefined : this.resultFromTuple(parent);
    if (children === null) return new AsyncResult(this, id, before);
    return new GroupResult(
      this,
      id,
      children.map((child) => this.resultFromTuple(child)),
      before,
    );
  }

  /** The group that {@link GroupResult.save} has kept under this id; undefined when nothing is kept. */
  async restoreGroup(groupId: string): Promise<GroupResult | undefined> {
    const tuple = await (await this.requireBackend('restore a group')).loadGroup(groupId);
    if (tuple === undefined || tuple === null) return undefined;
    const result = this.resultFromTuple(tuple);
    return result instanceof GroupResult ? result : undefined;
  }

  /** The results of what was frozen or sent. */
  resultOf({ id, parent, children }: ResultNode): AsyncResult {
    const before = parent === undefined ? undefined : this.resultOf(parent);
    return children === undefined ? new AsyncResult(this, id, before) : this.groupResult(id, children, before);
  }

  /** The result of a group whose members' results are known. */
  groupResult(id: string, members: readonly ResultNode[], parent?: AsyncResult): GroupResult {
    return new GroupResult(
      this,
      id,
      members.map((member) => this.resultOf(member)),
      parent,
    );
  }

  /**
   * Marks tasks as REVOKED in the result store and, on brokers with fanout, tells every worker by `revoke` not to start
   * them, or with `terminate` to end them. Source: celery/app/control.py, revoke.
   */
  async revoke(
    taskIds: readonly string[],
    { terminate = false, signal = 'SIGTERM' }: RevokeOptions = {},
  ): Promise<void> {
    const backend = await this.resultBackend();
    if (backend?.capabilities.shared === true) await markRevoked(backend, taskIds);
    const connection = await this.producerConnection().connection({
      timeoutMs: this.settings.publishTimeoutSeconds * 1000,
    });
    if (connection.capabilities.fanout) await this.control.revoke(taskIds, { terminate, signal });
  }

  /**
   * A supervised link of its own: `read` for consuming, `write` for publishing. The caller closes it. With `url` to
   * another broker; transport and TLS options of the settings hold there too if its scheme is that of the app's own.
   */
  connectBroker(use: BrokerUse, options?: BrokerLinkOptions): ConnectionSupervisor {
    return this.#links.open(use, options);
  }

  /**
   * Loads what speaks with the broker and connects to nothing: a wrong URL or a package that is not installed is known
   * before anything starts. Rejects with `TransportNotFoundError` and `ConfigError`.
   */
  loadTransports(): Promise<void> {
    return this.#links.loadTransports();
  }

  /** The link that every publish of this app shares. */
  producerConnection(): ConnectionSupervisor {
    return this.#links.shared;
  }

  /** The result store, opened on first use; undefined when none is configured. */
  resultBackend(): Promise<ResultBackend | undefined> {
    return this.#backend.get();
  }

  /** The result store if it is open already. */
  openedBackend(): ResultBackend | undefined {
    return this.#backend.opened;
  }

  /** Opens a result store of its own, by URL, with the app's settings. The caller closes it. */
  openBackend(setting: string): Promise<ResultBackend> {
    return this.#backend.open(setting);
  }

  /** The result store, or `BackendDisabledError` saying what needed it. */
  requireBackend(purpose: string): Promise<ResultBackend> {
    return this.#backend.require(purpose);
  }

  /** Waits for results on behalf of every `get()` of this app. */
  resultWaiter(): Promise<ResultWaiter> {
    return this.#backend.waiter();
  }

  /**
   * Calls `closer` when the app is closed, and waits for it before anything of the app ends: for what tasks share, a pool
   * of database connections for example. The `lovage` command closes the app at its end, a child of a pool does too. What
   * it throws is logged.
   */
  onClose(closer: () => unknown): this {
    this.#closers.push(closer);
    return this;
  }

  /** Flushes and closes what the app opened, and ends every wait for a result with `ClosedError`. Twice is fine. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await Promise.all(this.#closers.map((closer) => this.#callCloser(closer)));
    this.#links.refuse();
    forgetApp(this);
    // First what uses the connection: `rpc://` removes its reply queue.
    await this.#backend.close();
    await this.#events?.close();
    await this.#links.close();
  }

  async #callCloser(closer: () => unknown): Promise<void> {
    try {
      await closer();
    } catch (error) {
      this.logger.error({ err: error }, `What was to be done before the app "${this.name}" closes failed.`);
    }
  }
}
