import { hostname } from 'node:os';
import {
  ClosedError,
  ConfigError,
  defaultConcurrency,
  isLovageError,
  NotRegistered,
  type Settings,
  UnsupportedError,
  workerDirectQueue,
  type Logger,
  type Lovage,
  type NamedQueueOptions,
  type QueueDefinition,
} from '@lovage/core';
import { WorkerLostError } from '@lovage/core/protocol';
import type { Connection, ConnectionSupervisor, Topology } from '@lovage/core/transport';
import { systemClock, type Clock } from './clock.ts';
import { Cluster, HEARTBEAT_SECONDS } from './cluster.ts';
import { Dispatcher } from './consumer/dispatcher.ts';
import { PrefetchWindow } from './consumer/prefetch.ts';
import { parseRateLimit } from './consumer/rate-limit.ts';
import { ConsumerSession } from './consumer/session.ts';
import { DeadLetters } from './dead-letters.ts';
import { AsyncPool } from './pools/async-pool.ts';
import { ChildPool } from './pools/children/child-pool.ts';
import { isInChild } from './pools/children/in-child.ts';
import type { AppModule } from './pools/children/messages.ts';
import { Autoscaler, checkRange, type AutoscaleRange } from './pools/autoscaler.ts';
import type { Pool, PoolInfo } from './pools/pool.ts';
import { Watchdog } from './pools/watchdog.ts';
import { guardProcess } from './process-guard.ts';
import { tellSignals } from './events/task-signals.ts';
import { TaskObservers } from './request/observer.ts';
import type { Attempt } from './request/attempt.ts';
import { hasStampOf, Revokes, type StampedHeaders } from './request/revokes.ts';
import { StateFile } from './request/state-file.ts';
import { TimeLimits, type LimitChange } from './request/time-limits.ts';
import { Tracer } from './request/trace.ts';
import type { Work } from './request/work.ts';
import { Workflow } from './request/workflow.ts';
import { ResultWriter } from './results/result-writer.ts';

/** Options of a {@link Worker}. What is left out comes from the app's settings. */
export interface WorkerOptions {
  /** Queues to consume from (Celery's `-Q`). Default: all that are configured. */
  readonly queues?: readonly string[];
  /** Configured queues not to consume from (`-X`). */
  readonly excludeQueues?: readonly string[];
  /** How many tasks run at once. Default `workerConcurrency`: 100 for `async`. `solo` is always 1. */
  readonly concurrency?: number;
  /** Messages fetched ahead, for each task that may run at once; 0: no limit. Default `workerPrefetchMultiplier`: 1. */
  readonly prefetchMultiplier?: number;
  /**
   * Where tasks run: `async` (also `eventlet`, `gevent`), `threads`, `processes` (also `prefork`) or `solo`. Default
   * `workerPool`.
   */
  readonly pool?: string;
  /**
   * For `threads` and `processes`: the module from which each child loads the app, often `import.meta.url` of the file
   * that makes it. It must not start a worker by itself.
   */
  readonly appModule?: string | URL | AppModule;
  /** A child is replaced after so many tasks. Default `workerMaxTasksPerChild`: never. */
  readonly maxTasksPerChild?: number;
  /**
   * A child that holds more KiB after a task is replaced: a process by its resident memory, a thread by its heap.
   * Default `workerMaxMemoryPerChild`: never.
   */
  readonly maxMemoryPerChild?: number;
  /** Let the pool grow to `max` and shrink to `min` slots with the work there is. Default: it keeps its size. */
  readonly autoscale?: AutoscaleRange;
  /** Node name: `name@host`. Default `celery@` and the host's name. */
  readonly nodeName?: string;
  /** Default: the app's. */
  readonly logger?: Logger;
  /**
   * How often a message of an unknown task goes back to the broker, for a worker that knows it, before it is set aside.
   * Default `workerUnknownTaskRetries`: 5, over about a minute and a half; 0: at once, as Celery does.
   */
  readonly unknownTaskRetries?: number;
  /** Milliseconds for which a result that the store does not take is tried before the message goes back. Default 60000. */
  readonly resultDeadlineMs?: number;
  /**
   * Handle `unhandledRejection` and `uncaughtException` of the process while the worker runs: they fail the task that
   * they come from. Default true.
   */
  readonly guardProcess?: boolean;
  /** Answer remote control. Default `workerEnableRemoteControl`. */
  readonly remoteControl?: boolean;
  /** Send task events from the start (`-E`); remote control switches them. Default `workerSendTaskEvents`. */
  readonly taskEvents?: boolean;
  /** Seconds between heartbeat events; 0: none (`--without-heartbeat`). Default 2. */
  readonly heartbeatInterval?: number;
  /** Hear what other workers tell (`--without-gossip`). Default true. */
  readonly gossip?: boolean;
  /** At the start ask other workers what is revoked (`--without-mingle`). Default true. */
  readonly mingle?: boolean;
  /**
   * In `async` and `solo`: name the task that keeps the event loop from turning for so many milliseconds. Default 1000; 0:
   * do not look.
   */
  readonly watchdogMs?: number;
  /** File in which revokes survive a restart (`--statedb`). Default `workerStateDb`: none. */
  readonly stateDb?: string;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Numbers from 0 to 1. Default `Math.random`. */
  readonly random?: () => number;
}

