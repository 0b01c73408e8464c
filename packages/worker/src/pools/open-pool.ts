import type { Logger, Settings } from '@lovage/core';
import type { Clock } from '../clock.ts';
import { locateApp, positive, type PoolName, type WorkerOptions } from '../worker-options.ts';
import { AsyncPool } from './async-pool.ts';
import { ChildPool } from './children/child-pool.ts';
import type { Pool } from './pool.ts';

/** A pool of this name, not started yet. Throws `ConfigError` for options that cannot be. */
export function openPool(
  name: PoolName,
  concurrency: number,
  { appModule, maxTasksPerChild, maxMemoryPerChild }: WorkerOptions,
  { settings, nodeName, clock, logger }: OpenPoolFacts,
): Pool {
  if (name === 'solo') return new AsyncPool(1, clock, 'solo');
  if (name === 'async') return new AsyncPool(concurrency, clock);
  return new ChildPool({
    kind: name,
    concurrency,
    app: locateApp(appModule, name),
    nodeName,
    clock,
    logger,
    maxTasksPerChild: positive('maxTasksPerChild', maxTasksPerChild ?? settings.workerMaxTasksPerChild),
    maxMemoryKiB: positive('maxMemoryPerChild', maxMemoryPerChild ?? settings.workerMaxMemoryPerChild),
    aliveTimeoutMs: settings.workerProcAliveTimeout * 1000,
    limits: [settings.taskSoftTimeLimit ?? 0, settings.taskTimeLimit ?? 0],
  });
}

export interface OpenPoolFacts {
  readonly settings: Settings;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly logger: Logger;
}
