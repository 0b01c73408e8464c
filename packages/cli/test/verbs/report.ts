import { unknownApp } from '../support/faults.ts';
import type { VerbRows } from '../support/verbs.ts';

export default {
  report: [
    { args: ['report'], code: 0, out: /^lovage: \d[^]*\napp: shop\n[^]* {2}tasks\.add\n[^]*settings:\n/, err: '' },
    { args: ['report', '--json'], code: 0, out: /^\{"lovage":"[^\n]*"app":"shop"[^\n]*\}\n$/, err: '' },
    {
      args: ['-b', 'redis://ada:hush@localhost', 'report'],
      code: 0,
      out: /redis:\/\/ada:\*+@localhost/,
      after: ({ out }) => {
        if (out.includes('hush')) throw new Error('the password is shown');
      },
    },
    {
      title: 'over the environment',
      args: ['-b', 'redis://here/3', '--result-backend', 'redis://here/4', 'report'],
      env: { LOVAGE_BROKER_URL: 'redis://elsewhere', LOVAGE_RESULT_BACKEND: 'redis://elsewhere' },
      code: 0,
      out: /\nbroker: redis:\/\/here\/3\nresults: redis:\/\/here\/4\n/,
      err: '',
    },
    { args: ['report', '--jso'], code: 2, out: '', err: /unknown option '--jso'[^]*Did you mean --json/ },
    unknownApp('report'),
  ],
} satisfies VerbRows;
