import { expect, test } from 'vitest';
import { Window } from './window.ts';

test('who does not fit waits, and enters in the order of the calls', async () => {
  const window = new Window(10, 100);
  const entered: string[] = [];
  const enter = (name: string, count: number, bytes: number) =>
    window.enter(count, bytes).then(() => entered.push(name));
  await enter('a', 6, 10);
  const rest = [enter('b', 6, 10), enter('c', 1, 10)];
  await Promise.resolve();
  expect(entered).toEqual(['a']);
  window.leave(6, 10);
  await Promise.all(rest);
  expect(entered).toEqual(['a', 'b', 'c']);
});

test('bytes count as well, and what is larger than the window goes alone', async () => {
  const window = new Window(10, 100);
  await window.enter(1, 1000);
  let isIn = false;
  const second = window.enter(1, 1).then(() => {
    isIn = true;
  });
  await Promise.resolve();
  expect(isIn).toBe(false);
  window.leave(1, 1000);
  await second;
});