/**
 * `warm`: running tasks get the grace to finish. `soft`: they get `workerSoftShutdownTimeout`, then as `cold`.
 * `cold`: they are told to end at once. Source: celery/apps/worker.py.
 */
export type StopKind = 'warm' | 'soft' | 'cold';

export interface StopOptions {
  /** Milliseconds that running tasks get. Default: `workerShutdownTimeout`, `workerSoftShutdownTimeout`, 0. */
  readonly graceMs?: number;
}

/** Whether, and how hard, running tasks are ended with a revoke. */
export interface TerminateOptions {
  readonly terminate?: boolean;
  /** What a child that does not end gets before SIGKILL. Default SIGTERM; SIGKILL: at once. */
  readonly signal?: NodeJS.Signals;
}

/** `running`, then in this order. Each state has a deadline, so the last one is always reached. */
export type WorkerState = 'new' | 'running' | 'draining' | 'returning' | 'closed';

/** A task as the worker shows it to monitors. */
export interface WorkInfo {
  readonly id: string;
  readonly task: string;
  readonly queue: string;
  /** Epoch milliseconds. */
  readonly eta: number | undefined;
}

const OPTION_NAMES: ReadonlySet<string> = new Set<keyof WorkerOptions>([
  'queues',
  'excludeQueues',
  'concurrency',
  'prefetchMultiplier',
  'pool',
  'appModule',
  'maxTasksPerChild',
  'maxMemoryPerChild',
  'autoscale',
  'nodeName',
  'logger',
  'unknownTaskRetries',
  'resultDeadlineMs',
  'guardProcess',
  'watchdogMs',
  'stateDb',
  'remoteControl',
  'taskEvents',
  'heartbeatInterval',
  'gossip',
  'mingle',
  'clock',
  'random',
]);

/** After the abort signals: for tasks to react, and for brokers and stores to take what is left. */
const WATCHDOG_MS = 1000;
const REACTION_MS = 700;
const RETURNING_MS = 1100;
const CLOSING_STEP_MS = 300;
/** What a stop may take beyond the grace. */
const STOP_MS = 2000;
const LAST_EVENTS_MS = 300;
const CONSUME_AGAIN_FIRST_MS = 500;
const CONSUME_AGAIN_LONGEST_MS = 10_000;

/**
 * Takes tasks from the broker, runs them and stores their results.
 *
 * At least once: a message is settled after the task's result is stored and what follows it is published, unless the
 * task says `acksLate: false`. A worker that dies, or loses its broker, leaves its messages to others.
 *
 * @example
 * const worker = new Worker(app, { concurrency: 50 })
 * await worker.start()
 * process.once('SIGTERM', () => void worker.stop('warm'))
 * await worker.done
 */
export class Worker implements AsyncDisposable {
  readonly app: Lovage;
  readonly nodeName: string;
  /** Resolves when the first message could be taken, rejects with what makes that impossible. */
  readonly ready: Promise<void>;
  /** Resolves when the worker has stopped, rejects with what made it stop. */
  readonly done: Promise<void>;
  readonly pool: Pool;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #options: WorkerOptions;
  #queues: readonly QueueDefinition[];
  readonly #revoked: Revokes;
  readonly #limits = new TimeLimits();
  readonly #autoscaler: Autoscaler | undefined;
  #watchdog: Watchdog | undefined;
  #stateFile: StateFile | undefined;
  readonly #multiplier: number;
  readonly #window: PrefetchWindow;
  readonly #observers: TaskObservers;
  readonly #untell: () => void;
  readonly #cluster: Cluster;
  readonly #rates = new Map<string, string | number | null>();
  readonly #random: () => number;
  readonly #isReady = deferred();
  readonly #isDone = deferred();
  #state: WorkerState = 'new';
  #dispatcher: Dispatcher | undefined;
  #results: ResultWriter | undefined;
  /** What a store or broker that is away keeps from happening is given up. */
  #isTryingOver = false;
  #supervisor: ConnectionSupervisor | undefined;
  #session: ConsumerSession | undefined;
  #unguard: (() => void) | undefined;
  #endPublishing: (() => void) | undefined;
  #stopping: Promise<void> | undefined;
  /** Monotonic; when running tasks are told to end. */
  #graceEnd = Number.POSITIVE_INFINITY;
  #hurry: (() => void) | undefined;
  #failure: unknown;
  #wasReady = false;

