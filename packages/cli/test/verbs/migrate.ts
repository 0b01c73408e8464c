import type { VerbCase, VerbRows } from '../support/verbs.ts';

const between = ['sqla+sqlite:///shop.db', 'sqla+sqlite:///moved.db', '-Q', 'verbs-moved', '-t', '0.3'];

const fill: VerbCase['before'] = async ({ run }) => {
  await run('-A', './tasks.ts', 'call', 'tasks.add', '--queue', 'verbs-moved');
};

export default {
  migrate: [
    {
      args: ['migrate', ...between],
      before: fill,
      code: 0,
      out: /^Moved 1 message from .*shop\.db to .*moved\.db\.\n {2}verbs-moved: 1\n$/,
      piped: { err: '' },
    },
    { args: ['migrate', ...between, '--json'], code: 0, out: /^\{.*"moved":0,.*\}\n$/, piped: { err: '' } },
    { args: ['migrate', 'sqla+sqlite:///shop.db'], code: 2, out: '', err: /missing required argument 'destination'/ },
  ],
} satisfies VerbRows;
