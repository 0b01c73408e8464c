import { ConfigError, defaultConcurrency, isSettingGiven, type Logger, type Settings } from '@lovage/core';
import type { Clock } from './clock.ts';
import type { AutoscaleRange } from './pools/autoscaler.ts';
import type { AppModule } from './pools/children/messages.ts';

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

/** Throws `ConfigError` for a name that is none of the options. */
export function checkOptionNames(options: WorkerOptions): void {
  for (const name of Object.keys(options)) {
    if (!OPTION_NAMES.has(name)) {
      throw new ConfigError(`Unknown worker option "${name}". Expected one of: ${[...OPTION_NAMES].join(', ')}.`);
    }
  }
}

export type PoolName = Settings['workerPool'];

const POOL_NAMES: ReadonlyMap<string, PoolName> = new Map([
  ['async', 'async'],
  ['eventlet', 'async'],
  ['gevent', 'async'],
  ['threads', 'threads'],
  ['processes', 'processes'],
  ['prefork', 'processes'],
  ['solo', 'solo'],
]);

export function namePool(name: string): PoolName {
  const pool = POOL_NAMES.get(name);
  if (pool !== undefined) return pool;
  throw new ConfigError(`There is no pool "${name}". Expected one of: ${[...POOL_NAMES.keys()].join(', ')}.`);
}

/** The setting's default belongs to the pool of the settings; another one has its own. */
export function concurrencyOf(pool: PoolName, { concurrency }: WorkerOptions, settings: Settings): number {
  const isGiven = isSettingGiven(settings, 'workerConcurrency');
  const count = concurrency ?? (isGiven ? settings.workerConcurrency : defaultConcurrency(pool));
  if (!Number.isInteger(count) || count < 1) {
    throw new ConfigError(`The concurrency ${String(count)} is not one. Expected a whole number above 0.`);
  }
  checkSlots(pool, count);
  return count;
}

/** Beyond, a machine does other things than tasks; a slip of the keyboard, and of remote control, must not reach there. */
const MOST_SLOTS: Readonly<Record<string, number>> = { threads: 1000, processes: 1000 };
const MOST_SLOTS_HERE = 100_000;

export function checkSlots(pool: string, slots: number): void {
  const most = MOST_SLOTS[pool] ?? MOST_SLOTS_HERE;
  if (slots <= most) return;
  throw new ConfigError(`A pool "${pool}" of ${slots} slots is too large. Expected ${most} at most.`);
}

export function locateApp(given: string | URL | AppModule | undefined, pool: string): AppModule {
  if (given === undefined) {
    throw new ConfigError(
      `The pool "${pool}" runs tasks in children that load the app themselves. Say from where: new Worker(app, { pool: "${pool}", appModule: import.meta.url }), or use "lovage -A <module> worker -P ${pool}".`,
    );
  }
  return typeof given === 'string' || given instanceof URL ? { module: String(given) } : given;
}

export function positive(name: string, count: number | undefined): number | undefined {
  if (count === undefined || (Number.isInteger(count) && count > 0)) return count;
  throw new ConfigError(`The worker option ${name} ${String(count)} is not one. Expected a whole number above 0.`);
}
