// Plays a range of machines in one process: one worker each, on the queue of that machine. A real machine runs
//   lovage -A ./tasks worker -Q machine-$(hostname)
import { Worker } from '@lovage/worker';
import { app, queueOf } from './tasks.ts';

const [first = '1', last = '100'] = process.argv.slice(2);
const names = Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) => `m${Number(first) + index}`);
const workers = names.map(
  (name) =>
    new Worker(app, { nodeName: `worker@${name}`, guardProcess: false, queues: [queueOf(name)], concurrency: 2 }),
);
await Promise.all(workers.map((worker) => worker.start()));
console.log(`${names.length} machines ready`);

process.once('SIGTERM', () => {
  void Promise.all(workers.map((worker) => worker.stop('warm'))).then(() => app.close());
});
