import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { isLovageError, type LovageOptions } from '@lovage/core';
import { exception, gate, openBench } from '../test/support/bench.ts';
import { Worker, type WorkerOptions } from './worker.ts';

describe('options', () => {
  test('a pool that is not there is refused with the ones that are', async () => {
    const bench = openBench();
    expect(() => new Worker(bench.app, { pool: 'fibers' })).toThrow('async, eventlet, gevent, threads, processes');
    expect(() => new Worker(bench.app, { pool: 'prefork' })).toThrow('appModule: import.meta.url');
    expect(() => new Worker(bench.app, { pool: 'threads', appModule: 'x', maxTasksPerChild: 0 })).toThrow(
      'maxTasksPerChild',
    );
    expect(() => new Worker(bench.app, { concurency: 1 } as never)).toThrow(
      expect.toSatisfy((error) => isLovageError(error, 'ERR_CONFIG')),
    );
    expect(new Worker(bench.app, { pool: 'solo', concurrency: 9 }).pool.concurrency).toBe(1);
  });

  test('a concurrency that was given is kept by another pool, its default is not', () => {
    const slots = (settings: LovageOptions): number =>
      new Worker(openBench(settings).app, { pool: 'processes', appModule: 'x' }).pool.concurrency;
    expect(slots({ workerConcurrency: 100 })).toBe(100);
    expect(slots({})).toBe(availableParallelism());
  });

  test('the direct queue of a worker is consumed beside those that are selected', () => {
    const queuesOf = (options: WorkerOptions): readonly string[] =>
      new Worker(openBench({ workerDirect: true, taskCreateMissingQueues: true }).app, { nodeName: 'w@h', ...options })
        .queueNames;
    expect(queuesOf({ queues: ['mail'] })).toEqual(['mail', 'w@h.dq2']);
    expect(queuesOf({ queues: ['w@h.dq2'] })).toEqual(['w@h.dq2']);
    expect(queuesOf({})).toEqual(['celery', 'w@h.dq2']);
  });

  test('two workers of one app have each their own queues', async () => {
    const bench = openBench({ workerDirect: true });
    const one = await bench.worker({ nodeName: 'one@h' });
    await one.addConsumer({ name: 'more', alias: 'extra', exchange: 'other' });
    const two = await bench.worker({ nodeName: 'two@h' });
    expect([one.queueNames, two.queueNames]).toEqual([
      ['celery', 'one@h.dq2', 'more'],
      ['celery', 'two@h.dq2'],
    ]);
    await two.addConsumer('more');
    await one.cancelConsumer('extra');
    expect([one.queueNames, two.queueNames]).toEqual([
      ['celery', 'one@h.dq2'],
      ['celery', 'two@h.dq2', 'more'],
    ]);
  });
});

describe('tasks in other files', () => {
  function taskFile(text: string): string {
    const folder = mkdtempSync(join(tmpdir(), 'lovage-worker-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, 'tasks.mjs'), text);
    return join(folder, 'tasks.mjs');
  }

  test('are imported before the first message is taken', async () => {
    const file = taskFile(`globalThis.appOfWorker.task('found', { rateLimit: '9/s' }, (n) => n + 1);\n`);
    const bench = openBench({ include: [file] });
    (globalThis as { appOfWorker?: unknown }).appOfWorker = bench.app;
    const waiting = await bench.app.sendTask('found', { args: [1] });
    expect(bench.app.tasks.names()).toEqual([]);
    await bench.worker();
    expect(await waiting.get({ timeout: 25 })).toBe(2);
  });

  test('that cannot be imported end the worker with the reason', async () => {
    const bench = openBench({ imports: taskFile('throw new RangeError("at import");\n') });
    await expect(bench.worker()).rejects.toThrow(/tasks\.mjs, .*could not be loaded: RangeError: at import/);
    const limited = openBench({
      imports: taskFile(`globalThis.appOfWorker.task('x', { rateLimit: 'often' }, () => 1);\n`),
    });
    (globalThis as { appOfWorker?: unknown }).appOfWorker = limited.app;
    await expect(limited.worker()).rejects.toThrow(/often/);
  });
});

describe('what makes a worker impossible', () => {
  test('is told by start and by done', async () => {
    const bench = openBench({ broker: 'nosuchbroker://localhost' });
    const worker = new Worker(bench.app, { guardProcess: false });
    await expect(worker.start()).rejects.toMatchObject({ code: 'ERR_TRANSPORT_NOT_FOUND' });
    await expect(worker.done).rejects.toMatchObject({ code: 'ERR_TRANSPORT_NOT_FOUND' });
    expect(worker.state).toBe('closed');
    expect(() => worker.start()).toThrow(expect.toSatisfy((error) => isLovageError(error, 'ERR_CLOSED')));
  });
});

describe('unhandled rejections', () => {
  test('are the failure of the task that they come from', async () => {
    const bench = openBench();
    const { opened, open } = gate();
    const listeners = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    try {
      const careless = bench.app.task('careless', async () => {
        void Promise.reject(new RangeError('forgotten'));
        await opened;
        return 1;
      });
      const innocent = bench.app.task('innocent', async () => {
        await opened;
        return 2;
      });
      await bench.worker({ guardProcess: true });
      const [a, b] = [await careless.delay(), await innocent.delay()];
      expect((await bench.meta(a.id)).result).toEqual(exception('RangeError', ['forgotten']));
      open();
      expect(await b.get({ timeout: 25 })).toBe(2);
    } finally {
      for (const listener of listeners) process.on('unhandledRejection', listener);
    }
  });

  test('of another worker in the same process are for that one: its slot is free again', async () => {
    const listeners = process.listeners('unhandledRejection');
    process.removeAllListeners('unhandledRejection');
    try {
      const benches = [openBench(), openBench()];
      const results = [];
      for (const bench of benches) {
        bench.app.task('careless', () => {
          void Promise.reject(new RangeError('forgotten'));
          return new Promise<never>(() => {});
        });
        await bench.worker({ guardProcess: true, concurrency: 1 });
        results.push(await bench.app.sendTask('careless'));
      }
      for (const [index, bench] of benches.entries()) {
        await bench.meta(results[index]?.id as string);
        expect(bench.workers[0]?.pool.free).toBe(1);
        expect(bench.lines.filter(({ message }) => message.startsWith('Unhandled'))).toHaveLength(1);
      }
    } finally {
      for (const listener of listeners) process.on('unhandledRejection', listener);
    }
  });
});
