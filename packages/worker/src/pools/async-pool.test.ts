import { describe, expect, test } from 'vitest';
import { currentTask, type AnyTask, type TaskContext } from '@lovage/core';
import { ManualClock } from '../../test/support/manual-clock.ts';
import type { RunContext } from '../request/context.ts';
import { AsyncPool } from './async-pool.ts';
import type { PoolJob } from './pool.ts';

function job(run: (context: TaskContext) => unknown, limits: { softLimitMs?: number; hardLimitMs?: number } = {}) {
  const events: unknown[] = [];
  const context = { name: 'context' } as unknown as RunContext;
  const value: PoolJob = {
    task: { app: { wrappers: [] }, hooks: {}, run: () => run(context) } as unknown as AnyTask,
    context,
    args: [],
    kwargs: {},
    usesResult: true,
    softLimitMs: limits.softLimitMs,
    hardLimitMs: limits.hardLimitMs,
    abort: (reason) => void events.push(['abort', reason.name]),
    started: (pid) => expect(pid).toBe(process.pid),
    returned: (result) => void events.push(['returned', result]),
    threw: (error) => void events.push(['threw', error]),
    timedOut: () => void events.push(['timedOut']),
    lost: () => void events.push(['lost']),
  };
  return { value, events, context };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('AsyncPool', () => {
  test('a synchronous function ends before execute returns', () => {
    const pool = new AsyncPool(1, new ManualClock());
    const one = job(() => 7);
    pool.execute(one.value);
    expect(one.events).toEqual([['returned', 7]]);
    const two = job(() => {
      throw new Error('no');
    });
    pool.execute(two.value);
    expect(two.events).toEqual([['threw', expect.any(Error)]]);
    expect(pool.free).toBe(1);
  });

  test('a result that cannot be asked whether it is a promise is a failure of its task', () => {
    const pool = new AsyncPool(1, new ManualClock());
    const one = job(() => ({
      // oxlint-disable-next-line unicorn/no-thenable
      get then() {
        throw new Error('no');
      },
    }));
    pool.execute(one.value);
    expect(one.events).toEqual([['threw', expect.any(Error)]]);
    expect(pool.free).toBe(1);
  });

  test('the function has its context, what follows it has not', async () => {
    const pool = new AsyncPool(1, new ManualClock());
    const seen: unknown[] = [];
    const one = job(async () => {
      await turn();
      seen.push(currentTask.getStore());
    });
    let after: unknown = 'not called';
    const { promise, resolve } = settled();
    pool.execute({
      ...one.value,
      returned: () => {
        after = currentTask.getStore();
        resolve();
      },
    });
    await promise;
    expect(seen).toEqual([one.context]);
    expect(after).toBeUndefined();
  });

  test('soft, then hard limit; the slot is free and what comes later is dropped', async () => {
    const clock = new ManualClock();
    const pool = new AsyncPool(1, clock);
    const { promise, resolve } = settled();
    const one = job(() => promise, { softLimitMs: 1000, hardLimitMs: 3000 });
    pool.execute(one.value);
    clock.advance(999);
    expect(one.events).toEqual([]);
    clock.advance(1);
    expect(one.events).toEqual([['abort', 'SoftTimeLimitExceeded']]);
    expect(pool.free).toBe(0);
    clock.jump(86_400_000);
    clock.advance(1999);
    expect(one.events.length).toBe(1);
    clock.advance(1);
    expect(one.events[1]).toEqual(['timedOut']);
    expect(pool.free).toBe(1);
    resolve();
    await turn();
    expect(one.events.length).toBe(2);
  });

  test('a function that ends in time leaves no timer behind', async () => {
    const clock = new ManualClock();
    const pool = new AsyncPool(2, clock);
    const one = job(() => 1, { softLimitMs: 10, hardLimitMs: 20 });
    pool.execute(one.value);
    expect(clock.timers).toBe(0);
    clock.advance(100);
    expect(one.events).toEqual([['returned', 1]]);
  });

  test('an abandoned job is told nothing more', async () => {
    const pool = new AsyncPool(1, new ManualClock());
    const { promise, resolve } = settled();
    const one = job(() => promise);
    pool.execute(one.value);
    pool.abandon(one.value);
    expect(pool.free).toBe(1);
    resolve();
    await turn();
    expect(one.events).toEqual([]);
  });
});

function settled(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((onResolve) => {
    resolve = onResolve;
  });
  return { promise, resolve };
}
