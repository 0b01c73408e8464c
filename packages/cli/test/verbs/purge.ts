import { brokerFaults, unknownApp } from '../support/faults.ts';
import type { VerbCase, VerbRows } from '../support/verbs.ts';

const queue = ['-Q', 'verbs-waiting'];
const asks = 'Drop all messages of verbs-waiting? They cannot be brought back';

const fill: VerbCase['before'] = async ({ run }) => {
  await run('-A', './tasks.ts', 'call', 'tasks.add', '--queue', 'verbs-waiting');
};

export default {
  purge: [
    {
      args: ['purge', '-f', ...queue],
      before: fill,
      code: 0,
      out: 'Dropped 1 message from 1 queue (verbs-waiting).\n',
      err: '',
    },
    { args: ['purge', '-f', ...queue, '-j'], code: 0, out: '{"purged":0,"queues":{"verbs-waiting":0}}\n', err: '' },
    { args: ['purge', ...queue], terminal: false, code: 2, out: '', err: /Use --force in scripts/ },
    {
      title: 'no',
      args: ['purge', ...queue],
      piped: false,
      before: fill,
      act: async (running) => {
        await running.said(asks);
        running.type('n\r');
      },
      code: 1,
      err: /Error: Nothing was done\.\n$/,
    },
    ...['\x03', '\x04'].map(
      (key): VerbCase => ({
        title: `no by ${key === '\x03' ? 'Ctrl+C' : 'the end of input'}`,
        args: ['purge', ...queue],
        piped: false,
        act: async (running) => {
          await running.said(asks);
          running.type(key);
        },
        code: 1,
        err: /Error: Nothing was done\.\n$/,
      }),
    ),
    {
      title: 'yes',
      args: ['purge', ...queue],
      piped: false,
      act: async (running) => {
        await running.said(asks);
        running.type('y\r');
      },
      code: 0,
      out: /Dropped 1 message from 1 queue/,
    },
    ...brokerFaults('purge', '-f'),
    unknownApp('purge', '-f'),
  ],
} satisfies VerbRows;
