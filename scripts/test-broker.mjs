// Runs the tests of packages that need servers: `node scripts/test-broker.mjs packages/transport-redis ...`
import { basename, join } from 'node:path';
import { root, run } from './run.mjs';
import { servicesOf, startServices } from './services.mjs';

const folders = process.argv.slice(2);
const { env, stop } = await startServices(
  folders.length === 0 ? servicesOf() : servicesOf(folders.map((folder) => basename(folder))),
);
const { code } = await run(
  process.execPath,
  [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', 'broker', ...folders],
  { env: { ...process.env, ...env } },
);
await stop();
process.exitCode = code;
