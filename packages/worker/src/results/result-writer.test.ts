import { describe, expect, test } from 'vitest';
import { ConnectionLostError, EncodeError, type Logger } from '@lovage/core';
import type { ResultBackend, ResultWrite } from '@lovage/core/backend';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { ResultWriter } from './result-writer.ts';

/** What is written in one turn of the event loop is sent in the next. */
const turn = async () => {
  for (let times = 0; times < 2; times++) await new Promise<void>((resolve) => setImmediate(resolve));
};
const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };
const write = (id: string): ResultWrite => ({
  meta: { status: 'SUCCESS', result: 1, traceback: null, children: [], date_done: null, task_id: id },
});

function setUp(store: (ids: readonly string[], call: number) => Promise<void>) {
  const calls: string[][] = [];
  const clock = new ManualClock();
  const backend = {
    store: (writes: readonly ResultWrite[]) => {
      const ids = writes.map(({ meta }) => meta.task_id);
      calls.push(ids);
      return store(ids, calls.length);
    },
  } as unknown as ResultBackend;
  const writer = new ResultWriter({
    open: async () => backend,
    clock,
    random: () => 1,
    logger: silentLogger,
    deadlineMs: 10_000,
  });
  const outcomes = new Map<string, unknown>();
  const put = (...ids: string[]) => {
    for (const id of ids) writer.write(write(id), (error) => outcomes.set(id, error ?? 'kept'));
  };
  return { writer, calls, clock, put, outcomes };
}

describe('ResultWriter', () => {
  test('writes of one turn are one batch', async () => {
    const { writer, calls, put, outcomes } = setUp(async () => {});
    put('a', 'b', 'c');
    await writer.drained();
    expect(calls).toEqual([['a', 'b', 'c']]);
    expect([...outcomes.values()]).toEqual(['kept', 'kept', 'kept']);
  });

  test('what may linger goes with what may not, or a moment later', async () => {
    const { writer, calls, clock, outcomes } = setUp(async () => {});
    const linger = (id: string): void => writer.write(write(id), () => outcomes.set(id, 'kept'), true);
    linger('a');
    await turn();
    linger('b');
    await turn();
    expect(calls).toEqual([]);
    writer.write(write('c'), () => outcomes.set('c', 'kept'));
    await turn();
    expect(calls).toEqual([['a', 'b', 'c']]);
    linger('d');
    clock.advance(5);
    // Whatever has landed meanwhile.
    linger('e');
    await turn();
    expect(calls).toEqual([['a', 'b', 'c'], ['d']]);
    expect(outcomes.has('d')).toBe(true);
    await writer.drained();
    expect([...outcomes.keys()]).toEqual(['a', 'b', 'c', 'd', 'e']);
    linger('f');
    writer.stop(new Error('over'));
    clock.advance(5);
    await turn();
    expect(calls).toHaveLength(3);
  });

  test('what goes wrong behind one write is no failure of it, nor of the others', async () => {
    const { writer, calls, put, outcomes } = setUp(async () => {});
    const told: unknown[] = [];
    writer.write(write('a'), (error) => {
      told.push(error);
      throw new Error('behind it');
    });
    put('b');
    await writer.drained();
    expect(calls).toEqual([['a', 'b']]);
    expect(told).toEqual([undefined]);
    expect(outcomes.get('b')).toBe('kept');
  });

  test('one bad write does not hurt the others of its batch', async () => {
    const bad = new EncodeError('no');
    const { writer, put, outcomes } = setUp(async (ids) => {
      if (ids.includes('b')) throw bad;
    });
    put('a', 'b', 'c');
    await writer.drained();
    expect(outcomes).toEqual(
      new Map<string, unknown>([
        ['a', 'kept'],
        ['b', bad],
        ['c', 'kept'],
      ]),
    );
  });

  test('a store that is away is tried again with growing pauses', async () => {
    const { writer, put, outcomes, clock, calls } = setUp(async (_, call) => {
      if (call <= 3) throw new ConnectionLostError('gone');
    });
    put('a');
    for (const pauseMs of [100, 200, 400]) {
      const before = calls.length;
      while (calls.length === before || clock.timers === 0) await turn();
      expect(outcomes.size).toBe(0);
      clock.advance(pauseMs - 1);
      await turn();
      expect(calls.length).toBe(before + 1);
      clock.advance(1);
    }
    await writer.drained();
    expect(outcomes.get('a')).toBe('kept');
    expect(calls.length).toBe(4);
  });

  test('gives up at the deadline', async () => {
    const gone = new ConnectionLostError('gone');
    const { writer, put, outcomes, clock } = setUp(() => Promise.reject(gone));
    put('a');
    const end = writer.drained();
    while (!writer.isIdle) {
      clock.advance(1000);
      await turn();
    }
    await end;
    expect(outcomes.get('a')).toBe(gone);
    expect(clock.monotonic()).toBeGreaterThanOrEqual(10_000);
    expect(clock.monotonic()).toBeLessThan(20_000);
  });

  test('a slow store gets larger batches, not more of them', async () => {
    const waiting: (() => void)[] = [];
    const { writer, put, calls } = setUp(() => new Promise<void>((resolve) => waiting.push(resolve)));
    for (let n = 0; n < 10; n++) {
      put(`${n}`);
      await turn();
    }
    expect(calls.length).toBe(4);
    waiting.shift()?.();
    while (calls.length < 5) await turn();
    expect(calls[4]).toEqual(['4', '5', '6', '7', '8', '9']);
    for (const resolve of waiting) resolve();
    await writer.drained();
  });

  test('stop tells everybody who waits', async () => {
    const { writer, put, outcomes, clock } = setUp(() => Promise.reject(new ConnectionLostError('gone')));
    put('a');
    while (clock.timers === 0) await turn();
    writer.stop('over');
    put('b');
    await writer.drained();
    expect(outcomes).toEqual(
      new Map([
        ['b', 'over'],
        ['a', 'over'],
      ]),
    );
  });
});
