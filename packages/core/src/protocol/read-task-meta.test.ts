import { expect, test } from 'vitest';
import { isLovageError } from '../errors.ts';
import { readTaskMeta } from './read-task-meta.ts';

test.each([
  ['aware', '2026-01-31T12:00:00.123456+00:00', '2026-01-31T12:00:00.123456+00:00'],
  ['naive, of Celery 5.2', '2026-01-31T12:00:00.123456', '2026-01-31T12:00:00.123456'],
  ['a date', new Date(0), '1970-01-01T00:00:00+00:00'],
  ['garbage', 'yesterday', null],
  ['absent', undefined, null],
])('date_done: %s', (_, date_done, expected) => {
  const meta = readTaskMeta(
    { status: 'SUCCESS', result: 4, traceback: null, children: [], date_done, stamp: 'kept' },
    'a',
  );
  expect(meta).toEqual({
    status: 'SUCCESS',
    result: 4,
    traceback: null,
    children: [],
    date_done: expected,
    task_id: 'a',
    stamp: 'kept',
  });
});

test('what is absent is null', () => {
  expect(readTaskMeta({ status: 'STARTED' }, 'a')).toEqual({
    status: 'STARTED',
    result: null,
    traceback: null,
    children: null,
    date_done: null,
    task_id: 'a',
  });
});

test.each([[null], [5], ['x'], [[]], [{}], [{ status: 5 }]])('%j is none', (value) => {
  expect(() => readTaskMeta(value, 'a')).toThrow(
    expect.toSatisfy((error: unknown) => isLovageError(error, 'ERR_DECODE')),
  );
});
