import { expect } from 'vitest';
import { missingTransport } from '../support/faults.ts';
import type { VerbCase, VerbRows } from '../support/verbs.ts';

/** Each verb has a queue of its own: they run at the same time. */
const filled =
  (queue: string): NonNullable<VerbCase['before']> =>
  async ({ run }) => {
    await run('-A', './tasks.ts', 'call', 'tasks.add', '-a', '[1, 2]', '--queue', queue);
  };

export default {
  'queues list': [
    {
      args: ['queues', 'list', '-Q', 'verbs-list'],
      before: filled('verbs-list'),
      code: 0,
      out: /^queue +messages +consumers +dead\nverbs-list +[12] +- +0\n$/,
      err: '',
    },
    {
      args: ['queues', 'list', '-j'],
      code: 0,
      out: /^\[\{"queue":"celery","messages":\d+,"consumers":null,"dead":\d+\}\]\n$/,
    },
    missingTransport('queues', 'list'),
  ],
  'queues show': [
    {
      args: ['queues', 'show', 'verbs-show'],
      before: filled('verbs-show'),
      code: 0,
      out: /^id .*\n(?:[\da-f-]{36} +tasks\.add +\d +\(1, 2\) \{\}\n)+$/,
      err: '',
      after: async (_, { run }) => {
        const again = JSON.parse((await run('-A', './tasks.ts', 'queues', 'show', 'verbs-show', '--json')).out) as {
          headers: object;
          delivery_info: { delivery_count: number };
        }[];
        expect(again[0]?.headers).toMatchObject({ task: 'tasks.add' });
        expect(again[0]?.delivery_info.delivery_count).toBeGreaterThan(1);
      },
    },
    { args: ['queues', 'show', 'a', '-n', '-5'], code: 2, out: '', err: /"-5" is no whole number above 0/ },
    { args: ['queues', 'show', 'verbs-show', '--dead'], code: 0, out: '- empty -\n', err: '' },
  ],
  'queues move': [
    {
      args: ['queues', 'move', 'verbs-move', 'verbs-other', '-T', 'tasks.add'],
      before: filled('verbs-move'),
      code: 0,
      out: 'Moved 1 message from verbs-move to verbs-other.\n',
      err: '',
    },
    { args: ['queues', 'move', 'a', 'b', '-n', '1.5'], code: 2, out: '', err: /"1\.5" is no whole number above 0/ },
    { args: ['queues', 'move', 'a', 'b', '-n', '0'], code: 2, out: '', err: /"0" is no whole number above 0/ },
    { args: ['queues', 'move', 'verbs-move', 'verbs-move'], code: 2, out: '', err: /are one queue/ },
  ],
  'queues requeue': [
    {
      args: ['queues', 'requeue', 'verbs-requeue', '--json'],
      before: filled('verbs-requeue.dead'),
      code: 0,
      out: /^\{"from":"verbs-requeue\.dead","to":"verbs-requeue","moved":1,/,
      err: '',
    },
    {
      args: ['queues', 'requeue', 'verbs-requeue', 'no-such-id'],
      code: 1,
      out: /^Moved 0 messages/,
      err: 'Warning: not in verbs-requeue.dead: no-such-id\n',
    },
  ],
  'queues purge': [
    {
      args: ['queues', 'purge', 'verbs-purge', '-f'],
      before: filled('verbs-purge'),
      code: 0,
      out: 'Dropped 1 message from verbs-purge.\n',
      err: '',
    },
    { args: ['queues', 'purge', 'verbs-purge'], terminal: false, code: 2, out: '', err: /--force/ },
  ],
  'queues delete': [
    {
      args: ['queues', 'delete', 'verbs-delete', '--if-empty', '-f'],
      before: filled('verbs-delete'),
      code: 1,
      out: /^Kept verbs-delete: it has \d messages?\.\n$/,
    },
    {
      args: ['queues', 'delete', 'verbs-delete', '-f', '-j'],
      code: 0,
      out: /^\{"deleted":\{"verbs-delete":\d\},"kept":\{\}\}\n$/,
      err: '',
    },
  ],
} satisfies VerbRows;
