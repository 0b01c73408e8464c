export { Worker } from './worker.ts';
export type { StopKind, StopOptions, WorkerOptions, WorkerState, WorkInfo } from './worker.ts';
export type { Clock } from './clock.ts';
export type { Pool, PoolJob } from './pools/pool.ts';
export type { DeadReason } from './dead-letters.ts';
