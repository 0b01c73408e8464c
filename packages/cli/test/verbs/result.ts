import { unknownApp } from '../support/faults.ts';
import type { VerbRows } from '../support/verbs.ts';

export default {
  result: [
    { args: ({ succeeded }) => ['result', succeeded], code: 0, out: '4\n', err: '' },
    {
      args: ({ succeeded }) => ['result', succeeded, '--json'],
      code: 0,
      out: /^\{"task_id":"[^"]+","state":"SUCCESS","result":4,"traceback":null\}\n$/,
    },
    { args: ({ failed }) => ['result', failed], code: 1, out: 'FAILURE: RangeError: too far\n', err: '' },
    {
      args: ({ failed }) => ['result', failed, '--traceback'],
      code: 1,
      out: /^Traceback[^]*tasks\.ts[^]*\nRangeError: too far\n/,
    },
    { args: ['result', 'nobody-knows'], code: 1, out: 'PENDING\n', err: '' },
    { args: ['result', 'nobody-knows', '--wait', '0.2'], code: 1, out: '', err: /has not ended within 0\.2 s/ },
    { args: ['result'], code: 2, out: '', err: /missing required argument 'task-id'/ },
    {
      title: 'package missing',
      args: ['--result-backend', 'mongodb://localhost', 'result', 'x'],
      code: 78,
      out: '',
      err: /npm install @lovage\/backend-mongodb/,
    },
    unknownApp('result', 'x'),
  ],
} satisfies VerbRows;
