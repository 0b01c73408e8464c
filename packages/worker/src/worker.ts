import { hostname } from 'node:os';
import {
  ClosedError,
  ConfigError,
  isLovageError,
  NotRegistered,
  UnsupportedError,
  workerDirectQueue,
  type Logger,
  type Lovage,
  type NamedQueueOptions,
  type QueueDefinition,
} from '@lovage/core';
import { WorkerLostError } from '@lovage/core/protocol';
import type { Connection, ConnectionSupervisor } from '@lovage/core/transport';
import { systemClock, type Clock } from './clock.ts';
import { Cluster, HEARTBEAT_SECONDS } from './cluster.ts';
import { Consumption } from './consumer/consumption.ts';
import { PrefetchWindow } from './consumer/prefetch.ts';
import { parseRateLimit } from './consumer/rate-limit.ts';
import { Engine } from './engine.ts';
import { Grace, within } from './grace.ts';
import { isInChild } from './pools/children/in-child.ts';
import { Autoscaler, checkRange, type AutoscaleRange } from './pools/autoscaler.ts';
import { openPool } from './pools/open-pool.ts';
import type { Pool, PoolInfo } from './pools/pool.ts';
import { Watchdog } from './pools/watchdog.ts';
import { guardProcess } from './process-guard.ts';
import { tellSignals } from './events/task-signals.ts';
import { TaskObservers } from './request/observer.ts';
import type { Attempt } from './request/attempt.ts';
import { hasStampOf, Revokes, type StampedHeaders } from './request/revokes.ts';
import { StateFile } from './request/state-file.ts';
import { TimeLimits, type LimitChange } from './request/time-limits.ts';
import type { Work } from './request/work.ts';
import {
  checkOptionNames,
  checkSlots,
  concurrencyOf,
  namePool,
  type StopKind,
  type StopOptions,
  type TerminateOptions,
  type WorkerOptions,
  type WorkerState,
  type WorkInfo,
} from './worker-options.ts';

export type {
  StopKind,
  StopOptions,
  TerminateOptions,
  WorkerOptions,
  WorkerState,
  WorkInfo,
} from './worker-options.ts';

