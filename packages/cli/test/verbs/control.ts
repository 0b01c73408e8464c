import { brokerFaults, unknownApp } from '../support/faults.ts';
import type { VerbRows } from '../support/verbs.ts';

const only = ['-d', 'verbs@here', '-t', '5'];

export default {
  control: [
    {
      args: ['control', 'rate_limit', 'tasks.slow', '10/m', ...only],
      code: 0,
      out: /OK\n    new rate limit set/,
      err: '',
    },
    { args: ['control', 'rate_limit', 'no.such', '1/s', ...only], code: 0, out: /ERROR\n        unknown task/ },
    {
      args: ['control', 'pool_grow', '1', ...only, '--json'],
      code: 0,
      out: '[{"verbs@here":{"ok":"pool will grow"}}]\n',
    },
    { args: ['control', '--list'], code: 0, out: /^Commands:\n[^]*rate_limit <task_name>/ },
    { args: ['control', 'rate_limit', 'x'], code: 2, out: '', err: /rate_limit takes arguments: <task_name>/ },
    { args: ['control', 'shutdwn'], code: 2, out: '', err: /Did you mean "shutdown"/ },
    ...brokerFaults('control', 'pool_grow', '1'),
    unknownApp('control', 'pool_grow', '1'),
  ],
} satisfies VerbRows;
