import { missingTransport, unknownApp } from '../support/faults.ts';
import type { VerbCase, VerbRows } from '../support/verbs.ts';

const end: VerbCase['act'] = async (running, { terminal }) => {
  await running.said('beat');
  if (terminal) running.type('\x03');
  else running.child.kill('SIGTERM');
};

export default {
  beat: [
    {
      args: ['beat', '-l', 'info', '-s', 'verbs-beat'],
      act: end,
      code: 0,
      piped: { out: '', err: /^\{"level":30,.*"msg":"beat/m },
      terminal: { err: /^\[20.*: INFO\/MainProcess\] beat/m },
    },
    { args: ['beat', '--max-interval', 'x'], code: 2, out: '', err: /"x" is not a number/ },
    { args: ['beat', '-l', 'loud'], code: 2, out: '', err: /"loud" is no log level/ },
    {
      args: ['beat', '-S', 'django_celery_beat.schedulers:DatabaseScheduler'],
      code: 2,
      out: '',
      err: /is a scheduler of Python\. Expected a module/,
    },
    { args: ['beat', '-s', 'nonsense://x'], code: 78, out: '', err: /nonsense/ },
    missingTransport('beat'),
    unknownApp('beat'),
  ],
} satisfies VerbRows;
