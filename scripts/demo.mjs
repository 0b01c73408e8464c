// `npm run demo`: sets up, starts two workers on one broker, sends tasks and shows results.
//
// The broker is an SQLite file unless LOVAGE_BROKER and LOVAGE_BACKEND name others.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { maskUrl } from '../packages/core/dist/transport/url.js';
import { root, run } from './run.mjs';

const example = join(root, 'examples/quickstart');
const folder = mkdtempSync(join(tmpdir(), 'lovage-demo-'));
const broker = process.env.LOVAGE_BROKER ?? `sqla+sqlite:///${join(folder, 'lovage.db')}`;
/** Brokers that keep results under the same URL; with others a file of SQLite keeps them. */
const backend =
  process.env.LOVAGE_BACKEND ??
  (/^(redis|rediss|sentinel|nats|tls\+nats)/.test(broker)
    ? broker
    : /^(amqp|pyamqp)/.test(broker)
      ? 'rpc://'
      : /^sqla(lchemy)?\+(?!sqlite)/.test(broker)
        ? broker.replace(/^sqla(lchemy)?/, 'db')
        : `db+sqlite:///${join(folder, 'lovage.db')}`);
const env = { ...process.env, LOVAGE_BROKER: broker, LOVAGE_BACKEND: backend };

console.log(`\nBroker ${maskUrl(broker)}, results in ${maskUrl(backend)}\n`);
const workers = ['one', 'two'].map((name) =>
  spawn(
    process.execPath,
    [
      join(root, 'packages/cli/dist/bin.js'),
      '-A',
      './tasks.ts',
      'worker',
      '-l',
      'critical',
      '-c',
      '4',
      '-n',
      `${name}@%h`,
    ],
    {
      cwd: example,
      env,
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  ),
);
console.log(`Two workers started: processes ${workers.map(({ pid }) => pid).join(' and ')}\n`);
const { code } = await run(process.execPath, [join(example, 'node_modules/jiti/lib/jiti-cli.mjs'), './main.ts'], {
  cwd: example,
  env,
});
for (const worker of workers) {
  if (worker.exitCode === null) {
    const ended = once(worker, 'exit');
    worker.kill('SIGTERM');
    await ended;
  }
}
rmSync(folder, { recursive: true, force: true });
console.log(code === 0 ? '\nDone. The program is examples/quickstart: tasks.ts and main.ts.' : '\nThe demo failed.');
process.exitCode = code;
