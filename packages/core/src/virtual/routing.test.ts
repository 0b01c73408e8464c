import { describe, expect, test } from 'vitest';
import { isRouted, matchesTopic, topicPattern } from './routing.ts';

describe('topicPattern writes the text that Kombu stores', () => {
  test.each([
    ['a.*.#', '^a\\..*?[^\\.]\\..*?$'],
    ['#', '^.*?$'],
    ['*', '^.*?[^\\.]$'],
    ['worker.#', '^worker\\..*?$'],
    ['task.multi', '^task\\.multi$'],
    ['a-b_c.d e', '^a\\-b\\_c\\.d\\ e$'],
    ['', '^$'],
    ['größe.#', '^größe\\..*?$'],
    ['a\0b', '^a\\000b$'],
    ['a$b^(c)', '^a\\$b\\^\\(c\\)$'],
    ['ab*.c#', '^ab*\\.c#$'],
  ])('%j', (key, pattern) => expect(topicPattern(key)).toBe(pattern));
});

const keys = [
  '',
  'a',
  'b',
  'a.',
  '.a',
  'a.b',
  'a.b.c',
  'a.b.x.c',
  'a..c',
  'a.b.c.d',
  'worker.heartbeat',
  'aaa.b',
  'ab',
  'abb',
];

describe('matchesTopic follows the stored expression', () => {
  test.each([
    ['a.*.c', 'a.b.x.c', true],
    ['a.#', 'a', false],
    ['a.#', 'a.', true],
    ['a.#', 'a.b.c', true],
    ['a.*.#', 'a.b', false],
    ['a.*.#', 'a.b.', true],
    ['*', 'a.b', true],
    ['*', 'a.', false],
    ['*', '', false],
    ['#', '', true],
    ['a.b', 'a.b', true],
    ['a.b', 'a.c', false],
    ['#.c', 'a.b.c', true],
    ['#.c', 'c', false],
  ])('%j and %j: %j', (bindingKey, routingKey, expected) =>
    expect(matchesTopic(bindingKey, routingKey)).toBe(expected),
  );

  test.each(['a.*.c', 'a.#', '#.c', '*.*', '#', '*', '#.#', 'ab*', 'a*.b', 'worker.#', 'a.*.#'])(
    'agrees with the regular expression of %j',
    (bindingKey) => {
      const expression = new RegExp(topicPattern(bindingKey), 's');
      for (const key of keys) expect([key, matchesTopic(bindingKey, key)]).toEqual([key, expression.test(key)]);
    },
  );

  test('takes time in proportion to the lengths, whatever the key', () => {
    const started = performance.now();
    expect(matchesTopic(Array(60).fill('#').join('.'), 'a.'.repeat(5000))).toBe(true);
    expect(matchesTopic(`${Array(60).fill('*').join('.')}.z`, 'a.'.repeat(5000))).toBe(false);
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

test('isRouted', () => {
  expect(isRouted('fanout', 'x', 'y')).toBe(true);
  expect(isRouted('direct', 'x', 'x')).toBe(true);
  expect(isRouted('direct', 'x', 'y')).toBe(false);
  expect(isRouted('direct', '#', 'y')).toBe(false);
  expect(isRouted('topic', '#', 'y')).toBe(true);
});
