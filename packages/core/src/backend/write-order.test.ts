import { expect, test } from 'vitest';
import type { KeyValueWrite } from './key-value-store.ts';
import { WriteOrder } from './write-order.ts';

const write = (key: string, value: string): KeyValueWrite => ({ key, value, ttlSeconds: undefined });

/** Writes that end when the test says so. */
function openStore() {
  const begun: string[] = [];
  const ends: ((outcomes?: readonly (Error | undefined)[]) => void)[] = [];
  const work = (writes: readonly KeyValueWrite[]): Promise<readonly (Error | undefined)[]> => {
    begun.push(writes.map(({ key, value }) => `${key}${String(value)}`).join(' '));
    return new Promise((resolve) => {
      ends.push((outcomes) => resolve(outcomes ?? writes.map(() => undefined)));
    });
  };
  const end = async (outcomes?: readonly (Error | undefined)[]): Promise<void> => {
    ends.shift()?.(outcomes);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { begun, end, work, order: new WriteOrder() };
}

test('a key that is in a batch twice is written in two rounds, and each write has its own outcome', async () => {
  const { begun, end, work, order } = openStore();
  const batch = order.run([write('a', '1'), write('b', '1'), write('a', '2')], work);
  const [first, second] = [new Error('first'), new Error('second')];
  await end([undefined, first]);
  await end([second]);
  expect(await batch).toEqual([undefined, first, second]);
  expect(begun).toEqual(['a1 b1', 'a2']);
});

test('a batch waits for an earlier one with the same key, and for no other, however that one ends', async () => {
  const { begun, end, work, order } = openStore();
  const failing = order.run([write('a', '1')], () => Promise.reject(new Error('lost')));
  void order.run([write('b', '1')], work);
  const third = order.run([write('b', '2'), write('a', '2')], work);
  await expect(failing).rejects.toThrow('lost');
  expect(begun).toEqual(['b1']);
  await end();
  expect(begun).toEqual(['b1', 'b2 a2']);
  await end();
  await third;
  await order.idle();
});
