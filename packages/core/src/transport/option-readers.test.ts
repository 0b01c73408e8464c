import { expect, test } from 'vitest';
import { boolean, integer, nonEmptyText, oneOf, readOptions, seconds, text, withoutEffect } from './option-readers.ts';

const READERS = {
  waitTime: seconds(1),
  count: integer(0, 5),
  flag: boolean,
  kind: oneOf('a', 'b'),
  name: text,
  pool: withoutEffect,
};
const read = (given: Record<string, unknown>) => readOptions(given, READERS, 'The test');

test('both spellings, text of URLs, and nothing for null', () => {
  expect(read({ wait_time: '1.5', count: '3', flag: 'false', kind: 'b', name: '', pool: 10 })).toEqual({
    waitTime: 1500,
    count: 3,
    flag: false,
    kind: 'b',
    name: '',
    pool: undefined,
  });
  expect(read({ waitTime: null, count: undefined })).toEqual({});
});

test.each([
  [{ waitTime: 0.5 }, /"waitTime" is 0.5. Expected seconds, at least 1/],
  [{ waitTime: '' }, /Expected seconds/],
  [{ count: 6 }, /Expected an integer from 0 to 5/],
  [{ count: 1.5 }, /Expected an integer/],
  [{ flag: 'perhaps' }, /Expected true or false/],
  [{ kind: 'c' }, /Expected one of: a, b/],
  [{ name: 1 }, /"name" is a number. Expected text/],
  [{ wait_time: 1, waitTime: 1 }, /twice/],
  [{ wait_tme: 1 }, /no option "wait_tme"\. Did you mean "wait_time"\?/],
  [{ constructor: 1 }, /no option "constructor"/],
])('%j is refused', (given, message) => {
  expect(() => read(given)).toThrow(message);
});

test('a secret of the wrong type is not shown', () => {
  const readers = { password: text, token: nonEmptyText };
  for (const given of [{ password: 4711 }, { password: ['4711'] }, { token: { is: 4711 } }]) {
    expect(() => readOptions(given, readers, 'The test')).toThrow(/^(?!.*4711).*Expected text/);
  }
});
