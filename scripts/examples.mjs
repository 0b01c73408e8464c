// Compiles every example and runs it as its README says, on servers of its own, and fails when one does.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, run } from './run.mjs';
import { freePort } from './server-process.mjs';
import { startServices } from './services.mjs';
import { installed, tryWeb } from './web-example.mjs';

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

const files = (name) => ({
  BROKER: `sqla+sqlite:///${folder}/${name}.db`,
  BACKEND: `db+sqlite:///${folder}/${name}.db`,
});
const worker = (tasks) => lovage('--log-format', 'line', '-A', tasks, 'worker', '-l', 'info');

const READY_SECONDS = 120;

const EXAMPLES = [
  { name: 'quickstart', main: [process.execPath, [join(root, 'scripts/demo.mjs')]] },
  { name: 'quickstart', main: jiti('quickstart', './tasks.test.ts') },
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
    worker: worker('./tasks.ts'),
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
    worker: worker('./tasks.ts'),
    ready: / ready/,
    main: [python, ['main.py']],
  },
  { name: 'fastify', env: files('fastify'), worker: worker('./tasks.ts'), web: jiti('fastify', './server.ts') },
  { name: 'express', env: files('express'), worker: worker('./tasks.ts'), web: jiti('express', './server.ts') },
  { name: 'nestjs', env: files('nestjs'), worker: worker('./src/worker.ts'), web: jiti('nestjs', './src/main.ts') },
  {
    name: 'nextjs',
    env: files('nextjs'),
    cwd: () => installed('nextjs', folder),
    worker: ['node_modules/.bin/lovage', ['--log-format', 'line', '-A', './lovage/tasks.ts', 'worker', '-l', 'info']],
    web: ['node_modules/.bin/next', ['dev', '-H', '127.0.0.1']],
    webReady: / Ready /,
    paths: '/api',
  },
];

/** The guides quote them: they must compile as an application's code does. */
const PROJECTS = ['examples', 'examples/nestjs'];

let failed = 0;
for (const project of PROJECTS) {
  const { code } = await run(process.execPath, [
    join(root, 'node_modules/typescript/bin/tsc'),
    '--noEmit',
    '-p',
    join(root, project),
  ]);
  console.log(`${project}: ${code === 0 ? 'compiles' : 'DOES NOT COMPILE'}`);
  if (code !== 0) failed++;
}
for (const { name, needs = [], ...example } of EXAMPLES) {
  if (needs.includes(undefined)) {
    console.log(`${name}: skipped, Python is not to be had`);
    continue;
  }
  const problem = await runExample(name, example);
  console.log(`${name}: ${problem === undefined ? 'passed' : `FAILED (${problem})`}`);
  if (problem !== undefined) failed++;
}
await stop();
rmSync(folder, { recursive: true, force: true });
process.exitCode = failed === 0 ? 0 : 1;

/** What is wrong with an example; undefined when nothing is. */
async function runExample(name, { env: own = {}, cwd: install, worker, ready = / ready/, main, web, webReady, paths }) {
  const cwd = (await install?.()) ?? join(root, 'examples', name);
  const env = { ...process.env, ...own };
  const running = worker === undefined ? undefined : await start(worker, { cwd, env, ready });
  try {
    if (web === undefined) {
      const { code } = await run(main[0], main[1], { cwd, env });
      return code === 0 ? undefined : code;
    }
    const port = await freePort();
    const server = await start(web, { cwd, env: { ...env, PORT: String(port) }, ready: webReady ?? /ready on/ });
    try {
      await tryWeb(`http://127.0.0.1:${port}${paths ?? ''}`);
      return undefined;
    } catch (error) {
      return `${error.message}\n${server.output()}`;
    } finally {
      await server.stop();
    }
  } finally {
    await running?.stop();
  }
}

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
    setTimeout(
      () => reject(new Error(`${command} was not ready within ${READY_SECONDS} s:\n${output}`)),
      READY_SECONDS * 1000,
    ).unref();
  });
  return {
    output: () => output,
    stop: async () => {
      child.kill('SIGTERM');
      await exit;
    },
  };
}
