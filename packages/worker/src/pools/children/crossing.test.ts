import { expect, test } from 'vitest';
import { receiveResult, sendResult } from './crossing.ts';

test.each([
  [{ __type__: 'x', __value__: 1 }],
  [{ deep: [{ __type__: 'datetime', __value__: 'no time' }] }],
  [{ __type__: 'uuid', __value__: { hex: 'no hex' } }],
  [{ __type__: { __type__: 'bytes' }, __value__: null }],
])('%j, which only looks like a tagged value, crosses as it is', (value) => {
  expect(receiveResult(sendResult(value))).toEqual(value);
});

test('a value of one of the tagged types keeps it', () => {
  const value = [new Date(5), { bytes: Buffer.from([1, 255]) }, 2n ** 70n];
  expect(receiveResult(sendResult(value))).toEqual(value);
});
