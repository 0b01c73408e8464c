import { brokerFaults, unknownApp } from '../support/faults.ts';
import type { VerbRows } from '../support/verbs.ts';

export default {
  status: [
    {
      args: ['status', '-t', '5', '-d', 'verbs@here'],
      code: 0,
      out: '->  verbs@here: OK\n\n1 node online.\n',
      err: '',
    },
    { args: ['status', '-t', '5', '-d', 'verbs@here', '--json'], code: 0, out: '{"verbs@here":{"ok":"pong"}}\n' },
    { args: ['status', '-t', '0.2', '-d', 'nobody@here'], code: 69, out: '', err: /^Error: No nodes replied/ },
    { args: ['status', '-t', 'soon'], code: 2, out: '', err: /"soon" is not a number/ },
    ...brokerFaults('status'),
    unknownApp('status'),
  ],
} satisfies VerbRows;
