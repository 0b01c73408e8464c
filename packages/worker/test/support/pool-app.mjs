// Tasks that show where and how they run. Children load this file, so it is plain JavaScript.
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { threadId } from 'node:worker_threads';
import { chord, currentTask, group, Lovage } from '@lovage/core';

export const app = new Lovage('pools', {
  broker: process.env.POOLS_BROKER ?? 'memory://',
  backend: process.env.POOLS_BACKEND ?? 'cache+memory://',
  leaseSeconds: 2,
});
const note = (line) => appendFileSync(process.env.POOLS_NOTES, `${line}\n`);

app.task('where', () => `${process.pid}/${threadId}`);
// Ends when it can read of its own start.
app.task('tracked', { trackStarted: true, bind: true }, async (task) => {
  const own = app.asyncResult(task.request.id);
  while ((await own.state()) !== 'STARTED') await sleep(10);
  return { ...(await own.info()), here: process.pid };
});
app.task('sleep', { bind: true }, async (task, ms) => {
  note(`sleeping ${process.pid}`);
  await sleep(ms, undefined, { signal: task.signal });
  return ms;
});
app.task('block', async (ms) => {
  note(`block ${process.pid}`);
  // After its first await it is nobody's synchronous part any more.
  await sleep(1);
  const end = Date.now() + ms;
  while (Date.now() < end);
});
// Its child is busy with something else when the next task comes, and dies before it begins that one.
app.task('dies.after', () => {
  setImmediate(() => {
    const end = Date.now() + 300;
    while (Date.now() < end);
    if (threadId === 0) process.kill(process.pid, 'SIGKILL');
    else process.exit(1);
  });
  return threadId;
});
app.task('began', () => {
  note('began');
  process.kill(process.pid, 'SIGKILL');
});
app.on('workerProcessInit', ({ pid }) => note(`init ${pid}`));
app.on('workerProcessShutdown', ({ pid }) => note(`shutdown ${pid}`));
const sum = app.task('sum', (numbers) => numbers.reduce((a, b) => a + b, 0));
app.task('maps', { bind: true }, (task, n) => task.replace(group(Array.from({ length: n }, (_, at) => leaf.s(at)))));
app.task('adds', { bind: true }, async (task, n) => {
  const { id } = await chord(
    Array.from({ length: n }, (_, at) => leaf.s(at)),
    sum.s(),
  ).delay();
  return id;
});
app.task('deaf', () => {
  note(`deaf ${process.pid}`);
  for (;;);
});
app.task('deaf.async', { timeLimit: 600 }, () => new Promise(() => {}));
app.task('hoard', (mebibytes) => {
  globalThis.hoard = Array.from({ length: mebibytes }, () => Array.from({ length: 131_072 }).fill(0.5));
  return `${process.pid}/${threadId}`;
});
const leaf = app.task('leaf', (n) => n);
app.task('parent', { bind: true }, async (task) => {
  const { id } = await leaf.delay(7);
  await task.progress(0.5, 'half');
  return { child: id, id: currentTask.getStore().request.id, hostname: task.request.hostname };
});
class Flaky extends Error {}
app.task('flaky', { retry: { for: [Flaky], maxRetries: 2, countdown: 0 }, bind: true }, (task) => {
  if (task.request.retries < 2) throw new Flaky(`try ${task.request.retries}`);
  return task.request.retries;
});
app.task('retries', { bind: true, onRetry: (error) => note(`onRetry ${error.message}`) }, (task, date) => {
  if (task.request.retries === 0) task.retry({ countdown: 0, args: [new Date(date)], cause: new Flaky('once') });
  return [task.request.retries, date instanceof Date];
});
app.task('replaced', { bind: true }, (task) => task.replace(leaf.s(99)));
app.task(
  'hooked',
  {
    beforeStart: async (id, args) => {
      await sleep(5);
      note(`beforeStart ${String(args[0])}`);
    },
    onSuccess: async (result) => {
      await sleep(5);
      note(`onSuccess ${result instanceof Map} ${process.pid}`);
    },
    onFailure: (error) => note(`onFailure ${error instanceof Flaky} ${error.secret}`),
    afterReturn: (state) => note(`afterReturn ${state}`),
  },
  (fails) => {
    if (fails) throw Object.assign(new Flaky('no'), { secret: 42 });
    return new Map();
  },
);
app.task('returns', { onSuccess: () => {} }, (value) => JSON.parse(value));
app.task('shared', () => [new Map(), new SharedArrayBuffer(1)]);
app.task('progresses', { bind: true }, (task, meta) => task.updateState({ state: 'HALF', meta: JSON.parse(meta) }));
app.task('ignored', { ignoreResult: true }, () => () => {});
app.task('stray', () => {
  // Outside of any task's context, as a library's own timer would be.
  currentTask.exit(() => setTimeout(() => void Promise.reject(new Error('stray')), 10));
  return process.pid;
});
