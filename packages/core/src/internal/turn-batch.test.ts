import { expect, test } from 'vitest';
import { TurnBatch } from './turn-batch.ts';

function bench(options?: ConstructorParameters<typeof TurnBatch>[1]) {
  const flushed: string[][] = [];
  let fails = false;
  const batch = new TurnBatch<string>(async (items) => {
    flushed.push(items);
    if (fails) throw new Error('no');
  }, options);
  return {
    batch,
    flushed,
    fail: () => {
      fails = true;
    },
  };
}

test('what is added in a turn goes together, also from microtasks, and shares a promise', async () => {
  const { batch, flushed } = bench();
  const first = batch.add('1');
  expect(batch.add('2')).toBe(first);
  await Promise.resolve().then(() => void batch.add('3'));
  expect(flushed).toEqual([]);
  await first;
  await batch.add('4');
  expect(flushed).toEqual([['1', '2', '3'], ['4']]);
});

test('a bound hands on at once, and the rest begins anew', async () => {
  const byCount = bench({ maxItems: 2 });
  await Promise.all(['1', '2', '3'].map((item) => byCount.batch.add(item)));
  expect(byCount.flushed).toEqual([['1', '2'], ['3']]);
  const byWeight = bench({ maxWeight: 10 });
  await Promise.all(['1', '2', '3'].map((item) => byWeight.batch.add(item, 6)));
  expect(byWeight.flushed).toEqual([['1', '2'], ['3']]);
});

test('flush hands on now, once, and a failure reaches all who added', async () => {
  const { batch, flushed, fail } = bench();
  fail();
  const adding = [batch.add('1'), batch.add('2')];
  batch.flush();
  batch.flush();
  expect(flushed).toEqual([['1', '2']]);
  for (const add of adding) await expect(add).rejects.toThrow('no');
});
