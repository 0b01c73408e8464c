import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ConnectionLostError } from '@lovage/core';
import { ManualClock } from '../test/support/manual-clock.ts';
import { exception, gate, openBench, until, within } from '../test/support/bench.ts';
import { changedBackend, undelayingTransport } from '../test/support/faults.ts';
import { Worker } from './worker.ts';

describe('revoke', () => {
  test('a revoked task does not start', async () => {
    const bench = openBench();
    let runs = 0;
    const task = bench.app.task('task', () => void runs++);
    const worker = await bench.worker();
    worker.revoke(['gone']);
    await task.applyAsync([], { taskId: 'gone' });
    expect(await bench.meta('gone')).toMatchObject({
      status: 'REVOKED',
      result: exception('TaskRevokedError', ['revoked']),
    });
    expect(runs).toBe(0);
  });

  test('what waits for its time or its turn ends at once: later nobody may know that it is revoked', async () => {
    const bench = openBench({ transports: [undelayingTransport] });
    let runs = 0;
    const task = bench.app.task('task', () => void runs++);
    const rare = bench.app.task('rare', { rateLimit: '1/h' }, () => 1);
    const clock = new ManualClock();
    const worker = await bench.worker({ clock, remoteControl: false, gossip: false });
    const hours = (count: number) => ({ eta: new Date(clock.now() + count * 3_600_000) });
    const [held, kept] = [await task.applyAsync([], hours(5)), await task.applyAsync([], hours(5))];
    const [first, second] = [await rare.delay(), await rare.delay()];
    await bench.meta(first.id);
    await until(() => worker.scheduled.length === 2 && worker.reserved.length === 1, 'what waits');
    worker.revoke([held.id, second.id]);
    for (const { id } of [held, second]) expect((await bench.meta(id)).status).toBe('REVOKED');
    expect(worker.scheduled.map(({ id }) => id)).toEqual([kept.id]);
    clock.advance(5 * 3_600_000);
    expect((await bench.meta(kept.id)).status).toBe('SUCCESS');
    await until(async () => (await bench.size()) === 0, 'an empty queue');
    expect(runs).toBe(1);
  });

  test('what has waited for its time elsewhere does not run when the store has it as revoked', async () => {
    const bench = openBench();
    let runs = 0;
    const task = bench.app.task('task', () => void runs++);
    const eta = new Date(Date.now() - 1000);
    // As a broker gives it that has delayed it for longer than workers remember.
    const [gone, kept] = [await task.applyAsync([], { eta }), await task.applyAsync([], { eta })];
    await gone.revoke();
    await bench.worker();
    expect((await bench.meta(kept.id)).status).toBe('SUCCESS');
    await until(async () => (await bench.size()) === 0, 'an empty queue');
    await until(() => bench.lines.some(({ message }) => message.startsWith('Discarding task')), 'the end of the other');
    expect(await gone.state()).toBe('REVOKED');
    expect(runs).toBe(1);
  });

  test('what has waited elsewhere runs when the store cannot be asked', async () => {
    let isAway = true;
    const backend = changedBackend((store) => ({
      load: (ids) => (isAway ? Promise.reject(new ConnectionLostError('away')) : store.load(ids)),
    }));
    const bench = openBench({ backends: [backend] });
    const ran = gate();
    const task = bench.app.task('task', () => ran.open());
    await task.applyAsync([], { eta: new Date(Date.now() - 1000) });
    await bench.worker();
    await within(ran.opened, 'the run');
    isAway = false;
    expect(bench.lines.some(({ message }) => message.endsWith('They run.'))).toBe(true);
  });

  test('thousands that wait are looked through, and the others stay', async () => {
    const bench = openBench();
    const task = bench.app.task('task', (n: number) => n);
    const worker = await bench.worker();
    const sent = await Promise.all(Array.from({ length: 1500 }, (_, n) => task.applyAsync([n], { countdown: 200 })));
    const told = (what: string) => bench.lines.filter(({ message }) => message.includes(what)).length;
    await until(() => told('received') === 1500, 'all of them');
    const ids = sent.filter((_, n) => n % 3 === 0).map(({ id }) => id);
    for (const id of ids) worker.revoke([id]);
    await until(() => told('Discarding task') === 500, 'those that are revoked');
    await until(async () => (await bench.size()) === 0 && worker.scheduled.length === 1000, 'the others');
    const backend = await bench.app.requireBackend('test');
    await until(
      async () => (await backend.load(ids)).every((meta) => meta?.status === 'REVOKED'),
      'the states of those that are revoked',
    );
  }, 30_000);

  test('terminate aborts a running task', async () => {
    const bench = openBench();
    const begun = gate();
    const task = bench.app.task('task', { bind: true }, (context) => {
      begun.open();
      return new Promise<never>((_, reject) =>
        context.signal.addEventListener('abort', () => reject(context.signal.reason as Error)),
      );
    });
    const worker = await bench.worker();
    const { id } = await task.delay();
    await within(begun.opened, 'the start');
    worker.revoke([id], { terminate: true });
    expect(await bench.meta(id)).toMatchObject({
      status: 'REVOKED',
      result: exception('TaskRevokedError', ['terminated']),
    });
    await until(async () => (await bench.size()) === 0, 'an empty queue');
  });
});

