export { Worker } from './worker.ts';
export type { StopKind, StopOptions, TerminateOptions, WorkerOptions, WorkerState, WorkInfo } from './worker.ts';
export type { AppModule } from './pools/children/messages.ts';
export type { AutoscaleRange } from './pools/autoscaler.ts';
export type { RevokedState, Revokes, StampedHeaders } from './request/revokes.ts';
export type { LimitChange } from './request/time-limits.ts';
export type { Clock } from './clock.ts';
export type { Pool, PoolInfo, PoolJob } from './pools/pool.ts';
export type { DeadReason } from './dead-letters.ts';
