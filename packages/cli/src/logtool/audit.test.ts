import { expect, test } from 'vitest';
import { Audit, type LogEntry, LogReader } from './audit.ts';

const LOG = `[2026-11-27 20:01:22,257: INFO/MainProcess] celery@here ready.
[2026-11-27 20:01:23,000: INFO/MainProcess] Task tasks.add[a1] received
[2026-11-27 20:01:23,100: INFO/ForkPoolWorker-1] Task tasks.add[a1] succeeded in 0.1s: 4
[2026-11-27 20:01:24,000: INFO/MainProcess] Task tasks.fail[b2] received
[2026-11-27 20:01:24,100: ERROR/ForkPoolWorker-1] Task tasks.fail[b2] raised unexpected: RangeError('too far')
Traceback (most recent call last):
  File "tasks.py", line 3
{"level":30,"time":"2026-11-27T20:01:25.000Z","msg":"Task tasks.add[c3] received"}
{"level":30,"msg":"Task tasks.add[c3] retry: Retry in 1s","err":{"stack":"Error: x\\n    at y"}}
not a line of a log
`;

test('tells entries apart and counts what became of tasks', () => {
  const entries: LogEntry[] = [];
  const reader = new LogReader((entry) => entries.push(entry));
  for (const line of LOG.split('\n')) reader.feed(line);
  reader.end();
  expect(entries.map(({ message, more }) => [message.slice(0, 20), more.length])).toEqual([
    ['celery@here ready.', 0],
    ['Task tasks.add[a1] r', 0],
    ['Task tasks.add[a1] s', 0],
    ['Task tasks.fail[b2] ', 0],
    ['Task tasks.fail[b2] ', 2],
    ['Task tasks.add[c3] r', 0],
    ['Task tasks.add[c3] r', 2],
  ]);
  const audit = new Audit();
  expect(entries.map((entry) => audit.add(entry))).toEqual([false, false, false, false, true, false, false]);
  expect(audit.report()).toEqual({
    total: 3,
    completed: 2,
    succeeded: 1,
    errors: 1,
    retries: 1,
    types: [
      ['tasks.add', 2],
      ['tasks.fail', 1],
    ],
    incomplete: ['c3'],
  });
});
