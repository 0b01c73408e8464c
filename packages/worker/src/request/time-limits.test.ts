import { expect, test } from 'vitest';
import { Lovage } from '@lovage/core';
import type { TaskRequest } from '@lovage/core/protocol';
import { TimeLimits } from './time-limits.ts';

const call = (hard?: number, soft?: number): TaskRequest => ({ timeLimit: [hard, soft] }) as unknown as TaskRequest;

test('a call, then what was set while running, then the task, then the settings', () => {
  const app = new Lovage('limits', { broker: 'memory://', taskTimeLimit: 100 });
  const plain = app.task('plain', () => 1);
  const own = app.task('own', { timeLimit: 20, softTimeLimit: 10 }, () => 1);
  const limits = new TimeLimits();
  expect(limits.of(call(), plain)).toEqual({ hardMs: 100_000, softMs: undefined });
  expect(limits.of(call(), own)).toEqual({ hardMs: 20_000, softMs: 10_000 });
  limits.set('plain', { hard: 7, soft: 3 });
  limits.set('own', { hard: 8 });
  expect(limits.of(call(), plain)).toEqual({ hardMs: 7000, softMs: 3000 });
  expect(limits.of(call(5), plain)).toEqual({ hardMs: 5000, softMs: 3000 });
  // A sender that knows the task has written the task's own limits into the message.
  expect(limits.of(call(20, 10), own)).toEqual({ hardMs: 8000, softMs: undefined });
  expect(limits.of(call(5, 2), own)).toEqual({ hardMs: 5000, softMs: 2000 });
});
