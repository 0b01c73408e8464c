// Runs every example as its README says, on servers of its own, and fails when one does.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, run } from './run.mjs';
import { startServices } from './services.mjs';

const lovage = (...args) => [process.execPath, [join(root, 'packages/cli/dist/bin.js'), ...args]];
const jiti = (example, ...args) => [
  process.execPath,
  [join(root, 'examples', example, 'node_modules/jiti/lib/jiti-cli.mjs'), ...args],
];
const { env: services, stop } = await startServices(['redis', 'python']);
const python = services.LOVAGE_TEST_PYTHON;
const broker = { BROKER: services.LOVAGE_TEST_REDIS_URL };
const folder = mkdtempSync(join(tmpdir(), 'lovage-examples-'));
const machines = {
  LOVAGE_BROKER: `sqla+sqlite:///${folder}/machines.db`,
  LOVAGE_BACKEND: `db+sqlite:///${folder}/machines.db`,
};

const EXAMPLES = [
  { name: 'quickstart', main: [process.execPath, [join(root, 'scripts/demo.mjs')]] },
  {
    name: 'hundred-machines',
    env: machines,
    worker: jiti('hundred-machines', './machines.ts', '1', '100'),
    ready: /100 machines ready/,
    main: jiti('hundred-machines', './main.ts'),
  },
  {
    name: 'shop',
    env: { BROKER: `sqla+sqlite:///${folder}/shop.db`, BACKEND: `db+sqlite:///${folder}/shop.db` },
    worker: lovage('--log-format', 'line', 'worker', '-l', 'info', '-Q', 'celery,mail'),
    ready: / ready/,
    main: jiti('shop', './main.ts'),
  },
  {
    name: 'workflows',
    env: broker,
    worker: lovage('--log-format', 'line', '-A', './tasks.ts', 'worker', '-l', 'info'),
    ready: / ready/,
    main: jiti('workflows', './main.ts'),
  },
  {
    name: 'typescript-calls-python',
    env: broker,
    needs: [python],
    worker: [python, ['-m', 'celery', '-A', 'tasks', 'worker', '-l', 'info', '-P', 'solo', '-Q', 'celery']],
    ready: / ready\./,
    main: jiti('typescript-calls-python', './main.ts'),
  },
  {
    name: 'python-calls-typescript',
    env: broker,
    needs: [python],
    worker: lovage('--log-format', 'line', '-A', './tasks.ts', 'worker', '-l', 'info'),
    ready: / ready/,
    main: [python, ['main.py']],
  },
];

let failed = 0;
for (const { name, env: own = {}, needs = [], worker, ready, main } of EXAMPLES) {
  if (needs.includes(undefined)) {
    console.log(`${name}: skipped, Python is not to be had`);
    continue;
  }
  const cwd = join(root, 'examples', name);
  const env = { ...process.env, ...own };
  const running = worker === undefined ? undefined : await start(worker, { cwd, env, ready });
  const { code } = await run(main[0], main[1], { cwd, env });
  await running?.stop();
  console.log(`${name}: ${code === 0 ? 'passed' : `FAILED (${code})`}`);
  if (code !== 0) failed++;
}
await stop();
rmSync(folder, { recursive: true, force: true });
process.exitCode = failed === 0 ? 0 : 1;

async function start([command, args], { cwd, env, ready }) {
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const exit = once(child, 'exit');
  let output = '';
  await new Promise((resolve, reject) => {
    const take = (chunk) => {
      output += chunk;
      if (ready.test(output)) resolve();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    void exit.then(() => reject(new Error(`${command} ended before it was ready:\n${output}`)));
    setTimeout(() => reject(new Error(`${command} was not ready within 30 s:\n${output}`)), 30_000).unref();
  });
  return {
    stop: async () => {
      child.kill('SIGTERM');
      await exit;
    },
  };
}
