import { unknownApp } from '../support/faults.ts';
import type { VerbCase, VerbRows } from '../support/verbs.ts';

const unknown = (...words: string[]): VerbCase => ({
  args: ['schedule', ...words, 'nobody'],
  code: 78,
  out: '',
  err: /There is no periodic task "nobody"\. Expected one of: report/,
});

export default {
  'schedule list': [
    { args: ['schedule', 'list'], code: 0, out: /^report\n {4}task {2}tasks\.add\n {4}when {2}crontab/, err: '' },
    { args: ['schedule', 'list', '--json'], code: 0, out: /^\[\{"name":"report"/, err: '' },
    { args: ['schedule', 'list', '-s', 'nonsense://x'], code: 78, out: '', err: /nonsense/ },
    unknownApp('schedule', 'list'),
  ],
  'schedule next': [
    {
      args: ['schedule', 'next', 'report', '-n', '2'],
      code: 0,
      out: /^(?:\w+day, .* at 07:00:00 Europe\/Paris \(.*\)\n){2}$/,
    },
    { args: ['schedule', 'next', 'report', '--json'], code: 0, out: /^\["20\d\d-/ },
    { args: ['schedule', 'next', 'report', '-n', 'many'], code: 2, out: '', err: /"many" is not a number/ },
    unknown('next'),
  ],
  'schedule run': [
    { args: ['schedule', 'run', 'report'], code: 0, out: /^[\da-f-]{36}\n$/, err: '' },
    { args: ['schedule', 'run', 'report', '-j'], code: 0, out: /^\{"task_id":"[\da-f-]{36}"\}\n$/, err: '' },
    unknown('run'),
  ],
  'schedule pause': [
    { args: ['schedule', 'pause', 'paused'], code: 0, out: 'paused is paused\n', err: '' },
    { args: ['schedule', 'pause', 'paused', '--json'], code: 0, out: '{"paused":"paused"}\n' },
    { args: ['schedule', 'pause'], code: 2, out: '', err: /missing required argument 'name'/ },
    unknown('pause'),
  ],
  'schedule resume': [
    { args: ['schedule', 'resume', 'paused'], code: 0, out: 'paused is resumed\n', err: '' },
    unknown('resume'),
  ],
} satisfies VerbRows;
