import { expect, test } from 'vitest';
import { silentLogger } from '../internal/log.ts';
import type { TaskMeta } from '../protocol/task-meta.ts';
import { ResultPoll } from './poll.ts';

function bench() {
  const kept = new Map<string, TaskMeta>();
  const delays: number[] = [];
  const asked: string[][] = [];
  let fails = false;
  let time = 0;
  let readMs = 0;
  let due: (() => void) | undefined;
  const poll = new ResultPoll({
    logger: silentLogger,
    load: async (taskIds) => {
      asked.push([...taskIds]);
      time += readMs;
      if (fails) throw new Error('away');
      return taskIds.map((taskId) => kept.get(taskId));
    },
    now: () => time,
    after: (ms, callback) => {
      delays.push(ms);
      due = callback;
      return () => {
        if (due === callback) due = undefined;
      };
    },
  });
  return {
    poll,
    delays,
    asked,
    isWaiting: () => due !== undefined,
    set: (task_id: string, status: string, result: unknown = null) =>
      void kept.set(task_id, { task_id, status, result, traceback: null, children: [], date_done: null }),
    slow: (ms: number) => {
      readMs = ms;
    },
    fail: (value: boolean) => {
      fails = value;
    },
    tick: async () => {
      const callback = due;
      due = undefined;
      callback?.();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

test('reads less and less often, and soon again after a change or a new subscription', async () => {
  const { poll, delays, tick, set } = bench();
  poll.subscribe(['1'], () => {});
  for (let index = 0; index < 9; index++) await tick();
  expect(delays).toEqual([5, 10, 20, 40, 80, 160, 320, 500, 500, 500]);
  set('1', 'STARTED');
  await tick();
  expect(delays.at(-1)).toBe(5);
  await tick();
  await tick();
  poll.subscribe(['2'], () => {});
  expect(delays.slice(-3)).toEqual([10, 20, 5]);
});

test('pauses for as long as reading took, up to the longest pause', async () => {
  const { poll, delays, tick, set, slow } = bench();
  poll.subscribe(['1'], () => {});
  slow(120);
  set('1', 'STARTED');
  await tick();
  await tick();
  slow(2000);
  await tick();
  expect(delays).toEqual([5, 120, 240, 500]);
});

test('tells changes, each once, and reads what is final no more', async () => {
  const { poll, asked, tick, set, isWaiting } = bench();
  const seen: string[] = [];
  set('1', 'SUCCESS');
  poll.subscribe(['1', '2'], ({ task_id, status, result }) => void seen.push(`${task_id}:${status}:${String(result)}`));
  await tick();
  set('2', 'PROGRESS', 1);
  await tick();
  await tick();
  set('2', 'PROGRESS', 2);
  await tick();
  set('2', 'SUCCESS', 3);
  await tick();
  expect(seen).toEqual(['1:SUCCESS:null', '2:PROGRESS:1', '2:PROGRESS:2', '2:SUCCESS:3']);
  expect(asked[0]).toEqual(['1', '2']);
  expect(asked.at(-1)).toEqual(['2']);
  expect(isWaiting()).toBe(false);
});

test('several listeners, one of which throws, and the end of the last one stops the timer', async () => {
  const { poll, tick, set, isWaiting } = bench();
  const seen: string[] = [];
  const first = poll.subscribe(['1'], () => {
    throw new Error('listener');
  });
  const second = poll.subscribe(['1'], ({ status }) => void seen.push(status));
  set('1', 'STARTED');
  await tick();
  expect(seen).toEqual(['STARTED']);
  first.unsubscribe();
  expect(isWaiting()).toBe(true);
  second.unsubscribe();
  second.unsubscribe();
  expect(isWaiting()).toBe(false);
});

test('a store that is away is asked again', async () => {
  const { poll, tick, set, fail, isWaiting } = bench();
  const seen: string[] = [];
  poll.subscribe(['1'], ({ status }) => void seen.push(status));
  fail(true);
  await tick();
  expect(isWaiting()).toBe(true);
  fail(false);
  set('1', 'FAILURE');
  await tick();
  expect(seen).toEqual(['FAILURE']);
  poll.close();
  expect(isWaiting()).toBe(false);
});
