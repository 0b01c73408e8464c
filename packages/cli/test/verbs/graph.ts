import { unknownApp } from '../support/faults.ts';
import type { VerbRows } from '../support/verbs.ts';

export default {
  'graph workers': [
    {
      args: ['graph', 'workers'],
      code: 0,
      out: /^digraph dependencies \{\n[^]*"verbs@here" -> "sqla\+sqlite:\/\/\/shop\.db"[^]*"thr-1" -> "verbs@here"[^]*\}\n$/,
      err: '',
    },
    {
      args: ['graph', 'workers', 'nodes:a,b,c,d,e', 'threads:5', 'generic', 'enumerate'],
      code: 0,
      out: /"Broker \(sqla\+sqlite:\/\/\)" [^]*"Worker\u2081" -> "Backend \(db\+sqlite:\/\/\)"[^]*"W\{\u2026\u2082\}"/,
      err: '',
    },
    unknownApp('graph', 'workers'),
  ],
  'graph bindings': [
    { args: ['graph', 'workers', 'nodes:a', 'wmax:few'], code: 2, out: '', err: /"few" is not a number/ },
    { args: ['graph', 'bindings'], code: 0, out: /"celery" -> "queue celery" \[.*label="celery"\]\n/, err: '' },
  ],
} satisfies VerbRows;
