import { expect, test } from 'vitest';
import { renderProgress } from './progress.ts';

test.each([
  [{ done: 0, total: 100 }, 0, /^\u2591{30} {3}0 % {2}0 of 100 {2}0\/s$/],
  [{ done: 2500, total: 10_000 }, 5000, /^\u2588{8}\u2591{22} {2}25 % {2}2,500 of 10,000 {2}500\/s {2}15 s left$/],
  [{ done: 100, total: 100 }, 1000, /^\u2588{30} 100 % {2}100 of 100 {2}100\/s$/],
  [{ done: 10, total: 100_000 }, 1000, /2 h 46 min left$/],
  [{ done: 7, total: undefined }, 1000, /^7 {2}7\/s$/],
])('%j after %i ms', (progress, elapsedMs, line) => {
  expect(renderProgress(progress, elapsedMs)).toMatch(line);
});
