import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { endAll, type Running, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

let folder: ReturnType<typeof projectFolder>;
let started: Running[] = [];

beforeAll(() => {
  folder = projectFolder({
    'package.json': '{ "name": "shop-of-test", "type": "module" }',
    'src/app.ts': `
import { Lovage } from '@lovage/core';
import config from '../lovage.config.ts';
export const app: Lovage = new Lovage('shop', config);`,
    'src/mail/tasks.ts': `
import { app } from '../app.ts';
export const add = app.task('mail.add', (x: number, y: number) => x + y);`,
    'bare.mjs': `
import { Lovage } from '@lovage/core';
export const app = new Lovage('bare');
app.task('bare.hello', () => 'hello');`,
    'lovage.config.ts': '',
  });
});
afterEach(async () => {
  await endAll(started);
  started = [];
});
afterAll(() => folder.remove());

const DATABASE = { broker: 'sqla+sqlite:///shop.db', backend: 'db+sqlite:///shop.db' };

function writeConfig(config: object, name = 'lovage.config.ts'): void {
  rmSync(join(folder.path, 'lovage.config.ts'), { force: true });
  writeFileSync(
    join(folder.path, name),
    `import { defineConfig } from '@lovage/core';\nexport default defineConfig(${JSON.stringify(config)});\n`,
  );
}

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
  const running = startCommand(folder.path, args, { env });
  started.push(running);
  return running;
}

const run = (...args: string[]): Running['ended'] => start(args).ended;

interface Report {
  readonly app: string;
  readonly tasks: readonly string[];
  readonly settings: Readonly<Record<string, unknown>>;
}

async function report(...args: string[]): Promise<Report> {
  const { out, err } = await run('report', '--json', ...args);
  expect(err).toBe('');
  return JSON.parse(out) as Report;
}

test('a config that names the app makes -A needless, for the worker and for the children of its pool', async () => {
  writeConfig({ ...DATABASE, app: './src/app.ts', tasks: 'src/**/tasks.ts', workerConcurrency: 1 });
  expect(await report()).toMatchObject({
    app: 'shop',
    tasks: ['mail.add'],
    settings: { broker_url: DATABASE.broker, worker_concurrency: 1 },
  });
  const worker = start(['worker', '-P', 'processes', '-l', 'info', '--log-format', 'line', '--time-limit', '20']);
  await worker.said('ready');
  const called = await run('call', 'mail.add', '-a', '[40, 2]', '--wait', '20');
  expect(called).toMatchObject({ code: 0, out: '42\n', err: '' });
  worker.child.kill('SIGTERM');
  const { code, err } = await worker.ended;
  expect(code).toBe(0);
  // It takes the config by itself: there is nothing to warn of.
  expect(err).not.toContain('WARNING');
});

test('the app of -A has the settings of the config under its own, and the worker says who else has not', async () => {
  writeConfig({ ...DATABASE, workerPrefetchMultiplier: 3 });
  expect(await report('-A', './bare.mjs')).toMatchObject({
    app: 'bare',
    tasks: ['bare.hello'],
    settings: { broker_url: DATABASE.broker, worker_prefetch_multiplier: 3 },
  });
  const worker = start(['-A', 'bare', 'worker', '-l', 'info', '--log-format', 'line']);
  await worker.said('ready');
  worker.child.kill('SIGTERM');
  const { err } = await worker.ended;
  expect(err).toMatch(
    /WARNING.*Other programs with the app "bare" do not have these settings.*new Lovage\("bare", config\)/,
  );
  expect(err).toContain('settings="brokerUrl, resultBackend"');
});

test('the report says where settings come from, what is installed, and no secret', async () => {
  writeConfig({
    ...DATABASE,
    broker: 'redis://ada:hush@localhost/1;redis://:hush@other/1',
    backend: 's3://AKIA:hush@bucket/',
    app: './bare.mjs',
    BROKER_TRANSPORT_OPTIONS: {
      sentinel_kwargs: { password: 'hush' },
      credentials: { anything: 'hush' },
      global_keyprefix: 'shop',
    },
    resultBackendTransportOptions: { private_key: 'hush', tls: { pem: '-----BEGIN PRIVATE KEY-----hush' } },
    redisPassword: 'hush',
    s3SecretAccessKey: 'hush',
    mongodbBackendSettings: { user: 'hush' },
    taskRoutes: { 'a.*': { queue: 'a', routing_key: 'shown' } },
    brokerPoolLimit: 5,
  });
  for (const args of [[], ['--all'], ['--json']]) {
    const { out, err, code } = await run('report', ...args);
    expect({ err, code }).toEqual({ err: '', code: 0 });
    expect(out).not.toContain('hush');
    for (const shown of [
      'lovage.config.ts',
      'redis://ada:**@localhost/1',
      '@lovage/core',
      'shown',
      'bare.hello',
      'brokerPoolLimit',
    ])
      expect(out).toContain(shown);
    expect(out.includes('task_acks_late')).toBe(args[0] === '--all');
  }
});

test('without an app the command makes one of the config', async () => {
  writeConfig(DATABASE);
  expect(await report()).toMatchObject({
    app: 'shop-of-test',
    tasks: [],
    settings: { result_backend: DATABASE.backend },
  });
  writeConfig({ ...DATABASE, name: 'named' });
  expect((await report()).app).toBe('named');
  writeFileSync(join(folder.path, 'other.mjs'), `export default { name: 'other' };\n`);
  expect((await report('--config', 'other.mjs')).app).toBe('other');
});

test('a mistake in the config ends the command with 78', async () => {
  writeFileSync(join(folder.path, 'lovage.config.ts'), 'export default { taskSerialiser: "json" }');
  const { code, err } = await run('report');
  expect(err).toMatch(
    /^Error: .*lovage\.config\.ts has an unknown setting "taskSerialiser"\. Did you mean "taskSerializer"\? \(ERR_CONFIG\)\n$/,
  );
  expect(code).toBe(78);
});
