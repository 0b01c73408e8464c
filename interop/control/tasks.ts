// The TypeScript side of the remote control tests. Its tasks have the names of Python's in ../python/control_tasks.py.
import { setTimeout as sleep } from 'node:timers/promises';
import { Lovage } from '@lovage/core';

export const app = new Lovage('control', {
  broker: process.env.BROKER as string,
  ...(process.env.BACKEND === undefined ? {} : { backend: process.env.BACKEND }),
  taskDefaultQueue: process.env.QUEUE ?? 'typescript',
  taskTrackStarted: true,
  workerUnknownTaskRetries: 0,
});

app.task('jobs.add', { params: ['x', 'y'] }, (x: number, y: number) => x + y);

app.task('jobs.fail', { params: ['text'] }, (text: string) => {
  throw new RangeError(text);
});

app.task('jobs.retry', { bind: true, maxRetries: 2 }, (task) => {
  if (task.request.retries === 0) task.retry({ countdown: 0.1, cause: new Error('not yet') });
  return 'done';
});

app.task('jobs.sleep', { bind: true, params: ['seconds'] }, async (task, seconds: number) => {
  await sleep(seconds * 1000, undefined, { signal: task.signal });
  return seconds;
});
