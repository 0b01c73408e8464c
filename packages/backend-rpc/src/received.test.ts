import type { TaskMeta } from '@lovage/core/backend';
import { expect, test } from 'vitest';
import { ReceivedStates } from './received.ts';

function meta(taskId: string, status: string, result: unknown = null): TaskMeta {
  return { task_id: taskId, status, result, traceback: null, children: [], date_done: null };
}

test('keeps the latest state, and a final one against what comes late or twice', () => {
  const states = new ReceivedStates(1000);
  const heard: string[] = [];
  states.subscribe(['a'], ({ status }) => heard.push(status));
  for (const status of ['STARTED', 'RETRY', 'STARTED', 'SUCCESS', 'STARTED', 'FAILURE', 'SUCCESS'])
    states.receive(meta('a', status));
  expect(states.get('a')?.status).toBe('SUCCESS');
  expect(heard).toEqual(['STARTED', 'RETRY', 'STARTED', 'SUCCESS']);
  for (const status of ['FAILURE', 'RETRY', 'SUCCESS']) states.receive(meta('b', status));
  expect(states.get('b')?.status).toBe('SUCCESS');
});

test('forgets after its time, and the oldest beyond ten thousand', () => {
  let now = 0;
  const states = new ReceivedStates(1000, () => now);
  states.receive(meta('old', 'SUCCESS'));
  now = 999;
  expect(states.get('old')).toBeDefined();
  states.receive(meta('new', 'SUCCESS'));
  now = 1000;
  states.cleanup();
  expect(states.get('old')).toBeUndefined();
  expect(states.get('new')).toBeDefined();
  for (let index = 0; index < 10_000; index++) states.receive(meta(String(index), 'SUCCESS'));
  expect(states.get('new')).toBeUndefined();
  expect(states.get('0')).toBeDefined();
  states.forget(['0']);
  expect(states.get('0')).toBeUndefined();
});

test('calls each listener as often as it subscribed, until it unsubscribes, also from within', () => {
  const states = new ReceivedStates(1000);
  const heard: string[] = [];
  const listener = ({ status }: TaskMeta): void => {
    heard.push(status);
  };
  const first = states.subscribe(['a', 'b'], listener);
  const second = states.subscribe(['a'], listener);
  const once = states.subscribe(['a'], () => once.unsubscribe());
  states.receive(meta('a', 'STARTED'));
  expect(heard).toEqual(['STARTED', 'STARTED']);
  first.unsubscribe();
  states.receive(meta('a', 'RETRY'));
  states.receive(meta('b', 'RETRY'));
  second.unsubscribe();
  second.unsubscribe();
  states.receive(meta('a', 'SUCCESS'));
  expect(heard).toEqual(['STARTED', 'STARTED', 'RETRY']);
});
