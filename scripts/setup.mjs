// Installs the dependencies and builds every package: what `npm run demo` and `npm test` begin with.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { must, pnpm, root } from './run.mjs';

function isInstalled() {
  const done = join(root, 'node_modules/.modules.yaml');
  return existsSync(done) && statSync(done).mtimeMs >= statSync(join(root, 'pnpm-lock.yaml')).mtimeMs;
}

export async function setUp() {
  if (!isInstalled()) {
    console.log('Installing dependencies ...');
    await pnpm(['install', '--frozen-lockfile', '--prefer-offline', '--reporter=append-only'], { quiet: true });
  }
  console.log('Building ...');
  await must(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b'], {});
}

if (process.argv[1] === import.meta.filename) await setUp();