describe('changes while it runs', () => {
  test('the pool grows and shrinks, and the prefetch count with it', async () => {
    const bench = openBench();
    const { opened, open } = gate();
    let running = 0;
    const slow = bench.app.task('slow', async () => {
      running++;
      await opened;
      running--;
    });
    const worker = await bench.worker({ concurrency: 1, prefetchMultiplier: 2 });
    const results = await Promise.all(Array.from({ length: 8 }, () => slow.delay()));
    await until(() => running === 1, 'one');
    worker.grow(3);
    await until(() => running === 4, 'four');
    expect(worker.prefetchCount).toBe(8);
    expect(worker.poolInfo).toMatchObject({ 'max-concurrency': 4, processes: [process.pid] });
    worker.shrink(10);
    expect(worker.pool.concurrency).toBe(1);
    open();
    await Promise.all(results.map((result) => result.get({ timeout: 25 })));
    expect(() => worker.setAutoscale({ max: 3 })).toThrow('Autoscale not enabled');
  });

  test('autoscale: slots come with the work', async () => {
    const bench = openBench();
    const { opened, open } = gate();
    let running = 0;
    const slow = bench.app.task('slow', async () => {
      running++;
      await opened;
    });
    const worker = await bench.worker({ autoscale: { max: 5, min: 1 } });
    for (let n = 0; n < 8; n++) await slow.delay();
    await until(() => running === 5, 'five');
    expect(worker.autoscaler).toMatchObject({ max: 5, min: 1, current: 5 });
    expect(() => worker.grow()).toThrow('autoscaled');
    expect(worker.setAutoscale({ max: 6 })).toEqual({ max: 6, min: 1 });
    await until(() => running === 6, 'six');
    open();
  });

  test('autoscale: slots come with what has waited for its time', async () => {
    const bench = openBench();
    const { opened, open } = gate();
    let running = 0;
    const slow = bench.app.task('slow', async () => {
      running++;
      await opened;
    });
    const worker = await bench.worker({ autoscale: { max: 5, min: 1 } });
    const eta = new Date(Date.now() + 300);
    for (let n = 0; n < 5; n++) await slow.applyAsync([], { eta });
    await until(() => running === 5, 'five');
    expect(worker.autoscaler).toMatchObject({ current: 5 });
    open();
  });

  test('a rate limit that was set before the start holds, and one that was taken away is none', async () => {
    const bench = openBench();
    const quick = bench.app.task('quick', { rateLimit: '1/h' }, () => 1);
    const slow = bench.app.task('slow', () => 1);
    const worker = new Worker(bench.app, { guardProcess: false, watchdogMs: 0 });
    bench.workers.push(worker);
    worker.setRateLimit('quick', null);
    worker.setRateLimit('slow', '1/h');
    expect([worker.rateLimitOf('quick'), worker.rateLimitOf('slow')]).toEqual([null, '1/h']);
    await worker.start();
    const results = [await quick.delay(), await quick.delay(), await slow.delay()];
    await slow.delay();
    await Promise.all(results.map((result) => result.get({ timeout: 25 })));
    await until(() => worker.reserved.length === 1, 'the one that waits for its turn');
  });

  test('time limits and rate limits of a task', async () => {
    const bench = openBench();
    const deaf = bench.app.task('deaf', { timeLimit: 600 }, () => new Promise<never>(() => {}));
    const quick = bench.app.task('quick', { rateLimit: '1/h' }, () => 1);
    const worker = await bench.worker();
    worker.setTimeLimit('deaf', { hard: 0.05 });
    const { id } = await deaf.delay();
    expect((await bench.meta(id)).result).toEqual(exception('TimeLimitExceeded', [0.05]));
    const results = [await quick.delay(), await quick.delay(), await quick.delay()];
    await results[0]?.get({ timeout: 25 });
    await until(() => worker.reserved.length === 2, 'two that wait');
    worker.setRateLimit('quick', null);
    await Promise.all(results.map((result) => result.get({ timeout: 25 })));
    expect(() => worker.setTimeLimit('none', { hard: 1 })).toThrow('none');
    expect(() => worker.setRateLimit('quick', 'often')).toThrow('often');
  });

  test('tasks with a revoked stamp do not start, running ones are ended', async () => {
    const bench = openBench();
    const begun = gate();
    const deaf = bench.app.task('deaf', { bind: true }, ({ signal }) => {
      begun.open();
      return new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    });
    const worker = await bench.worker({ concurrency: 1 });
    const stamped = (tenant: string) => deaf.applyAsync([], { stamps: { tenant: [tenant] } });
    const [first, second] = [await stamped('x'), await stamped('x')];
    await within(begun.opened, 'the start');
    expect(worker.revokeByStampedHeaders({ tenant: 'x' }, { terminate: true })).toEqual([first.id]);
    expect((await bench.meta(first.id)).status).toBe('REVOKED');
    expect((await bench.meta(second.id)).result).toEqual(exception('TaskRevokedError', ['revoked']));
  });

  test("beforeStart runs before the function, and its error is the task's", async () => {
    const bench = openBench();
    const order: string[] = [];
    const task = bench.app.task(
      'task',
      {
        async beforeStart(_id, args) {
          await Promise.resolve();
          order.push(`before ${String(args[0])}`);
          if (args[0] === 2) throw new RangeError('not ready');
        },
      },
      (n: number) => void order.push(`run ${n}`),
    );
    await bench.worker();
    await (await task.delay(1)).get({ timeout: 25 });
    const { id } = await task.delay(2);
    expect((await bench.meta(id)).result).toEqual(exception('RangeError', ['not ready']));
    expect(order).toEqual(['before 1', 'run 1', 'before 2']);
  });
});

test('what was revoked before a restart does not run after it', async () => {
  const bench = openBench();
  const folder = mkdtempSync(join(tmpdir(), 'lovage-worker-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const task = bench.app.task('task', () => 1);
  const stateDb = join(folder, 'state');
  const first = await bench.worker({ stateDb });
  first.revoke(['gone']);
  await first.stop();
  await bench.worker({ stateDb });
  await task.applyAsync([], { taskId: 'gone' });
  expect((await bench.meta('gone')).status).toBe('REVOKED');
});
