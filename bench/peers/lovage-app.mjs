import { Lovage } from '@lovage/core';
import { runCounter } from './measure.mjs';

export const app = new Lovage('bench', {
  broker: process.env.BROKER,
  ...(process.env.BACKEND ? { backend: process.env.BACKEND } : {}),
  taskDefaultQueue: process.env.QUEUE,
  taskIgnoreResult: !process.env.BACKEND,
  ...(process.env.PREFETCH_MULTIPLIER ? { workerPrefetchMultiplier: Number(process.env.PREFETCH_MULTIPLIER) } : {}),
  ...(process.env.ETA_LIMIT === 'null' ? { workerEtaTaskLimit: null } : {}),
});

const count =
  process.env.COUNT === undefined
    ? undefined
    : runCounter(Number(process.env.COUNT), (rate) => console.log(JSON.stringify(rate)));

export const noop = app.task('bench.noop', (..._args) => count?.());
