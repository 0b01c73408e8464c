import { expect, test } from 'vitest';
import { isAtLeast } from './version.ts';

test.each([
  ['2.11.0', true],
  ['2.11.3-RC.1', true],
  ['3.0.0', true],
  ['2.10.29', false],
  ['2.9', false],
])('%s is 2.11 or later: %s', (version, isLater) => {
  expect(isAtLeast(version, [2, 11, 0])).toBe(isLater);
});
