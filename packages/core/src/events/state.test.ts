import { expect, test } from 'vitest';
import type { ReceivedEvent } from './receiver.ts';
import { ClusterState } from './state.ts';

const NODE = 'celery@here';
let clock = 0;
const event = (type: string, fields: Record<string, unknown> = {}): ReceivedEvent => ({
  type,
  hostname: NODE,
  timestamp: 100,
  local_received: 100,
  clock: ++clock,
  ...fields,
});

test('a worker is alive for two heartbeats', () => {
  const state = new ClusterState();
  state.event(event('worker-heartbeat', { freq: 2 }));
  const worker = state.workers.get(NODE);
  expect(worker?.isAlive(103.9)).toBe(true);
  expect(worker?.isAlive(104)).toBe(false);
  expect(state.prune(104).map(({ hostname }) => hostname)).toEqual([NODE]);
  expect(state.workers.size).toBe(0);
});

test('an event that comes too late does not undo a state', () => {
  const state = new ClusterState();
  state.event(event('task-succeeded', { uuid: 'a', result: '5', runtime: 1 }));
  state.event(event('task-received', { uuid: 'a', name: 'add', args: '(2, 3)', result: 'nonsense' }));
  expect(state.tasks.get('a')).toMatchObject({ state: 'SUCCESS', name: 'add', args: '(2, 3)', result: '5' });
  state.event(event('task-retried', { uuid: 'b', exception: 'E()' }));
  state.event(event('task-received', { uuid: 'b', name: 'add' }));
  expect(state.tasks.get('b')?.state).toBe('RECEIVED');
  state.event(event('task-progress', { uuid: 'c' }));
  expect(state.tasks.get('c')?.state).toBe('PROGRESS');
});

test('memory is bounded: the least recently heard of goes', () => {
  const state = new ClusterState({ maxTasks: 2, maxWorkers: 2 });
  for (const uuid of ['a', 'b', 'a', 'c']) state.event(event('task-received', { uuid }));
  expect([...state.tasks.keys()]).toEqual(['a', 'c']);
  for (const hostname of ['x', 'y', 'z']) state.event(event('worker-online', { hostname }));
  expect([...state.workers.keys()]).toEqual(['y', 'z']);
  expect(state.tasksByTime(1).map(({ uuid }) => uuid)).toEqual(['c']);
});

test('events that are incomplete are no reason to fail', () => {
  const state = new ClusterState();
  state.event(event('task-received'));
  state.event(event('nonsense'));
  state.event(event('worker-heartbeat', { freq: 'often', loadavg: ['x'], sw_ident: 3 }));
  expect(state.tasks.size).toBe(0);
  expect(state.workers.get(NODE)).toMatchObject({ freq: 60, loadavg: [], software: undefined });
});
