import { describe, expect, test } from 'vitest';
import { gate, openBench, STOP_MS, until, within } from '../test/support/bench.ts';

describe('shutdown', () => {
  test('warm: what runs finishes, what did not start goes back, nothing is lost or doubled', async () => {
    const bench = openBench();
    const { opened, open } = gate();
    const ran: number[] = [];
    const slow = bench.app.task('slow', async (n: number) => {
      ran.push(n);
      await opened;
    });
    const worker = await bench.worker({ concurrency: 2, prefetchMultiplier: 4 });
    const results = await Promise.all(Array.from({ length: 10 }, (_, n) => slow.delay(n)));
    await until(() => ran.length === 2 && worker.reserved.length === 6, 'two running and six waiting');
    const stopped = worker.stop('warm', { graceMs: 5000 });
    expect(worker.state).toBe('draining');
    await until(async () => (await bench.size()) === 8, 'eight messages back');
    open();
    await within(stopped, 'the stop', 2000);
    expect(worker.state).toBe('closed');
    await worker.done;
    expect(await bench.size()).toBe(8);
    await bench.worker();
    await Promise.all(results.map((result) => result.get({ timeout: 25 })));
    expect(ran.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('after the grace the signal fires; who listens ends cleanly, who does not is left alone; both go back', async () => {
    const bench = openBench();
    const begun: string[] = [];
    const listening = bench.app.task('listening', { bind: true }, (task) => {
      begun.push('listening');
      return new Promise<never>((_, reject) =>
        task.signal.addEventListener('abort', () => reject(task.signal.reason as Error)),
      );
    });
    const deaf = bench.app.task('deaf', () => {
      begun.push('deaf');
      return new Promise<never>(() => {});
    });
    const worker = await bench.worker();
    const [a, b] = [await listening.delay(), await deaf.delay()];
    await until(() => begun.length === 2, 'two running tasks');
    const before = performance.now();
    await worker.stop('warm', { graceMs: 100 });
    expect(performance.now() - before).toBeLessThan(STOP_MS);
    expect(await bench.size()).toBe(2);
    const backend = await bench.app.requireBackend('test');
    expect(await backend.load([a.id, b.id])).toEqual([undefined, undefined]);
  });

  test('a task that ends well when told to is done, not returned', async () => {
    const bench = openBench();
    const begun = gate();
    const careful = bench.app.task('careful', { bind: true }, (task) => {
      begun.open();
      return new Promise<string>((resolve) => task.signal.addEventListener('abort', () => resolve('saved')));
    });
    const worker = await bench.worker();
    const result = await careful.delay();
    await within(begun.opened, 'the start');
    await worker.stop('cold');
    expect(await result.get({ timeout: 25 })).toBe('saved');
    expect(await bench.size()).toBe(0);
  });

  test('a second stop shortens the grace', async () => {
    const bench = openBench();
    const begun = gate();
    const deaf = bench.app.task('deaf', () => {
      begun.open();
      return new Promise<never>(() => {});
    });
    const worker = await bench.worker();
    await deaf.delay();
    await within(begun.opened, 'the start');
    const stopped = worker.stop('warm', { graceMs: 60_000 });
    const before = performance.now();
    void worker.stop('cold');
    await within(stopped, 'the stop', STOP_MS);
    expect(performance.now() - before).toBeLessThan(STOP_MS);
  });

  test('stopping twice, and stopping an idle worker, is fine and quick', async () => {
    const bench = openBench();
    const worker = await bench.worker();
    const before = performance.now();
    await Promise.all([worker.stop(), worker.stop('cold'), worker.stop('soft')]);
    await worker.stop();
    expect(performance.now() - before).toBeLessThan(STOP_MS);
  });
});
