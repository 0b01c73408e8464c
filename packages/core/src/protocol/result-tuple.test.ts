import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { isLovageError } from '../errors.ts';
import { fromResultTuple, toResultTuple, type ResultTuple } from './result-tuple.ts';

const golden = JSON.parse(readFileSync(new URL('golden/celery-5.6.3.test.json', import.meta.url), 'utf8')) as {
  tuples: ResultTuple[];
};

test.each(golden.tuples.map((tuple) => [tuple]))('%j as Celery writes it', (tuple) => {
  expect(toResultTuple(fromResultTuple(tuple))).toEqual(tuple);
});

test('a bare id, and a parent that is none', () => {
  expect(fromResultTuple(['a', null])).toEqual({ id: 'a', parent: null, children: null });
  expect(fromResultTuple([['a', []], []])).toEqual({ id: 'a', parent: null, children: [] });
});

test.each([[null], ['a'], [[]], [['a']], [[1, null]], [[['a'], 5]], [[[{}, null], null]], [{}]])(
  '%j is none',
  (tuple) => {
    expect(() => fromResultTuple(tuple)).toThrow(
      expect.toSatisfy((error: unknown) => isLovageError(error, 'ERR_DECODE')),
    );
  },
);
