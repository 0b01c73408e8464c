import { describe, expect, test } from 'vitest';
import type { Consumer } from '@lovage/core/transport';
import { PrefetchWindow } from './prefetch.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

function consumer() {
  const told: number[] = [];
  const waiting: (() => void)[] = [];
  const value: Consumer = {
    done: new Promise(() => {}),
    setPrefetch(count) {
      told.push(count);
      return new Promise<void>((resolve) => waiting.push(resolve));
    },
    cancel: async () => {},
  };
  return { value, told, answer: () => waiting.shift()?.() };
}

describe('PrefetchWindow', () => {
  test('grows by what is held, up to the limit, once a turn', async () => {
    const window = new PrefetchWindow({ base: 4, slots: 4 }, 3, (error) => expect.unreachable(String(error)));
    const { value, told } = consumer();
    expect(window.size).toBe(4);
    window.attach(value, [window.size, window.refill]);
    for (let held = 1; held <= 5; held++) window.setHeld(held);
    await turn();
    expect(told).toEqual([7]);
  });

  test('never has two changes under way, and ends with the last one', async () => {
    const window = new PrefetchWindow({ base: 4, slots: 4 }, 100, (error) => expect.unreachable(String(error)));
    const { value, told, answer } = consumer();
    window.attach(value, [window.size, window.refill]);
    window.setHeld(1);
    await turn();
    window.setHeld(2);
    window.setHeld(9);
    await turn();
    expect(told).toEqual([5]);
    answer();
    await turn();
    expect(told).toEqual([5, 13]);
    answer();
    await turn();
    expect(told).toEqual([5, 13]);
  });

  test('a change that failed is tried again', async () => {
    const errors: unknown[] = [];
    const window = new PrefetchWindow({ base: 4, slots: 4 }, 100, (error) => errors.push(error));
    const { value, told } = consumer();
    const failing: Consumer = { ...value, setPrefetch: (count) => (told.push(count), Promise.reject(new Error('no'))) };
    window.attach(failing, [window.size, window.refill]);
    window.setHeld(1);
    await turn();
    await turn();
    window.setHeld(1);
    await turn();
    expect(told).toEqual([5, 5]);
    expect(errors.length).toBeGreaterThan(0);
  });

  test('says nothing when nothing changed', async () => {
    const window = new PrefetchWindow({ base: 4, slots: 4 }, 100, (error) => expect.unreachable(String(error)));
    const { value, told } = consumer();
    window.attach(value, [window.size, window.refill]);
    window.setHeld(1);
    window.setHeld(0);
    await turn();
    expect(told).toEqual([]);
  });

  test('no base means no limit, and beyond 16 bits the limit is off', async () => {
    expect(new PrefetchWindow({ base: 0, slots: 0 }, 10, () => {}).size).toBe(0);
    const window = new PrefetchWindow({ base: 10, slots: 10 }, 100_000, () => {});
    window.setHeld(65_526);
    expect(window.size).toBe(0);
    window.setHeld(65_525);
    expect(window.size).toBe(65_535);
  });

  test('what was held before the consumer was known is told when it is', async () => {
    const window = new PrefetchWindow({ base: 4, slots: 4 }, 100, () => {});
    const { value, told } = consumer();
    window.setHeld(4);
    window.attach(value, [4, 1]);
    await turn();
    expect(told).toEqual([8]);
  });

  test('a new consumer starts with the window as it is then', async () => {
    const window = new PrefetchWindow({ base: 4, slots: 4 }, 100, () => {});
    const first = consumer();
    const second = consumer();
    window.attach(first.value, [4, 1]);
    window.setHeld(5);
    window.detach();
    await turn();
    window.setHeld(0);
    window.attach(second.value, [4, 1]);
    await turn();
    expect(first.told).toEqual([]);
    expect(second.told).toEqual([]);
  });

  test('refills by halves of what waits its turn, and by single messages where nothing does', () => {
    const refill = (base: number, slots: number) => new PrefetchWindow({ base, slots }, 10, () => {}).refill;
    expect([refill(2, 2), refill(4, 2), refill(8, 2), refill(400, 100), refill(0, 2)]).toEqual([1, 1, 3, 32, 1]);
  });

  test('messages that wait for their time beyond the limit leave no half to wait for', () => {
    const window = new PrefetchWindow({ base: 8, slots: 2 }, 10, () => {});
    window.setHeld(10);
    expect(window.refill).toBe(3);
    window.setHeld(11);
    expect(window.refill).toBe(1);
  });
});
