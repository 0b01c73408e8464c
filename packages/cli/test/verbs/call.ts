import { brokerFaults, unknownApp } from '../support/faults.ts';
import type { VerbRows } from '../support/verbs.ts';

export default {
  call: [
    { args: ['call', 'tasks.add', '-a', '[2, 2]'], code: 0, out: /^[\da-f-]{36}\n$/, err: '' },
    { args: ['call', 'tasks.add', '-a', '[2, 2]', '--wait', '10'], code: 0, out: '4\n', err: '' },
    {
      args: ['call', 'tasks.add', '-k', '{"x": 1, "y": 2}', '-w', '10', '--json'],
      code: 0,
      out: /^\{"task_id":"[\da-f-]{36}","result":3\}\n$/,
    },
    { args: ['call', 'tasks.fail', '--wait', '10'], code: 1, out: '', err: 'Error: RangeError: too far\n' },
    { title: 'unknown task', args: ['call', 'tasks.nope', '--wait', '10'], code: 1, out: '', err: /tasks\.nope/ },
    { args: ['call'], code: 2, out: '', err: /missing required argument 'name'/ },
    { args: ['call', 'tasks.add', '-a', '[2, 2'], code: 2, out: '', err: /--args is not JSON.*Expected a JSON array/ },
    { args: ['call', 'tasks.add', '--countdwn', '3'], code: 2, err: /unknown option[^]*Did you mean --countdown/ },
    ...brokerFaults('call', 'tasks.add'),
    unknownApp('call', 'tasks.add'),
  ],
} satisfies VerbRows;
