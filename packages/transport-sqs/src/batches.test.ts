import { expect, test } from 'vitest';
import { batchesOf, Joiner } from './batches.ts';

test('batches have at most ten entries and so many bytes; a larger entry goes alone', () => {
  const sizes = [4, 4, 4, 20, 1, ...Array.from({ length: 11 }, () => 0)];
  expect(batchesOf(sizes, (size) => size, 10)).toEqual([
    [4, 4],
    [4],
    [20],
    [1, ...Array.from({ length: 9 }, () => 0)],
    [0, 0],
  ]);
  expect(batchesOf([])).toEqual([]);
});

test('a joiner sends the first at once, and full batches while one is under way', async () => {
  const sent: number[][] = [];
  const ends: (() => void)[] = [];
  const joiner = new Joiner<number>((items) => {
    sent.push([...items]);
    return new Promise((resolve) => ends.push(resolve));
  }, 2);
  const first = joiner.add(0);
  await Promise.resolve();
  expect(sent).toEqual([[0]]);
  const rest = Array.from({ length: 13 }, (_, index) => joiner.add(index + 1));
  await Promise.resolve();
  expect(sent).toEqual([[0], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]);
  ends[0]?.();
  await first;
  ends[1]?.();
  await rest[9];
  await expect.poll(() => sent.length).toBe(3);
  expect(sent[2]).toEqual([11, 12, 13]);
  ends[2]?.();
  await Promise.all(rest);
});

test('a joiner tells everyone of a batch that failed, and goes on', async () => {
  let isBroken = true;
  const joiner = new Joiner<number>(async () => {
    if (isBroken) throw new Error('broken');
  });
  const outcomes = await Promise.allSettled([joiner.add(1), joiner.add(2)]);
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  isBroken = false;
  await joiner.add(3);
});
