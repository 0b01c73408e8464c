// The tasks of `pnpm bench --pools`; `fill TASK N` publishes them.
import { Lovage } from '@lovage/core';
import { compute, count } from './pool-work.mjs';

export const app = new Lovage('pools', {
  broker: process.env.BROKER,
  taskDefaultQueue: process.env.QUEUE,
  taskIgnoreResult: true,
  ...(process.env.PREFETCH_MULTIPLIER ? { workerPrefetchMultiplier: Number(process.env.PREFETCH_MULTIPLIER) } : {}),
});
app.task('bench.noop', () => count());
app.task('bench.cpu', () => {
  compute();
  count();
});

if (process.argv[1] === import.meta.filename && process.argv[2] === 'fill') {
  const [, , , task, total] = process.argv;
  await Promise.all(Array.from({ length: Number(total) }, () => app.sendTask(`bench.${task}`)));
  console.log('{}');
  await app.close();
}
