import type { AnyTask, TaskContext } from '@lovage/core';

/** One run of a task's function. Exactly one of the last four is called, once; what comes later is dropped by the job. */
export interface PoolJob {
  readonly task: AnyTask;
  readonly context: TaskContext;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  /** Milliseconds; undefined: none. */
  readonly softLimitMs: number | undefined;
  readonly hardLimitMs: number | undefined;
  /** Tells the running function that it should end, and why. Once is enough. */
  abort(reason: Error): void;
  returned(value: unknown): void;
  threw(error: unknown): void;
  /** The hard limit; the function may be running still. */
  timedOut(): void;
  /** What ran it died. */
  lost(error: Error): void;
}

/** Where functions run. The worker decides what, when and what follows; a pool runs it and keeps the time limits. */
export interface Pool {
  readonly name: string;
  /** How many jobs run at once. */
  readonly concurrency: number;
  /** How many more may start now. */
  readonly free: number;
  /** Starts a job; it may end before this returns. Only while {@link free} is above 0. */
  execute(job: PoolJob): void;
  /** Ends a job's claim on its slot though its function may run on; the pool tells the job nothing more. */
  abandon(job: PoolJob): void;
  /** Ends what the pool itself started. Jobs are ended before by their owner. */
  close(): Promise<void>;
}
