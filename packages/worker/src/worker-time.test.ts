import { describe, expect, test } from 'vitest';
import { ManualClock } from '../test/support/manual-clock.ts';
import { exception, gate, openBench, until } from '../test/support/bench.ts';

describe('time', () => {
  test('an ETA is waited for, and does not keep ready tasks from running', async () => {
    const bench = openBench();
    const ran: string[] = [];
    const note = bench.app.task('note', (name: string) => void ran.push(name));
    const worker = await bench.worker({ concurrency: 1 });
    for (let n = 0; n < 20; n++) await note.applyAsync([`far ${n}`], { countdown: 120 });
    await note.applyAsync(['soon'], { countdown: 0.2 });
    await note.delay('now');
    await until(() => ran.length === 2, 'two runs');
    expect(ran).toEqual(['now', 'soon']);
    expect(worker.scheduled.length).toBe(20);
    await worker.stop('warm');
    expect(await bench.size()).toBe(20);
  });

  test('what there is no room for goes back to a broker that can delay, and runs in its time', async () => {
    const bench = openBench({ workerEtaTaskLimit: 2 });
    const ran: number[] = [];
    const note = bench.app.task('note', (n: number, due: number) => {
      expect(Date.now()).toBeGreaterThanOrEqual(due);
      ran.push(n);
    });
    const worker = await bench.worker();
    const eta = new Date(Date.now() + 300);
    for (let n = 0; n < 6; n++) await note.applyAsync([n, eta.getTime()], { eta });
    await note.applyAsync([9, Date.now() + 400_000], { countdown: 400 });
    await until(() => worker.scheduled.length === 2, 'two held');
    await until(() => ran.length === 6, 'six runs');
    expect(ran.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(worker.scheduled).toEqual([]);
  });

  test('thousands wait for their time, are shown, and run with what they were sent with', async () => {
    const bench = openBench();
    const ran: number[] = [];
    const note = bench.app.task('note', (n: number) => void ran.push(n));
    const clock = new ManualClock(Date.now());
    const worker = await bench.worker({ clock });
    const eta = new Date(clock.now() + 60_000);
    const count = 1100;
    await Promise.all(Array.from({ length: count }, (_, n) => note.applyAsync([n], { eta })));
    await until(() => worker.scheduled.length === count, 'all are held');
    expect(new Set(worker.scheduled.map(({ task, eta: at }) => `${task} ${at}`))).toEqual(
      new Set([`note ${eta.getTime()}`]),
    );
    clock.advance(60_000);
    await until(() => ran.length === count, 'all have run');
    expect(ran.toSorted((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, n) => n));
  });

  test('an expired task is REVOKED without a run', async () => {
    const bench = openBench();
    let runs = 0;
    const late = bench.app.task('late', () => void runs++);
    const result = await late.applyAsync([], { expires: new Date(Date.now() - 1000) });
    await bench.worker();
    const meta = await bench.meta(result.id);
    expect(meta).toMatchObject({
      status: 'REVOKED',
      result: exception('TaskRevokedError', ['expired'], 'celery.exceptions'),
    });
    expect(runs).toBe(0);
    await until(async () => (await bench.size()) === 0, 'an empty queue');
  });

  test('the soft limit aborts the signal; uncaught it is SoftTimeLimitExceeded, caught it is what the task makes of it', async () => {
    const bench = openBench();
    const wait = (signal: AbortSignal) =>
      new Promise<never>((_, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }),
      );
    const uncaught = bench.app.task('uncaught', { bind: true, softTimeLimit: 0.05 }, (task) => wait(task.signal));
    const caught = bench.app.task('caught', { bind: true, softTimeLimit: 0.05 }, (task) =>
      wait(task.signal).catch(() => 'in time'),
    );
    await bench.worker();
    const [a, b] = [await uncaught.delay(), await caught.delay()];
    expect((await bench.meta(a.id)).result).toEqual(exception('SoftTimeLimitExceeded', [], 'billiard.exceptions'));
    expect(await b.get({ timeout: 25 })).toBe('in time');
  });

  test('the hard limit ends a task that does not listen, and frees its slot', async () => {
    const bench = openBench();
    const { opened, open } = gate();
    const deaf = bench.app.task('deaf', { timeLimit: 0.05 }, async () => {
      await opened;
      return 'late';
    });
    const next = bench.app.task('next', () => 'ran');
    await bench.worker({ concurrency: 1 });
    const a = await deaf.delay();
    const b = await next.delay();
    expect(await bench.meta(a.id)).toMatchObject({
      status: 'FAILURE',
      result: exception('TimeLimitExceeded', [0.05], 'billiard.exceptions'),
      traceback: null,
    });
    expect(await b.get({ timeout: 25 })).toBe('ran');
    open();
    await opened;
    expect((await bench.meta(a.id)).status).toBe('FAILURE');
  });

  test('a rate limit lets tasks start one by one and others pass', async () => {
    const bench = openBench();
    const starts: number[] = [];
    const limited = bench.app.task('limited', { rateLimit: '20/s' }, () => void starts.push(performance.now()));
    const free = bench.app.task('free', () => 'free');
    await bench.worker({ concurrency: 1 });
    for (let n = 0; n < 4; n++) await limited.delay();
    expect(await (await free.delay()).get({ timeout: 25 })).toBe('free');
    await until(() => starts.length === 4, 'four starts');
    // The limiter's own test has the exact times; here a loaded machine may start the first one late.
    expect((starts[3] ?? 0) - (starts[0] ?? 0)).toBeGreaterThan(75);
  });
});
