import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { missingTransport, unknownApp } from '../support/faults.ts';
import type { VerbCase, VerbRows } from '../support/verbs.ts';

/** Its end, as a person and as a process manager ask for it. */
const end: VerbCase['act'] = async (running, { terminal }) => {
  await running.said('ready: consuming');
  if (terminal) running.type('\x03');
  else running.child.kill('SIGTERM');
};
const own = ['-n', 'other@here', '-Q', 'verbs-other'];

export default {
  worker: [
    {
      args: ['worker', '-l', 'info', ...own],
      act: end,
      code: 0,
      piped: { out: '', err: /^\{"level":30,"time":"20.*ready: consuming/m },
      terminal: { err: /^\[20.*: INFO\/MainProcess\] .*ready: consuming/m },
    },
    {
      title: 'quiet by default',
      args: ['worker', ...own, '--pidfile', 'verbs.pid'],
      act: async (running, { folder, terminal }) => {
        await appears(join(folder, 'verbs.pid'));
        if (terminal) running.type('\x03');
        else running.child.kill('SIGTERM');
      },
      code: 0,
      piped: { out: '' },
      after: (_, { folder }) => {
        if (existsSync(join(folder, 'verbs.pid'))) throw new Error('the pidfile is left');
      },
    },
    { args: ['worker', '-l', 'loud'], code: 2, out: '', err: /"loud" is no log level/ },
    {
      title: "settings after the options, as Celery's",
      args: ['worker', '-l', 'info', '--log-format', 'line', ...own, '--', 'broker.pool_limit=5'],
      act: end,
      code: 0,
      terminal: false,
      err: /settings are known and have no effect here \(settings=brokerPoolLimit\)/,
    },
    { args: ['worker', '-c', 'many'], code: 2, out: '', err: /"many" is not a number/ },
    {
      args: ['worker', '-f', 'tasks.ts/x.log'],
      code: 1,
      out: '',
      err: /^Error: The log file tasks\.ts\/x\.log cannot be written/,
    },
    {
      args: ['worker', '-I', './missing'],
      code: 78,
      out: '',
      err: /^Error: No module "\.\/missing" .* Expected --include with/,
    },
    { args: ['worker', '-P', 'nonsense'], code: 78, out: '', err: /nonsense/ },
    { args: ['worker', '--concurency', '3'], code: 2, err: /unknown option[^]*Did you mean --concurrency/ },
    missingTransport('worker'),
    { title: 'no app', args: ['worker'], env: { LOVAGE_APP: '' }, code: 2, out: '', err: /Which app\?.*-A/ },
    unknownApp('worker'),
  ],
} satisfies VerbRows;

async function appears(path: string): Promise<void> {
  while (!existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 20));
}
