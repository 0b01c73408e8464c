import { expect, test } from 'vitest';
import type { TaskAnnotations } from './annotations.ts';
import { Lovage } from './lovage.ts';
import type { AnyTask } from './task.ts';

function tasksOf(taskAnnotations: TaskAnnotations): readonly [AnyTask, AnyTask] {
  const app = new Lovage('a', { broker: 'memory://', taskAnnotations });
  const a = app.task('t.a', { rateLimit: '9/s', priority: 1, onFailure: () => 'own' }, () => 1);
  return [a, app.task('t.b', { rateLimit: '9/s', timeLimit: 5 }, () => 1)];
}

// The values are those that Celery 5.6.3 gives for the same settings.
test('are over what the task was given, and "*" over a name', () => {
  const [a, b] = tasksOf({
    '*': { rate_limit: '1/s', max_retries: 7 },
    't.a': { rate_limit: '2/s', acks_late: false },
  });
  expect(a.options).toMatchObject({ rateLimit: '1/s', maxRetries: 7, acksLate: false });
  expect(b.options).toMatchObject({ rateLimit: '1/s', maxRetries: 7, acksLate: true, timeLimit: 5 });
});

test('of several the first that knows the task is taken', () => {
  const [a, b] = tasksOf([
    { 't.a': { rateLimit: '2/s' } },
    { 't.a': { rateLimit: '3/s', maxRetries: 1 } },
    { '*': { priority: 3 } },
  ]);
  expect(a.options).toMatchObject({ rateLimit: '2/s', maxRetries: 3 });
  expect([a.callOptions, b.callOptions]).toEqual([{ priority: 3 }, { priority: 3 }]);
});

test('an object decides by the task', () => {
  const [a, b] = tasksOf({
    annotate: ({ name }) => (name === 't.b' ? { time_limit: 60, queue: 'slow' } : null),
    annotateAny: () => ({ ignoreResult: true }),
  });
  expect(a.options).toMatchObject({ timeLimit: undefined, ignoreResult: true });
  expect(b.options).toMatchObject({ timeLimit: 60, ignoreResult: true });
  expect(b.callOptions).toEqual({ queue: 'slow', ignoreResult: true });
});

test('null takes a limit away; handlers are replaced; what a caller says still wins', async () => {
  const app = new Lovage('a', {
    broker: 'memory://',
    taskAnnotations: { 't.a': { rate_limit: null, on_failure: () => 'annotated', time_limit: 8 } },
  });
  const a = app.task('t.a', { rateLimit: '9/s', onFailure: () => 'own' }, () => 1);
  expect(a.options.rateLimit).toBeNull();
  expect(a.hooks.onFailure?.(undefined, '', [], {}, {} as never)).toBe('annotated');
  expect(a.declared.rateLimit).toBe('9/s');
});
