import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { anySignal } from './any-signal.ts';

test('the first signal that fires gives its reason, also one that has fired already', () => {
  const [one, other] = [new AbortController(), new AbortController()];
  const { signal } = anySignal([undefined, one.signal, other.signal]);
  expect(signal.aborted).toBe(false);
  other.abort('other');
  one.abort('one');
  expect(signal.reason).toBe('other');
  expect(anySignal([new AbortController().signal, one.signal]).signal.reason).toBe('one');
});

test('nothing is left on a signal that is released', () => {
  const { signal } = new AbortController();
  const works = [anySignal([signal]), anySignal([signal])];
  expect(getEventListeners(signal, 'abort')).toHaveLength(2);
  for (const work of works) work.release();
  expect(getEventListeners(signal, 'abort')).toHaveLength(0);
});
