import { Lovage } from '@lovage/core';

export const app = new Lovage('quickstart', {
  broker: process.env.LOVAGE_BROKER ?? 'sqla+sqlite:///lovage.db',
  backend: process.env.LOVAGE_BACKEND ?? 'db+sqlite:///lovage.db',
});

export const add = app.task('tasks.add', (x: number, y: number) => x + y);

export const whoRuns = app.task('tasks.whoRuns', async (seconds: number) => {
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  return process.pid;
});

/** Fails twice, then works: each attempt is a new message with the same id. */
export const flaky = app.task('tasks.flaky', { bind: true, maxRetries: 5 }, (task, name: string) => {
  const { retries } = task.request;
  if (retries < 2) task.retry({ countdown: 0.2, cause: new Error(`${name} is not there yet`) });
  return `${name} answered at attempt ${retries + 1}`;
});

export const divide = app.task('tasks.divide', (x: number, y: number) => {
  if (y === 0) throw new RangeError('division by zero');
  return x / y;
});
