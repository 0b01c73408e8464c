import { expect, test } from 'vitest';
import { showLine } from './events.ts';

const event = { type: 'task-sent', hostname: 'gen1@here', timestamp: 100, local_received: 100, clock: 1 };

test('a line moves no cursor, whatever the event holds', () => {
  const hostile = {
    ...event,
    type: 'task-\u001B[2Jx',
    hostname: 'a\u001B[1m@b\n',
    uuid: 'id\u009B',
    name: '\u202Ename',
    n: '\r',
  };
  // oxlint-disable-next-line no-control-regex
  expect(showLine(hostile, false)).not.toMatch(/[\u0000-\u001F\u007F-\u009F\u202E]/);
  expect(showLine({ ...event, uuid: 'id', name: 'tasks.add', queue: 'celery' }, false)).toBe(
    'gen1@here [1970-01-01T00:01:40.000Z] task sent tasks.add[id] queue=celery',
  );
});

test('a time that no calendar knows ends nothing', () => {
  expect(showLine({ ...event, timestamp: 1e300 }, false)).toBe('gen1@here [1e+300] task sent');
});
