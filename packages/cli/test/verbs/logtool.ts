import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { VerbCase, VerbRows } from '../support/verbs.ts';

const LOG = `[2026-11-27 20:01:22,257: INFO/MainProcess] celery@here ready.
[2026-11-27 20:01:23,000: INFO/MainProcess] Task tasks.add[a1] received
[2026-11-27 20:01:23,100: INFO/MainProcess] Task tasks.add[a1] succeeded in 0.1s: 4
[2026-11-27 20:01:24,000: INFO/MainProcess] Task tasks.fail[b2] received
[2026-11-27 20:01:24,100: ERROR/MainProcess] Task tasks.fail[b2] raised unexpected: RangeError('too far')
RangeError: too far
{"level":30,"msg":"Task tasks.add[c3] received"}
`;
/** Once: cases of other verbs may be reading it. */
const fill: VerbCase['before'] = ({ folder }) => {
  const file = join(folder, 'old.log');
  if (!existsSync(file)) writeFileSync(file, LOG);
};

export default {
  'logtool stats': [
    {
      args: ['logtool', 'stats', 'old.log'],
      before: fill,
      code: 0,
      out: 'Task total: 3\nTask errors: 1\nTask success: 1\nTask completed: 2\nTask retries: 0\n\nTasks:\n  tasks.add: 2\n  tasks.fail: 1\n',
      err: '',
    },
    {
      args: ['logtool', 'stats', 'old.log', 'no.log'],
      before: fill,
      code: 1,
      out: '',
      err: /^Error: The file no\.log cannot be read/,
    },
    { args: ['logtool', 'stats', 'no.log'], code: 1, out: '', err: /The file no\.log cannot be read/ },
  ],
  'logtool errors': [
    { args: ['logtool', 'errors', 'old.log'], before: fill, code: 0, out: /^\[.*raised unexpected.*\n$/, err: '' },
  ],
  'logtool traces': [
    { args: ['logtool', 'traces', 'old.log'], before: fill, code: 0, out: /^\[.*raised.*\nRangeError: too far\n$/ },
  ],
  'logtool incomplete': [
    { args: ['logtool', 'incomplete', 'old.log', '--json'], before: fill, code: 0, out: '["c3"]\n', err: '' },
  ],
  'logtool debug': [{ args: ['logtool', 'debug', 'old.log'], before: fill, code: 0, out: /^\[.*ready\.\n$/, err: '' }],
} satisfies VerbRows;