/** After the abort signals: for tasks to react, and for brokers and stores to take what is left. */
const WATCHDOG_MS = 1000;
const REACTION_MS = 700;
const RETURNING_MS = 1000;
const CLOSING_STEP_MS = 250;
/** What a stop may take beyond the grace. */
const STOP_MS = 2000;
const LAST_EVENTS_MS = 300;
const ASK_AGAIN_MS = 10_000;

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
  readonly #consumption: Consumption;
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
  #engine: Engine | undefined;
  #supervisor: ConnectionSupervisor | undefined;
  #unguard: (() => void) | undefined;
  #endPublishing: (() => void) | undefined;
  #stopping: Promise<void> | undefined;
  readonly #grace: Grace;
  #failure: unknown;
  #wasReady = false;

  /** Throws `ConfigError` and `UnsupportedError` for what cannot work. */
  constructor(app: Lovage, options: WorkerOptions = {}) {
    checkOptionNames(options);
    const { settings } = app;
    this.app = app;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#grace = new Grace(this.#clock);
    this.#random = options.random ?? Math.random;
    this.#logger = options.logger ?? app.logger;
    this.nodeName = options.nodeName ?? `celery@${hostname()}`;
    const poolName = namePool(options.pool ?? settings.workerPool);
    const range = options.autoscale === undefined ? undefined : checkRange(options.autoscale);
    this.pool = openPool(poolName, range?.min ?? concurrencyOf(poolName, options, settings), options, {
      settings,
      nodeName: this.nodeName,
      clock: this.#clock,
      logger: this.#logger,
    });
    this.pool.onRoom = () => this.#engine?.dispatcher.pump();
    const multiplier = options.prefetchMultiplier ?? settings.workerPrefetchMultiplier;
    if (!(multiplier >= 0)) {
      throw new ConfigError(`The prefetch multiplier ${String(multiplier)} is not one. Expected 0 (no limit) or more.`);
    }
    this.#multiplier = settings.workerDisablePrefetch ? 1 : multiplier;
    if (range !== undefined) {
      checkSlots(poolName, range.max);
      if (poolName === 'solo') throw new UnsupportedError('The pool "solo" has one slot: it cannot be autoscaled.');
      this.#autoscaler = new Autoscaler(this.pool, range, this.#clock, () => this.#engine?.dispatcher.load ?? 0);
    }
    this.#window = new PrefetchWindow(
      { base: this.#prefetchBase(), slots: this.#mostSlots },
      settings.workerEtaTaskLimit ?? Number.POSITIVE_INFINITY,
      (error) => this.#logger.warn({ err: error }, 'The prefetch count could not be changed.'),
    );
    for (const task of app.tasks.values()) parseRateLimit(task.options.rateLimit);
    const queues = this.#selectQueues();
    if (queues.length === 0) {
      throw new ConfigError('The worker has no queue to consume from: "excludeQueues" leaves none.');
    }
    this.#consumption = new Consumption({
      queues,
      window: this.#window,
      clock: this.#clock,
      logger: this.#logger,
      isRunning: () => this.#isRunning,
    });
    this.#observers = new TaskObservers((error) =>
      this.#logger.error({ err: error }, 'What is told of a task could not be told.'),
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
    return this.#grace.end + STOP_MS;
  }

  /** Names of the queues that it consumes from. */
  get queueNames(): readonly string[] {
    return this.#consumption.queueNames;
  }

  /** Tasks that run, or ended and are not settled yet. */
  get active(): readonly WorkInfo[] {
    return [...(this.#engine?.dispatcher.attempts ?? [])].map(({ work }) => describeWork(work));
  }

  /** Tasks that could run and wait for a slot. */
  get reserved(): readonly WorkInfo[] {
    return this.#engine?.dispatcher.reserved.map(describeWork) ?? [];
  }

  /** Tasks that wait for their time. */
  get scheduled(): readonly WorkInfo[] {
    return this.#engine?.dispatcher.scheduled.map(describeWork) ?? [];
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
    this.#grace.shorten(end);
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
    this.#engine?.dispatcher.setRateLimit(task, limit);
  }

  /** The limit that holds now: the one set last, else the task's own. null: none. */
  rateLimitOf(task: string): string | number | null {
    const set = this.#rates.get(task);
    return set === undefined ? (this.app.tasks.get(task)?.options.rateLimit ?? null) : set;
  }

  /** Consumes from one more queue; one that is not configured is made. Resolves when it does, or will on the next connection. */
  addConsumer(queue: string | NamedQueueOptions): Promise<void> {
    const definition = this.app.queues.add(queue);
    const { queues } = this.#consumption;
    if (queues.some(({ name }) => name === definition.name)) return Promise.resolve();
    return this.#consumption.setQueues([...queues, definition], definition);
  }

  /** Consumes from this queue no more. What came from it runs. */
  cancelConsumer(queue: string): Promise<void> {
    const { queues } = this.#consumption;
    const kept = queues.filter(({ name, alias }) => name !== queue && alias !== queue);
    return kept.length === queues.length ? Promise.resolve() : this.#consumption.setQueues(kept);
  }

  /** A live connection to the broker is there. */
  get isConnected(): boolean {
    return this.#consumption.session?.isLive === true;
  }

  /** Tasks started since the start. */
  get processed(): number {
    return this.#engine?.dispatcher.processed ?? 0;
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

  #terminate(test: (request: Attempt['work']['request']) => boolean, signal: NodeJS.Signals = 'SIGTERM'): string[] {
    const dispatcher = this.#engine?.dispatcher;
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
      this.#logger.error({ err: error }, 'The result store cannot be reached. It is tried again with each result.');
    }
    // Bodies are decoded in the middle of a turn, so what decoding needs is there before the first message.
    await app.serializers.loadAccepted();
    if (this.#state !== 'running') return;
    const engine = new Engine({
      app,
      nodeName: this.nodeName,
      pool: this.pool,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
      window: this.#window,
      observers: this.#observers,
      revoked: this.#revoked,
      limits: this.#limits,
      keepsResults,
      deadlineMs: this.#options.resultDeadlineMs ?? 60_000,
      unknownTaskRetries: this.#options.unknownTaskRetries ?? app.settings.workerUnknownTaskRetries,
      onLoad: () => this.#autoscaler?.look(),
    });
    for (const [task, limit] of this.#rates) engine.dispatcher.setRateLimit(task, limit);
    this.#engine = engine;
    const stateDb = this.#options.stateDb ?? app.settings.workerStateDb;
    if (stateDb !== undefined) {
      this.#stateFile = new StateFile(stateDb, this.#revoked, this.#clock, this.#logger);
      this.#stateFile.open();
    }
    const watchdogMs = this.#options.watchdogMs ?? WATCHDOG_MS;
    if (this.#runsHere && watchdogMs > 0) this.#watchdog = new Watchdog(this.#logger, watchdogMs);
    if (this.#options.guardProcess !== false) {
      this.#unguard = guardProcess(this.#logger, (context, error) => engine.blame(context, error));
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
        processed: this.#engine?.dispatcher.processed ?? 0,
      }),
      onHeartbeat: () => app.signals.emit('heartbeatSent', () => ({ worker: this })),
      host: {
        app,
        worker: this,
        clock,
        logger,
        startedAt: clock.monotonic(),
        dispatcher: () => this.#engine?.dispatcher,
        queues: () => this.#consumption.queues,
        addQueue: (queue) => this.addConsumer(queue),
        cancelQueue: (name) => this.cancelConsumer(name),
      },
    });
  }

  /** Its direct queue is its own, whatever is selected. Source: celery/worker/worker.py, setup_queues. */
  #selectQueues(): readonly QueueDefinition[] {
    const { queues: known, settings } = this.app;
    const { queues = [], excludeQueues = [] } = this.#options;
    const chosen = known.select({ queues, exclude: excludeQueues });
    if (!settings.workerDirect) return chosen;
    const direct = known.add(workerDirectQueue(this.nodeName));
    return [...chosen.filter(({ name }) => name !== direct.name), direct];
  }

  /** A worker that was up does not end because the broker refuses it for a while. */
  #askAgain(supervisor: ConnectionSupervisor): void {
    if (!this.#wasReady) return;
    this.#clock.after(ASK_AGAIN_MS, () => {
      if (this.#state === 'running') supervisor.connection().catch(() => {});
    });
  }

  /** Runs for each new connection; it is handed out when this resolves. */
  async #consume(connection: Connection): Promise<void> {
    if (this.#state !== 'running') return;
    const session = this.#consumption.open(connection, (this.#engine as Engine).dispatcher);
    const url = this.#supervisor?.status.url ?? '';
    await this.#cluster.prepare(connection, url);
    if (!this.#isRunning) return;
    await this.#consumption.start(session);
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

  /** Nothing can make this worker work. */
  #fail(error: unknown): void {
    // A stop ends what is under way, and that is no failure.
    if (this.#failure !== undefined || this.#stopping !== undefined || this.#state === 'closed') return;
    this.#failure = error;
    this.#logger.error({ err: error }, 'The worker cannot work and stops.');
    this.#isReady.reject(error);
    void this.stop('cold');
  }

  async #stop(): Promise<void> {
    const engine = this.#engine;
    const { session } = this.#consumption;
    if (this.#state !== 'closed') this.#state = 'draining';
    this.#logger.info(
      { node: this.nodeName },
      `${this.nodeName} stops: ${engine?.dispatcher.attempts.size ?? 0} tasks run`,
    );
    this.#cluster.leave();
    // A half-open link answers nothing: neither of these is waited for beyond its deadline.
    const cancelled = session?.consumer?.cancel() ?? Promise.resolve();
    cancelled.catch(() => {});
    if (engine !== undefined) {
      const { dispatcher } = engine;
      dispatcher.returnUnstarted();
      await this.#grace.until(dispatcher.idle());
      this.#state = 'returning';
      await this.#return(engine);
    }
    this.#state = 'returning';
    const flushed = session?.isLive === true ? session.settler.drained() : Promise.resolve();
    const left = this.#cluster.close(LAST_EVENTS_MS);
    await within(this.#clock, Promise.all([cancelled.catch(() => {}), flushed, left]), CLOSING_STEP_MS);
    this.#endPublishing?.();
    await within(this.#clock, Promise.all([this.#supervisor?.close(), this.pool.close()]), CLOSING_STEP_MS);
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
  async #return(engine: Engine): Promise<void> {
    const { dispatcher } = engine;
    const end = this.#clock.monotonic() + RETURNING_MS;
    if (dispatcher.attempts.size > 0) {
      dispatcher.interruptAll(new WorkerLostError('The worker stops and the task has not ended within its grace.'));
      await within(this.#clock, dispatcher.idle(), REACTION_MS);
      dispatcher.abandon([...dispatcher.attempts]);
    }
    await within(this.#clock, dispatcher.idle(), end - this.#clock.monotonic());
    engine.giveUp();
  }
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
