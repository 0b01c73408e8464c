// Runs the tests of packages that need servers: `node scripts/test-broker.mjs packages/transport-redis ...`
import { join } from 'node:path';
import { root, run } from './run.mjs';
import { startServices } from './services.mjs';

const NEEDS = { redis: 'redis', amqp: 'amqp', rpc: 'amqp', cli: 'redis', worker: 'redis' };
const folders = process.argv.slice(2);
const names = new Set(
  folders.flatMap((folder) =>
    Object.keys(NEEDS)
      .filter((key) => folder.includes(key))
      .map((key) => NEEDS[key]),
  ),
);
const { env, stop } = await startServices(folders.length === 0 ? ['redis', 'amqp'] : [...names]);
const { code } = await run(
  process.execPath,
  [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', 'broker', ...folders],
  {
    env: { ...process.env, ...env },
  },
);
await stop();
process.exitCode = code;
