import type { VerbRows } from '../support/verbs.ts';

export default {
  multi: [
    { args: ['multi'], code: 2, out: /^Usage: lovage multi/, err: /Which verb\?/ },
    { args: ['multi', 'begin', '2'], code: 2, out: '', err: /"begin" is no verb of multi/ },
    { args: ['multi', 'start', '-c', '3'], code: 2, out: '', err: /Which nodes\?/ },
    { args: ['multi', 'names', '2', '--hostname=h', '--json'], code: 0, out: '["celery1@h","celery2@h"]\n', err: '' },
    { args: ['multi', 'expand', '/run/%n-%d', 'a', '-n', 'h'], code: 0, out: '/run/a-h\n', err: '' },
    {
      args: ['multi', 'show', '2', '-n', 'h', '-A', 'proj', '-c', '3', '-c:2', '1'],
      code: 0,
      out: /^\S+ \S+ .*-A proj worker --detach -n celery1@h --pidfile=celery1\.pid --logfile=celery1%I\.log -c 3\n.*celery2@h .* -c 1\n$/,
      err: '',
    },
    { args: ['multi', 'stop', 'nobody', '-TREM'], code: 2, out: '', err: /"-TREM" is no signal\. Expected .*-TERM/ },
    { args: ['multi', 'stop', 'nobody', '-99'], code: 2, out: '', err: /"-99" is no signal/ },
    { args: ['multi', 'stop', 'nobody', '-sigterm', '-QMAIL'], code: 0, out: /DOWN/, err: '' },
    {
      args: ['multi', 'stop', 'a', '--pidfile=.'],
      code: 1,
      out: /Stopping/,
      err: /^Error: The pidfile \S+ cannot be read: EISDIR/,
    },
    { args: ['multi', 'stop', 'nobody'], code: 0, out: /> nobody@.*: (?:\S*)DOWN/, err: '' },
  ],
} satisfies VerbRows;
