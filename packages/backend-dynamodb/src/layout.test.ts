import { expect, test } from 'vitest';
import { hasExpired, idOf, timesOf } from './layout.ts';

test.each([
  ['celery-task-meta-0a1b', "b'celery-task-meta-0a1b'"],
  ["it's", `b"it's"`],
  [`it's "so"`, `b'it\\'s "so"'`],
  ['a\\b\t\n\r', "b'a\\\\b\\t\\n\\r'"],
  ['é\0', "b'\\xc3\\xa9\\x00'"],
])('%j is %s, as Python writes bytes', (key, id) => {
  expect(idOf(key)).toBe(id);
});

test('what has an end is gone after it, and not before', () => {
  expect(hasExpired(timesOf(undefined))).toBe(false);
  expect(hasExpired(timesOf(1))).toBe(false);
  expect(hasExpired(timesOf(-2))).toBe(true);
});
