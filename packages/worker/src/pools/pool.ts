import type { AnyTask } from '@lovage/core';
import type { RunContext } from '../request/context.ts';
import type { HookCall } from '../request/hooks.ts';

/**
 * One run of a task's function. First it is told that it has started; then exactly one of the last four is called, once;
 * what comes later is dropped by the job.
 */
export interface PoolJob {
  readonly task: AnyTask;
  readonly context: RunContext;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  /** False: nobody looks at what the function returns. */
  readonly usesResult: boolean;
  /** Milliseconds; undefined: none. */
  readonly softLimitMs: number | undefined;
  readonly hardLimitMs: number | undefined;
  /** Tells the running function that it should end, and why. Once is enough. */
  abort(reason: Error): void;
  /** It is given to the process with this id. Once more with another one when that died before it began. */
  started(pid: number): void;
  returned(value: unknown): void;
  threw(error: unknown): void;
  /** The hard limit; the function may be running still. */
  timedOut(): void;
  /** What ran it died. */
  lost(error: Error): void;
}

/** A pool as `inspect stats` shows it, under Celery's names. Source: celery/concurrency/prefork.py, _get_info. */
export interface PoolInfo {
  readonly implementation: string;
  readonly 'max-concurrency': number;
  /** Process ids of those that run tasks. */
  readonly processes: readonly number[];
  readonly 'max-tasks-per-child': number | 'N/A';
  readonly 'put-guarded-by-semaphore': boolean;
  /** Seconds: `[soft, hard]`, 0 for none; of tasks that have no limits of their own. */
  readonly timeouts: readonly [number, number];
  /** How jobs were spread over children, in the order of `processes`; strategy is always the fair one. */
  readonly writes: {
    readonly total: number;
    readonly avg: string;
    readonly all: string;
    readonly raw: string;
    readonly strategy: 'fair';
    readonly inqueues: { readonly total: number; readonly active: number };
  };
  readonly [name: string]: unknown;
}

/** Where functions run. The worker decides what, when and what follows; a pool runs it and keeps the time limits. */
export interface Pool {
  /** `async`, `solo`, `threads` or `processes`. */
  readonly name: string;
  /** How many jobs may run at once. */
  readonly concurrency: number;
  /** How many run. */
  readonly busy: number;
  /** How many more may start now. */
  readonly free: number;
  readonly info: PoolInfo;
  /** What becomes of a function that does not end when it should, in words. */
  readonly fate: string;
  /** How long a job that was told to end because it is revoked may take before {@link abandon}. */
  readonly terminateMs: number;
  /** Called when {@link free} grew for another reason than the end of a job. */
  onRoom: () => void;
  /** Resolves when the first job could start. Before, {@link free} is 0. */
  start(): Promise<void>;
  /** Starts a job; it may end before this returns. Only while {@link free} is above 0. */
  execute(job: PoolJob): void;
  /**
   * Calls a handler of the task where its function ran; `value` is the result, the error or the reason of a retry.
   * Rejects with what it throws, or when that place is gone.
   */
  hook(job: PoolJob, call: HookCall, value: unknown): Promise<void>;
  /** The process that runs a job. */
  pidOf(job: PoolJob): number;
  /** The job and all that follows it has ended: no {@link hook} comes any more. */
  release(job: PoolJob): void;
  /**
   * Ends a job's claim on its slot; the pool tells the job nothing more. A pool of children sends `signal` to the child
   * and kills it a moment later; elsewhere the function may run on.
   */
  abandon(job: PoolJob, signal?: NodeJS.Signals): void;
  /** Grows or shrinks, at once where slots are free, else as jobs end. Throws `UnsupportedError` where it cannot. */
  resize(concurrency: number): void;
  /** Replaces all children by new ones that load the code anew, each when its job has ended. */
  restart(): void;
  /** Ends what the pool itself started. Jobs are ended before by their owner. */
  close(): Promise<void>;
}

/** {@link PoolInfo} with what a pool does not say for itself. */
export function poolInfo(
  implementation: string,
  concurrency: number,
  facts: {
    readonly processes: readonly number[];
    readonly writes: readonly number[];
    readonly busy: number;
    readonly maxTasksPerChild?: number | undefined;
    readonly limits?: readonly [number, number];
  },
): PoolInfo {
  const total = facts.writes.reduce((sum, count) => sum + count, 0);
  const percent = (count: number): string => (total === 0 ? '0.00%' : `${((count / total) * 100).toFixed(2)}%`);
  return {
    implementation,
    'max-concurrency': concurrency,
    processes: facts.processes,
    'max-tasks-per-child': facts.maxTasksPerChild ?? 'N/A',
    'put-guarded-by-semaphore': false,
    timeouts: facts.limits ?? [0, 0],
    writes: {
      total,
      avg: percent(total / Math.max(1, facts.writes.length)),
      all: facts.writes.map(percent).join(', '),
      raw: facts.writes.join(', '),
      strategy: 'fair',
      inqueues: { total: concurrency, active: facts.busy },
    },
  };
}
