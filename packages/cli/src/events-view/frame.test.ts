import { stripVTControlCharacters } from 'node:util';
import { ClusterState, type ReceivedEvent } from '@lovage/core';
import { expect, test } from 'vitest';
import { drawFrame, type FrameOptions } from './frame.ts';

const event = (type: string, fields: Record<string, unknown>): ReceivedEvent => ({
  type,
  hostname: 'celery@here',
  timestamp: 100,
  local_received: 100,
  clock: 1,
  ...fields,
});

function fill(): ClusterState {
  const state = new ClusterState();
  state.event(event('worker-heartbeat', { freq: 2, active: 1, processed: 7, loadavg: [0.5], sw_ident: 'lovage' }));
  state.event(event('worker-heartbeat', { hostname: 'celery@gone', freq: 2, local_received: 90 }));
  state.event(event('task-received', { uuid: 'id-1', name: 'tasks.add', args: '(1, 2)', clock: 2 }));
  state.event(event('task-succeeded', { uuid: 'id-1', result: '\u001B[2J3', runtime: 0.5, clock: 3 }));
  state.event(event('task-received', { uuid: 'id-2', name: 'tasks.other\u001B[31m', clock: 4 }));
  return state;
}

const draw = (options: Partial<FrameOptions> = {}, state = fill()): string[] =>
  stripVTControlCharacters(
    drawFrame(state, {
      columns: 100,
      rows: 20,
      nowSeconds: 101,
      chosen: undefined,
      isOpen: false,
      note: '',
      ...options,
    }),
  ).split('\n');

test('workers and tasks, the newest first', () => {
  const lines = draw();
  expect(lines[0]).toBe('lovage events   1 workers online, 5 events, 2 tasks');
  expect(lines[1]).toMatch(/^○ celery@gone/);
  expect(lines[2]).toMatch(/^● celery@here {2}1 active {2}7 processed {2}load 0.5 {2}lovage/);
  expect(lines[5]).toMatch(/^id-2 +tasks\.other \[31m .*RECEIVED +celery@here/);
  expect(lines[6]).toMatch(/^id-1 +tasks\.add .*SUCCESS +celery@here/);
});

test('a chosen task is shown with all that is known of it', () => {
  const lines = draw({ chosen: 'id-1', isOpen: true });
  expect(lines).toEqual(expect.arrayContaining(['args       (1, 2)', 'runtime    0.5', 'result      [2J3']));
});

test('what does not fit is cut, and never scrolls', () => {
  const state = fill();
  for (let index = 0; index < 100; index++)
    state.event(event('task-received', { uuid: `task-${index}`, name: 'x', clock: index + 10 }));
  for (const rows of [5, 8, 24]) {
    const lines = draw({ rows, columns: 40, chosen: 'task-50' }, state);
    expect(lines.length).toBeLessThanOrEqual(rows);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(40);
  }
  expect(draw({ chosen: 'task-50' }, state).some((line) => line.startsWith('task-50 '))).toBe(true);
});
