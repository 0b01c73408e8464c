import { expect, test } from 'vitest';
import type { SignalName } from '@lovage/core';
import { Reject } from '@lovage/core/protocol';
import { openBench, until } from '../../test/support/bench.ts';

const NAMES: readonly SignalName[] = [
  'beforeTaskPublish',
  'afterTaskPublish',
  'taskReceived',
  'taskPrerun',
  'taskPostrun',
  'taskSuccess',
  'taskFailure',
  'taskRetry',
  'taskRevoked',
  'taskRejected',
  'taskUnknown',
  'workerInit',
  'workerReady',
  'workerShuttingDown',
  'workerShutdown',
];

test('signals come in the order of what happens, and a handler that fails hurts no task', async () => {
  const bench = openBench({ workerUnknownTaskRetries: 0 });
  const { app } = bench;
  const heard: string[] = [];
  for (const name of NAMES) {
    app.on(name, () => {
      throw new Error('no handler of mine');
    });
    app.on(name, async () => {
      throw new Error('nor this one');
    });
    app.on(name, () => void heard.push(name));
  }
  const add = app.task('add', (x: number, y: number) => x + y);
  const fail = app.task('fail', () => {
    throw new RangeError('no');
  });
  const again = app.task('again', { bind: true }, (task) => {
    if (task.request.retries === 0) task.retry({ countdown: 0 });
  });
  const reject = app.task('reject', () => {
    throw new Reject('no');
  });
  const worker = await bench.worker();
  const during = async (act: () => Promise<unknown>, last: SignalName): Promise<string[]> => {
    heard.length = 0;
    await act();
    await until(() => heard.includes(last), `the signal ${last}`);
    return [...heard];
  };
  const published = ['beforeTaskPublish', 'afterTaskPublish'];
  const sorted = async (act: () => Promise<unknown>, last: SignalName): Promise<string[]> =>
    (await during(act, last)).filter((name) => !published.includes(name));
  expect(heard).toEqual(['workerInit', 'workerReady']);
  expect(await sorted(() => add.delay(1, 2), 'taskPostrun')).toEqual([
    'taskReceived',
    'taskPrerun',
    'taskSuccess',
    'taskPostrun',
  ]);
  expect(await sorted(() => fail.delay(), 'taskPostrun')).toEqual([
    'taskReceived',
    'taskPrerun',
    'taskFailure',
    'taskPostrun',
  ]);
  expect(await sorted(() => again.delay(), 'taskSuccess')).toEqual(
    expect.arrayContaining(['taskReceived', 'taskPrerun', 'taskRetry', 'taskPostrun', 'taskSuccess']),
  );
  expect(await sorted(() => reject.delay(), 'taskPostrun')).toContain('taskRejected');
  worker.revoke(['gone']);
  expect(await sorted(() => add.applyAsync([1, 1], { taskId: 'gone' }), 'taskRevoked')).toEqual(['taskRevoked']);
  expect(await sorted(() => app.sendTask('nobody.knows'), 'taskUnknown')).toEqual(['taskUnknown']);
  expect(await during(() => worker.stop(), 'workerShutdown')).toEqual(['workerShuttingDown', 'workerShutdown']);
  expect(bench.lines.filter(({ message }) => message.startsWith('A handler of the signal')).length).toBeGreaterThan(20);
});

test('a handler may put headers into a message, and take itself away', async () => {
  const bench = openBench();
  const { app } = bench;
  const off = app.on('beforeTaskPublish', ({ headers }) => {
    headers['traceparent'] = '00-1';
  });
  const headers = app.task('headers', { bind: true }, ({ request }) => request.headers);
  await bench.worker();
  expect(await (await headers.delay()).get({ timeout: 25 })).toEqual({ traceparent: '00-1' });
  off();
  expect(await (await headers.delay()).get({ timeout: 25 })).toEqual({});
});

test('wrappers are called around every task, the first one outermost', async () => {
  const bench = openBench();
  const { app } = bench;
  const calls: string[] = [];
  app.around((task, run) => {
    calls.push(`first ${task.request.task}`);
    return run();
  });
  app.around(async (_, run) => {
    calls.push('second');
    const result = (await run()) as number;
    calls.push('end');
    return result + 1;
  });
  const one = app.task('one', () => {
    calls.push('task');
    return 1;
  });
  await bench.worker();
  expect(await (await one.delay()).get({ timeout: 25 })).toBe(2);
  expect(calls).toEqual(['first one', 'second', 'task', 'end']);
});