  /** Throws `ConfigError` and `UnsupportedError` for what cannot work. */
  constructor(app: Lovage, options: WorkerOptions = {}) {
    for (const name of Object.keys(options)) {
      if (!OPTION_NAMES.has(name)) {
        throw new ConfigError(`Unknown worker option "${name}". Expected one of: ${[...OPTION_NAMES].join(', ')}.`);
      }
    }
    const { settings } = app;
    this.app = app;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#logger = options.logger ?? app.logger;
    this.nodeName = options.nodeName ?? `celery@${hostname()}`;
    const poolName = namePool(options.pool ?? settings.workerPool);
    const range = options.autoscale === undefined ? undefined : checkRange(options.autoscale);
    this.pool = this.#makePool(poolName, range?.min ?? concurrencyOf(poolName, options, settings));
    this.pool.onRoom = () => this.#dispatcher?.pump();
    const multiplier = options.prefetchMultiplier ?? settings.workerPrefetchMultiplier;
    if (!(multiplier >= 0)) {
      throw new ConfigError(`The prefetch multiplier ${String(multiplier)} is not one. Expected 0 (no limit) or more.`);
    }
    this.#multiplier = settings.workerDisablePrefetch ? 1 : multiplier;
    if (range !== undefined) {
      checkSlots(poolName, range.max);
      if (poolName === 'solo') throw new UnsupportedError('The pool "solo" has one slot: it cannot be autoscaled.');
      this.#autoscaler = new Autoscaler(this.pool, range, this.#clock, () => this.#dispatcher?.load ?? 0);
    }
    this.#window = new PrefetchWindow(
      { base: this.#prefetchBase(), slots: this.#mostSlots },
      settings.workerEtaTaskLimit ?? Number.POSITIVE_INFINITY,
      (error) => this.#logger.warn({ error }, 'The prefetch count could not be changed.'),
    );
    for (const task of app.tasks.values()) parseRateLimit(task.options.rateLimit);
    if (settings.workerDirect) app.queues.add(workerDirectQueue(this.nodeName));
    this.#queues = app.queues.select({ queues: options.queues ?? [], exclude: options.excludeQueues ?? [] });
    if (this.#queues.length === 0) {
      throw new ConfigError('The worker has no queue to consume from: "excludeQueues" leaves none.');
    }
    this.#observers = new TaskObservers((error) =>
      this.#logger.error({ error }, 'What is told of a task could not be told.'),
    );
    this.#untell = tellSignals(app.signals, this.#observers);
    this.#revoked = new Revokes(this.#clock);
    this.#cluster = this.#joinCluster();
    this.ready = this.#isReady.promise;
    this.done = this.#isDone.promise;
    // Whoever starts a worker may wait for one of the two only.
    this.ready.catch(() => {});
    this.done.catch(() => {});
  }

  get state(): WorkerState {
    return this.#state;
  }

  /** When it will have stopped at the latest, in `performance.now()` of the system's clock; Infinity before {@link stop}. */
  get stopsBy(): number {
    return this.#graceEnd + STOP_MS;
  }

  /** Names of the queues that it consumes from. */
  get queueNames(): readonly string[] {
    return this.#queues.map(({ name }) => name);
  }

  /** Tasks that run, or ended and are not settled yet. */
  get active(): readonly WorkInfo[] {
    return [...(this.#dispatcher?.attempts ?? [])].map(({ work }) => describeWork(work));
  }

  /** Tasks that could run and wait for a slot. */
  get reserved(): readonly WorkInfo[] {
    return this.#dispatcher?.reserved.map(describeWork) ?? [];
  }

  /** Tasks that wait for their time. */
  get scheduled(): readonly WorkInfo[] {
    return this.#dispatcher?.scheduled.map(describeWork) ?? [];
  }

  /**
   * Starts to consume; resolves as {@link ready} does. A broker that is away is waited for, unless
   * `brokerConnectionRetryOnStartup` is off.
   */
  start(): Promise<void> {
    if (this.#state !== 'new') throw new ClosedError('A worker starts once. Make another one.');
    if (isInChild()) {
      throw new ConfigError(
        'The module that exports the app starts a worker, and children of a pool load that module. Put the worker into a file of its own.',
      );
    }
    this.#state = 'running';
    this.app.signals.emit('workerInit', () => ({ worker: this }));
    void this.#run();
    return this.ready;
  }

  /**
   * Stops. Messages that were not started go back to the broker at once; running tasks get the grace, then their abort
   * signal, then their messages go back too. Resolves when everything is closed, at most two seconds after the grace,
   * whatever the broker does. Called again it can only shorten the grace. Never rejects.
   */
  stop(kind: StopKind = 'warm', { graceMs }: StopOptions = {}): Promise<void> {
    const { settings } = this.app;
    const defaults = {
      warm: settings.workerShutdownTimeout * 1000,
      soft: settings.workerSoftShutdownTimeout * 1000,
      cold: 0,
    };
    const end = this.#clock.monotonic() + Math.max(0, graceMs ?? defaults[kind]);
    if (end < this.#graceEnd) {
      this.#graceEnd = end;
      this.#hurry?.();
    }
    if (this.#stopping === undefined) {
      this.app.signals.emit('workerShuttingDown', () => ({ worker: this, how: kind }));
    }
    return (this.#stopping ??= this.#stop());
  }

  /**
   * These tasks will not start here. With `terminate` those that run get their abort signal, and are REVOKED at the
   * latest a moment later (`pool.terminateMs`): a child is killed then, in `async` the function may go on. Returns the
   * ids that run.
   */
  revoke(ids: readonly string[], options: TerminateOptions = {}): readonly string[] {
    for (const id of ids) this.#revoked.add(id);
    const wanted = new Set(ids);
    return options.terminate === true ? this.#terminate(({ id }) => wanted.has(id), options.signal) : [];
  }

  /** The same for tasks that have one of these stamps. */
  revokeByStampedHeaders(headers: StampedHeaders, options: TerminateOptions = {}): readonly string[] {
    this.#revoked.addStamps(headers);
    return options.terminate === true ? this.#terminate(hasStampOf(headers), options.signal) : [];
  }

  /** What must not run here: ids in order of age, and stamps. {@link Revokes.load} takes what another worker knows. */
  get revoked(): Revokes {
    return this.#revoked;
  }

  /** Ends a running task as {@link revoke} with `terminate` does. False: it does not run here. */
  terminate(id: string, signal?: NodeJS.Signals): boolean {
    return this.revoke([id], { terminate: true, ...(signal === undefined ? {} : { signal }) }).length > 0;
  }

  /**
   * Seconds, for tasks of this name that start from now on and whose call gave none; undefined: no limit. Throws
   * `NotRegistered`.
   */
  setTimeLimit(task: string, limits: LimitChange): void {
    if (this.app.tasks.get(task) === undefined) throw new NotRegistered(task);
    for (const seconds of [limits.soft, limits.hard]) {
      if (seconds !== undefined && seconds !== null && !(Number.isFinite(seconds) && seconds >= 0)) {
        throw new ConfigError(`The time limit ${String(seconds)} is not one. Expected seconds, or null for none.`);
      }
    }
    this.#limits.set(task, limits);
  }

  /** `10/m`; null, 0 or "": no limit. Throws `NotRegistered` and `ConfigError`. */
  setRateLimit(task: string, limit: string | number | null): void {
    if (this.app.tasks.get(task) === undefined) throw new NotRegistered(task);
    parseRateLimit(limit);
    this.#rates.set(task, limit);
    this.#dispatcher?.setRateLimit(task, limit);
  }

  /** The limit that holds now: the one set last, else the task's own. null: none. */
  rateLimitOf(task: string): string | number | null {
    return this.#rates.get(task) ?? this.app.tasks.get(task)?.options.rateLimit ?? null;
  }

  /** Consumes from one more queue; one that is not configured is made. Resolves when it does, or will on the next connection. */
  addConsumer(queue: string | NamedQueueOptions): Promise<void> {
    const definition = this.app.queues.add(queue);
    if (this.#queues.some(({ name }) => name === definition.name)) return Promise.resolve();
    return this.#setQueues([...this.#queues, definition], definition);
  }

  /** Consumes from this queue no more. What came from it runs. */
  cancelConsumer(queue: string): Promise<void> {
    const name = this.app.queues.find(queue)?.name ?? queue;
    if (!this.#queues.some((other) => other.name === name)) return Promise.resolve();
    return this.#setQueues(this.#queues.filter((other) => other.name !== name));
  }

  /** A live connection to the broker is there. */
  get isConnected(): boolean {
    return this.#session?.isLive === true;
  }

  /** Tasks started since the start. */
  get processed(): number {
    return this.#dispatcher?.processed ?? 0;
  }

  /** Other workers that were heard of lately. */
  get neighbours(): readonly string[] {
    return this.#cluster.neighbours;
  }

  /** Adds slots. Throws `ConfigError` while the pool is autoscaled, `UnsupportedError` for `solo`. */
  grow(slots = 1): void {
    this.#resize(this.pool.concurrency + slots);
  }

  /** Takes slots away, down to one; those in use go when their task has ended. Throws as {@link grow}. */
  shrink(slots = 1): void {
    this.#resize(this.pool.concurrency - slots);
  }

  /** Changes the range of an autoscaled pool. Throws `ConfigError` when it is none. */
  setAutoscale({ max, min }: Partial<AutoscaleRange>): AutoscaleRange {
    const autoscaler = this.#autoscaler;
    if (autoscaler === undefined) {
      throw new ConfigError(
        'Autoscale not enabled. Start the worker with --autoscale=max,min, or the option "autoscale".',
      );
    }
    const { range } = autoscaler;
    const low = min ?? Math.min(range.min, max ?? range.max);
    const high = max ?? Math.max(range.max, low);
    checkSlots(this.pool.name, high);
    autoscaler.setRange({ max: high, min: low });
    this.#window.setBase(this.#prefetchBase(), this.#mostSlots);
    return autoscaler.range;
  }

  /** undefined: the pool keeps its size. */
  get autoscaler(): Autoscaler['info'] | undefined {
    return this.#autoscaler?.info;
  }

  /** Replaces the pool's children, which load the code anew. Throws `UnsupportedError` where there are none. */
  restartPool(): void {
    this.pool.restart();
  }

  /** The pool as `inspect stats` shows it. */
  get poolInfo(): PoolInfo {
    return this.pool.info;
  }

  /** How many messages the broker may hand out unsettled; 0: no limit. */
  get prefetchCount(): number {
    return this.#window.size;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop('warm');
  }

  get #isRunning(): boolean {
    return this.#state === 'running';
  }

  /** Tasks run on this event loop. */
  get #runsHere(): boolean {
    return this.pool.name === 'async' || this.pool.name === 'solo';
  }

  #makePool(name: PoolName, concurrency: number): Pool {
    if (name === 'solo') return new AsyncPool(1, this.#clock, 'solo');
    if (name === 'async') return new AsyncPool(concurrency, this.#clock);
    const { settings } = this.app;
    const { appModule, maxTasksPerChild, maxMemoryPerChild } = this.#options;
    return new ChildPool({
      kind: name,
      concurrency,
      app: locateApp(appModule, name),
      nodeName: this.nodeName,
      clock: this.#clock,
      logger: this.#logger,
      maxTasksPerChild: positive('maxTasksPerChild', maxTasksPerChild ?? settings.workerMaxTasksPerChild),
      maxMemoryKiB: positive('maxMemoryPerChild', maxMemoryPerChild ?? settings.workerMaxMemoryPerChild),
      aliveTimeoutMs: settings.workerProcAliveTimeout * 1000,
      limits: [settings.taskSoftTimeLimit ?? 0, settings.taskTimeLimit ?? 0],
    });
  }

  #terminate(test: (request: Attempt['work']['request']) => boolean, signal: NodeJS.Signals = 'SIGTERM'): string[] {
    const dispatcher = this.#dispatcher;
    const found = dispatcher?.terminate(test, signal) ?? [];
    const isOurs = ({ interruption }: Attempt): boolean => interruption === 'terminated';
    const end = (): void => dispatcher?.abandon(found.filter(isOurs), signal);
    if (found.length > 0) this.#clock.after(signal === 'SIGKILL' ? 0 : this.pool.terminateMs, end);
    return found.map(({ work }) => work.id);
  }

  #resize(concurrency: number): void {
    if (this.#autoscaler !== undefined) {
      throw new ConfigError('The pool is autoscaled: change its range instead (setAutoscale, "autoscale").');
    }
    checkSlots(this.pool.name, concurrency);
    this.pool.resize(Math.max(1, concurrency));
    this.#window.setBase(this.#prefetchBase(), this.#mostSlots);
  }

  /** Of the largest size that the pool may have. */
  get #mostSlots(): number {
    return this.#autoscaler?.range.max ?? this.pool.concurrency;
  }

  /** 0: no limit. */
  #prefetchBase(): number {
    return this.#multiplier === 0 ? 0 : Math.max(1, Math.round(this.#mostSlots * this.#multiplier));
  }

  async #run(): Promise<void> {
    try {
      await this.#prepare();
      if (this.#state !== 'running') return;
      await this.pool.start();
      await this.#connect();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** What needs no broker. A wrong store is told at once; one that is away is tried with the first result. */
  async #prepare(): Promise<void> {
    const { app } = this;
    await app.importTasks();
    for (const task of app.tasks.values()) parseRateLimit(task.options.rateLimit);
    let keepsResults = true;
    try {
      keepsResults = (await app.resultBackend()) !== undefined;
    } catch (error) {
      if (this.#state !== 'running') return;
      if (!isLovageError(error) || !error.retryable) throw error;
      this.#logger.error({ error }, 'The result store cannot be reached. It is tried again with each result.');
    }
    // Bodies are decoded in the middle of a turn, so what decoding needs is there before the first message.
    await app.serializers.loadAccepted();
    if (this.#state !== 'running') return;
    const deadlineMs = this.#options.resultDeadlineMs ?? 60_000;
    if (keepsResults) {
      this.#results = new ResultWriter({
        open: () => app.requireBackend('store results'),
        clock: this.#clock,
        random: this.#random,
        logger: this.#logger,
        deadlineMs,
      });
    }
    const workflow = new Workflow({
      app,
      clock: this.#clock,
      logger: this.#logger,
      deadlineMs,
      isStopped: () => this.#isTryingOver,
    });
    const dispatcher = new Dispatcher({
      app,
      nodeName: this.nodeName,
      pool: this.pool,
      clock: this.#clock,
      logger: this.#logger,
      results: this.#results,
      deadLetters: new DeadLetters({
        queueFor: (queue) => app.queues.deadLetterOf(queue),
        nodeName: this.nodeName,
        clock: this.#clock,
        logger: this.#logger,
      }),
      revoked: this.#revoked,
      observers: this.#observers,
      workflow,
      limits: this.#limits,
      onLoad: () => this.#autoscaler?.look(),
      window: this.#window,
      unknownTaskRetries: this.#options.unknownTaskRetries ?? this.app.settings.workerUnknownTaskRetries,
    });
    const tracer = new Tracer({
      app,
      nodeName: this.nodeName,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
      results: this.#results,
      workflow,
      observers: this.#observers,
      fate: this.pool.fate,
      callHook: (attempt, call, value) => this.pool.hook(attempt, call, value),
      onFunctionEnd: () => dispatcher.functionEnded(),
      onEnd: (attempt, ending) => dispatcher.ended(attempt, ending),
    });
    dispatcher.attach(tracer);
    this.#dispatcher = dispatcher;
    const stateDb = this.#options.stateDb ?? app.settings.workerStateDb;
    if (stateDb !== undefined) {
      this.#stateFile = new StateFile(stateDb, this.#revoked, this.#clock, this.#logger);
      this.#stateFile.open();
    }
    const watchdogMs = this.#options.watchdogMs ?? WATCHDOG_MS;
    if (this.#runsHere && watchdogMs > 0) this.#watchdog = new Watchdog(this.#logger, watchdogMs);
    if (this.#options.guardProcess !== false) {
      this.#unguard = guardProcess(this.#logger, (context, error) => {
        const { attempt } = context.work;
        if (attempt === undefined || attempt.context !== context || attempt.isOver) return false;
        this.pool.abandon(attempt);
        attempt.threw(error);
        return true;
      });
    }
  }

  async #connect(): Promise<void> {
    if (this.#state !== 'running') return;
    // A task that runs here may keep this loop from turning; a child cannot.
    const supervisor = this.app.connectBroker('read', { keepsLeases: this.#runsHere });
    this.#supervisor = supervisor;
    const { brokerConnectionMaxRetries: most } = this.app.settings;
    supervisor.onChange(({ state, failures, error }) => {
      if (state !== 'failed') return;
      if (most && failures > most) this.#fail(error);
      else this.#askAgain(supervisor);
    });
    supervisor.onConnect((connection) => this.#consume(connection));
    const { brokerConnectionRetry, brokerConnectionRetryOnStartup, brokerConnectionTimeout } = this.app.settings;
    const waits = brokerConnectionRetryOnStartup ?? brokerConnectionRetry;
    await supervisor.connection(waits ? {} : { timeoutMs: brokerConnectionTimeout * 1000 });
  }

  #joinCluster(): Cluster {
    const { app, nodeName } = this;
    const { settings } = app;
    const options = this.#options;
    const clock = this.#clock;
    const logger = this.#logger;
    const interval = options.heartbeatInterval ?? HEARTBEAT_SECONDS;
    if (!(interval >= 0)) {
      throw new ConfigError(`The heartbeat interval ${String(interval)} is not one. Expected seconds, 0 for none.`);
    }
    return new Cluster({
      app,
      nodeName,
      logger,
      clock,
      observers: this.#observers,
      revoked: this.#revoked,
      remoteControl: options.remoteControl ?? settings.workerEnableRemoteControl,
      taskEvents: options.taskEvents ?? settings.workerSendTaskEvents,
      gossip: options.gossip ?? true,
      mingle: options.mingle ?? true,
      heartbeatInterval: interval,
      heart: () => ({
        active: this.pool.busy,
        processed: this.#dispatcher?.processed ?? 0,
      }),
      onHeartbeat: () => app.signals.emit('heartbeatSent', () => ({ worker: this })),
      host: {
        app,
        worker: this,
        clock,
        logger,
        startedAt: clock.monotonic(),
        dispatcher: () => this.#dispatcher,
        queues: () => this.#queues,
        addQueue: (queue) => this.addConsumer(queue),
        cancelQueue: (name) => this.cancelConsumer(name),
      },
    });
  }

  /** A worker that was up does not end because the broker refuses it for a while. */
  #askAgain(supervisor: ConnectionSupervisor): void {
    if (!this.#wasReady) return;
    this.#clock.after(CONSUME_AGAIN_LONGEST_MS, () => {
      if (this.#state === 'running') supervisor.connection().catch(() => {});
    });
  }

  /** Runs for each new connection; it is handed out when this resolves. */
  async #consume(connection: Connection): Promise<void> {
    const dispatcher = this.#dispatcher as Dispatcher;
    if (this.#state !== 'running') return;
    if (this.#session !== undefined) this.#lose(this.#session);
    const session = new ConsumerSession(connection, this.#clock, this.#logger, () => dispatcher.hasPlenty);
    this.#session = session;
    this.#window.detach();
    connection.closed.then(
      () => this.#lose(session),
      () => this.#lose(session),
    );
    const url = this.#supervisor?.status.url ?? '';
    await this.#cluster.prepare(connection, url);
    if (!this.#isRunning) return;
    await session.change(() => this.#startConsumer(session, dispatcher));
    if (!this.#isRunning) return;
    await this.#cluster.join(connection, url);
    if (!this.#isRunning) return;
    this.#publishOver(connection);
    this.#logger.info(
      { node: this.nodeName, queues: this.queueNames, guarantee: connection.capabilities.guarantee },
      `${this.nodeName} ready: consuming from ${this.queueNames.join(', ')}`,
    );
    this.#wasReady = true;
    this.app.signals.emit('workerReady', () => ({ worker: this }));
    this.#isReady.resolve();
  }

  /** What tasks send goes over the worker's own connection where that is as good as another one. */
  #publishOver(connection: Connection): void {
    const { brokerReadUrl, brokerWriteUrl } = this.app.settings;
    if (connection.capabilities.publishesWhileConsuming !== true || brokerReadUrl !== brokerWriteUrl) return;
    this.#endPublishing = this.app.producer.publishOver(connection);
  }

  /** Only within {@link ConsumerSession.change}. Does nothing when there is one. */
  async #startConsumer(session: ConsumerSession, dispatcher: Dispatcher): Promise<void> {
    if (session.consumer !== undefined) return;
    const { connection } = session;
    await connection.declare(joinTopologies(this.#queues));
    if (this.#state !== 'running' || !session.isLive || this.#queues.length === 0) return;
    const { size: prefetch, refill } = this.#window;
    const consumer = await connection.consume(
      this.queueNames,
      (deliveries) => dispatcher.receive(session, deliveries),
      {
        prefetch,
        refill,
        onLeaseLost: (deliveries) => dispatcher.leaseLost(session, deliveries),
      },
    );
    session.consumer = consumer;
    this.#window.attach(consumer, [prefetch, refill]);
    const ended = (error?: unknown): void => {
      if (session.consumer !== consumer) return;
      session.consumer = undefined;
      if (session.isLive && this.#state === 'running') void this.#consumeAgain(session, dispatcher, error);
    };
    consumer.done.then(() => ended(), ended);
    if ((this.#state as WorkerState) !== 'running') await consumer.cancel();
  }

  /** What is held of the former consumer stays ours to settle. An added queue that the broker refuses costs no other. */
  async #setQueues(queues: readonly QueueDefinition[], added?: QueueDefinition): Promise<void> {
    this.#queues = queues;
    const session = this.#session;
    const dispatcher = this.#dispatcher;
    if (session === undefined || dispatcher === undefined) return;
    await session.change(async () => {
      if (!session.isLive || this.#state !== 'running') return;
      try {
        // While the former consumer goes on.
        if (added !== undefined) await session.connection.declare(added.topology);
        const former = session.consumer;
        session.consumer = undefined;
        this.#window.detach();
        await former?.cancel();
        await this.#startConsumer(session, dispatcher);
      } catch (error) {
        if (added !== undefined) this.#queues = this.#queues.filter((queue) => queue !== added);
        if (session.consumer === undefined) void this.#consumeAgain(session, dispatcher, error);
        throw error;
      }
    });
  }

  /** The consumer ended and its connection lives: a queue was removed, a broker node went. Nothing but `stop` ends this. */
  async #consumeAgain(session: ConsumerSession, dispatcher: Dispatcher, cause: unknown): Promise<void> {
    let error = cause;
    for (let delayMs = CONSUME_AGAIN_FIRST_MS; ; delayMs = Math.min(CONSUME_AGAIN_LONGEST_MS, delayMs * 2)) {
      await new Promise<void>((resolve) => {
        this.#clock.after(delayMs, resolve);
      });
      if (!session.isLive || this.#state !== 'running' || session.consumer !== undefined) return;
      this.#logger.warn({ error, queues: this.queueNames }, 'The broker ended the consumer. It is started again.');
      try {
        await session.change(() => this.#startConsumer(session, dispatcher));
        return;
      } catch (failure) {
        error = failure;
      }
    }
  }

  #lose(session: ConsumerSession): void {
    if (!session.isLive) return;
    if (this.#session === session) {
      this.#session = undefined;
      this.#window.detach();
    }
    this.#dispatcher?.sessionLost(session);
  }

  /** Nothing can make this worker work. */
  #fail(error: unknown): void {
    // A stop ends what is under way, and that is no failure.
    if (this.#failure !== undefined || this.#stopping !== undefined || this.#state === 'closed') return;
    this.#failure = error;
    this.#logger.error({ error }, 'The worker cannot work and stops.');
    this.#isReady.reject(error);
    void this.stop('cold');
  }

  async #stop(): Promise<void> {
    const dispatcher = this.#dispatcher;
    const session = this.#session;
    if (this.#state !== 'closed') this.#state = 'draining';
    this.#logger.info({ node: this.nodeName }, `${this.nodeName} stops: ${dispatcher?.attempts.size ?? 0} tasks run`);
    this.#cluster.leave();
    // A half-open link answers nothing: neither of these is waited for beyond its deadline.
    const cancelled = session?.consumer?.cancel() ?? Promise.resolve();
    cancelled.catch(() => {});
    if (dispatcher !== undefined) {
      dispatcher.returnUnstarted();
      await this.#untilGraceEnds(dispatcher.idle());
      this.#state = 'returning';
      await this.#return(dispatcher);
    }
    this.#state = 'returning';
    const flushed = session?.isLive === true ? session.settler.drained() : Promise.resolve();
    const left = this.#cluster.close(LAST_EVENTS_MS);
    await this.#within(Promise.all([cancelled.catch(() => {}), flushed, left]), CLOSING_STEP_MS);
    this.#endPublishing?.();
    await this.#within(Promise.all([this.#supervisor?.close(), this.pool.close()]), CLOSING_STEP_MS);
    this.#autoscaler?.stop();
    this.#watchdog?.stop();
    this.#stateFile?.close();
    this.#unguard?.();
    this.#state = 'closed';
    this.#logger.info({ node: this.nodeName }, `${this.nodeName} stopped`);
    this.#untell();
    this.app.signals.emit('workerShutdown', () => ({ worker: this }));
    if (this.#failure === undefined) {
      this.#isReady.reject(new ClosedError('The worker was stopped before it was ready.'));
      this.#isDone.resolve();
    } else {
      this.#isDone.reject(this.#failure);
    }
  }

  /** Gives back what has not ended: tasks may react to their signal first, stores and brokers get what is left. */
  async #return(dispatcher: Dispatcher): Promise<void> {
    const end = this.#clock.monotonic() + RETURNING_MS;
    if (dispatcher.attempts.size > 0) {
      dispatcher.interruptAll(new WorkerLostError('The worker stops and the task has not ended within its grace.'));
      await this.#within(dispatcher.idle(), REACTION_MS);
      dispatcher.abandon([...dispatcher.attempts]);
    }
    await this.#within(dispatcher.idle(), end - this.#clock.monotonic());
    // Retryable: somebody else will have the message, and the task has not failed.
    this.#isTryingOver = true;
    this.#results?.stop(new ClosedError('The worker stopped before the result was stored.', { retryable: true }));
    dispatcher.returnEnding();
  }

  async #untilGraceEnds(work: Promise<void>): Promise<void> {
    let isOver = false;
    void work.then(() => {
      isOver = true;
      this.#hurry?.();
    });
    while (!isOver) {
      const leftMs = this.#graceEnd - this.#clock.monotonic();
      if (leftMs <= 0) {
        // What is idle already is told by a microtask.
        await Promise.resolve();
        break;
      }
      await new Promise<void>((resolve) => {
        const cancel = this.#clock.after(Math.min(leftMs, 60_000), resolve);
        this.#hurry = () => {
          cancel();
          resolve();
        };
        if (isOver) this.#hurry();
      });
    }
    this.#hurry = undefined;
  }

  #within(work: Promise<unknown>, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(Math.max(0, ms), resolve);
      const ended = (): void => {
        cancel();
        resolve();
      };
      work.then(ended, ended);
    });
  }
}

type PoolName = Settings['workerPool'];

const POOL_NAMES: ReadonlyMap<string, PoolName> = new Map([
  ['async', 'async'],
  ['eventlet', 'async'],
  ['gevent', 'async'],
  ['threads', 'threads'],
  ['processes', 'processes'],
  ['prefork', 'processes'],
  ['solo', 'solo'],
]);

function namePool(name: string): PoolName {
  const pool = POOL_NAMES.get(name);
  if (pool !== undefined) return pool;
  throw new ConfigError(`There is no pool "${name}". Expected one of: ${[...POOL_NAMES.keys()].join(', ')}.`);
}

/** The setting's default belongs to the pool of the settings; another one has its own. */
function concurrencyOf(pool: PoolName, { concurrency }: WorkerOptions, settings: Settings): number {
  const { workerConcurrency, workerPool } = settings;
  const isDefault = workerConcurrency === defaultConcurrency(workerPool);
  const count = concurrency ?? (isDefault ? defaultConcurrency(pool) : workerConcurrency);
  if (!Number.isInteger(count) || count < 1) {
    throw new ConfigError(`The concurrency ${String(count)} is not one. Expected a whole number above 0.`);
  }
  checkSlots(pool, count);
  return count;
}

/** Beyond, a machine does other things than tasks; a slip of the keyboard, and of remote control, must not reach there. */
const MOST_SLOTS: Readonly<Record<string, number>> = { threads: 1000, processes: 1000 };
const MOST_SLOTS_HERE = 100_000;

function checkSlots(pool: string, slots: number): void {
  const most = MOST_SLOTS[pool] ?? MOST_SLOTS_HERE;
  if (slots <= most) return;
  throw new ConfigError(`A pool "${pool}" of ${slots} slots is too large. Expected ${most} at most.`);
}

function locateApp(given: string | URL | AppModule | undefined, pool: string): AppModule {
  if (given === undefined) {
    throw new ConfigError(
      `The pool "${pool}" runs tasks in children that load the app themselves. Say from where: new Worker(app, { pool: "${pool}", appModule: import.meta.url }), or use "lovage -A <module> worker -P ${pool}".`,
    );
  }
  return typeof given === 'string' || given instanceof URL ? { module: String(given) } : given;
}

function positive(name: string, count: number | undefined): number | undefined {
  if (count === undefined || (Number.isInteger(count) && count > 0)) return count;
  throw new ConfigError(`The worker option ${name} ${String(count)} is not one. Expected a whole number above 0.`);
}

function joinTopologies(queues: readonly QueueDefinition[]): Topology {
  return {
    exchanges: queues.flatMap(({ topology }) => topology.exchanges ?? []),
    queues: queues.flatMap(({ topology }) => topology.queues ?? []),
    bindings: queues.flatMap(({ topology }) => topology.bindings ?? []),
  };
}

function describeWork({ id, task, delivery, request }: Work): WorkInfo {
  return { id, task: task.name, queue: delivery.queue, eta: request.eta };
}

interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

function deferred(): Deferred {
  let resolve!: () => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
