import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { endAll, type Running, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

const TASKS = `
import { Lovage } from '@lovage/core';
export const app: Lovage = new Lovage('shop', {
  broker: 'sqla+sqlite:///shop.db',
  backend: 'db+sqlite:///shop.db',
  brokerTransportOptions: {},
  securityKeyPassword: 'hush-hush',
});
app.task('tasks.add', { params: ['x', 'y'] }, (x: number, y: number) => x + y);
app.task('tasks.fail', () => { throw new RangeError('too far'); });
app.task('tasks.slow', async () => { await new Promise((resolve) => setTimeout(resolve, 500)); return 'slow'; });
`;

let folder: ReturnType<typeof projectFolder>;
let started: Running[] = [];

beforeEach(() => {
  const files = {
    'tasks.ts': TASKS,
    'common.cjs': `const { Lovage } = require('@lovage/core');\nmodule.exports = { app: new Lovage('cjs', { broker: 'memory://' }) };\n`,
    'bare.cjs': `const { Lovage } = require('@lovage/core');\nmodule.exports = new Lovage('bare', { broker: 'memory://' });\n`,
    'secret.mjs': `import { Lovage } from '@lovage/core';\nexport const app = new Lovage('s', { broker: 'amqp://ada:hush@localhost//', backend: 'redis://:hush@localhost' });\n`,
    'wrong.mjs': `import { Lovage } from '@lovage/core';\nexport const app = new Lovage('w', { brokerUrll: 'memory://' });\n`,
    'node_modules/tasks-package/package.json': '{ "name": "tasks-package", "type": "module", "exports": "./main.js" }',
    'node_modules/tasks-package/main.js': `import { Lovage } from '@lovage/core';\nexport const app = new Lovage('package', { broker: 'memory://' });\n`,
  };
  folder = projectFolder(files, ['core', 'transport-sql', 'backend-sql', 'transport-amqp']);
});

afterEach(async () => {
  await endAll(started);
  started = [];
  folder.remove();
});

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
  const running = startCommand(folder.path, args, { env });
  started.push(running);
  return running;
}

const run = (...args: string[]): Running['ended'] => start(args).ended;
const app = ['-A', './tasks.ts'];

async function startWorker(...args: string[]): Promise<Running> {
  const worker = start([...app, 'worker', '-l', 'info', '--log-format', 'line', ...args]);
  await worker.said('ready');
  return worker;
}

describe('call and result', () => {
  test('call prints the id, result what became of it', async () => {
    const called = await run(...app, 'call', 'tasks.add', '-a', '[2, 2]');
    expect(called).toMatchObject({ code: 0, err: '' });
    const id = called.out.trim();
    expect(id).toMatch(/^[\da-f-]{36}$/);
    expect(await run(...app, 'result', id)).toMatchObject({ code: 1, out: 'PENDING\n' });
    await startWorker();
    expect(await run(...app, 'result', id, '--wait', '10')).toMatchObject({ code: 0, out: '4\n', err: '' });
    expect(JSON.parse((await run(...app, 'result', id, '--json')).out)).toEqual({
      task_id: id,
      state: 'SUCCESS',
      result: 4,
      traceback: null,
    });
    const kwargs = await run(...app, 'call', 'tasks.add', '-k', '{"x": 40, "y": 2}', '--wait', '10', '--json');
    expect(JSON.parse(kwargs.out)).toEqual({ task_id: expect.any(String), result: 42 });
    const failed = await run('call', 'tasks.fail', '--wait', '10', ...app);
    expect(failed).toMatchObject({ code: 1, out: '', err: 'Error: RangeError: too far\n' });
  });

  test('a wait that is too short has failed, and names the task', async () => {
    const { code, err } = await run(...app, 'call', 'tasks.add', '-a', '[1, 2]', '--wait', '0.2');
    expect(err).toMatch(/^Error: Task [\da-f-]{36} has not ended within 0.2 s/);
    expect(code).toBe(1);
  });

  test('without an app, a broker is enough', async () => {
    const called = await run('-b', 'sqla+sqlite:///shop.db', 'call', 'any.name', '--queue', 'other');
    expect(called).toMatchObject({ code: 0, err: '' });
    expect((await run(...app, 'purge', '-f', '-Q', 'other')).out).toBe('Dropped 1 message from 1 queue (other).\n');
  });
});

test('purge drops what waits, and asks for --force where nobody can answer', async () => {
  for (let call = 0; call < 2; call++) await run(...app, 'call', 'tasks.add', '-a', '[1, 1]');
  expect(await run(...app, 'purge')).toMatchObject({ code: 2, err: expect.stringContaining('--force') });
  expect(JSON.parse((await run(...app, 'purge', '-f', '--json')).out)).toEqual({ purged: 2, queues: { celery: 2 } });
  expect((await run(...app, 'purge', '-f')).out).toBe('Dropped 0 messages from 1 queue (celery).\n');
});

describe('report', () => {
  test('names versions, tasks and settings', async () => {
    const { code, out } = await run(...app, 'report');
    expect(code).toBe(0);
    expect(out).toMatch(/^lovage: \d+\.\d+\.\d+\nnode: v/);
    expect(out).toContain('app: shop\n');
    expect(out).toContain('  tasks.add\n');
    expect(out).not.toContain('hush');
  });

  test('masks passwords, in text and in JSON', async () => {
    for (const json of [[], ['--json']]) {
      const { code, out } = await run('-A', 'secret', 'report', ...json);
      expect(code).toBe(0);
      expect(out).toContain('amqp://ada:');
      expect(out).not.toContain('hush');
    }
  });

  test.each([
    ['common', 'cjs'],
    ['./bare.cjs', 'bare'],
    ['tasks-package', 'package'],
  ])('reads the app of %s', async (reference, name) => {
    const { code, out, err } = await run('-A', reference, 'report', '--json');
    expect({ code, err, app: code === 0 ? (JSON.parse(out) as { app: string }).app : out }).toEqual({
      code: 0,
      err: '',
      app: name,
    });
  });
});

describe('worker', () => {
  test('log and pidfile may be settings', async () => {
    const env = { LOVAGE_WORKER_LOGFILE: 'logs/worker.log', LOVAGE_WORKER_PIDFILE: 'worker.pid' };
    writeFileSync(join(folder.path, 'worker.pid'), '999999999\n');
    const worker = start([...app, 'worker', '-l', 'info'], env);
    const log = join(folder.path, 'logs/worker.log');
    await expect.poll(() => existsSync(log) && readFileSync(log, 'utf8')).toContain('ready');
    // The one that was left behind is taken over.
    expect(Number(readFileSync(join(folder.path, 'worker.pid'), 'utf8'))).toBe(worker.child.pid);
    worker.child.kill('SIGTERM');
    expect(await worker.ended).toMatchObject({ code: 0, err: '' });
  });

  test('ends with 0 on SIGTERM, after what it runs; its pidfile goes with it', async () => {
    const worker = await startWorker('--pidfile', 'worker.pid');
    const pidfile = join(folder.path, 'worker.pid');
    expect(Number(readFileSync(pidfile, 'utf8'))).toBe(worker.child.pid);
    const second = await run(...app, 'worker', '--pidfile', 'worker.pid');
    expect(second).toMatchObject({ code: 1, err: expect.stringContaining(`names process ${worker.child.pid}`) });
    const id = (await run(...app, 'call', 'tasks.slow')).out.trim();
    await worker.said(`Task tasks.slow[${id}] received`);
    const asked = performance.now();
    worker.child.kill('SIGTERM');
    expect((await worker.ended).code).toBe(0);
    expect(performance.now() - asked).toBeLessThan(25_000);
    expect(existsSync(pidfile)).toBe(false);
    expect(await run(...app, 'result', id)).toMatchObject({ code: 0, out: 'slow\n' });
  });

  test('ends with 0 on SIGTERM when it has nothing to do', async () => {
    const worker = await startWorker('-c', '1', '-n', 'idle@%n');
    worker.child.kill('SIGTERM');
    expect((await worker.ended).code).toBe(0);
  });

  test('ends with 0 on SIGTERM while it waits for its broker', async () => {
    const worker = start([...app, '-b', 'amqp://127.0.0.1:9//', 'worker', '--pidfile', 'waiting.pid']);
    await expect.poll(() => existsSync(join(folder.path, 'waiting.pid'))).toBe(true);
    worker.child.kill('SIGTERM');
    const { code, err } = await worker.ended;
    expect(code).toBe(0);
    expect(err).not.toContain('before it was ready');
  });

  test.each(['--purge', '--discard'])('drops what waits first with %s', async (flag) => {
    await run(...app, 'call', 'tasks.add', '-a', '[1, 1]');
    const worker = await startWorker(flag);
    worker.child.kill('SIGTERM');
    const { code, err } = await worker.ended;
    expect(code).toBe(0);
    expect(err).toContain('queues emptied (dropped=1)');
    expect(err).not.toContain('received');
  });
});

describe('exit codes', () => {
  const UNREACHABLE = 'amqp://127.0.0.1:9//';
  test.each<[number, string[], RegExp]>([
    [0, ['--help'], /^$/],
    [0, ['worker', '--help'], /^$/],
    [0, ['--version'], /^$/],
    [2, [], /Usage: lovage/],
    [2, ['wroker'], /unknown command 'wroker'[^]*worker/],
    [2, ['-A', './tasks', 'worker', '--nope'], /unknown option '--nope'/],
    [2, ['worker'], /Which app\? Give its module with -A/],
    [2, ['call', 'x'], /Which broker\?/],
    [2, [...app, 'call', 'tasks.add', '-a', '{'], /--args is not JSON/],
    [2, [...app, 'call', 'tasks.add', '-a', '{}'], /--args is \{\}. Expected a JSON array/],
    [2, [...app, 'call', 'tasks.add', '-k', '[]'], /--kwargs is \[\]/],
    [2, [...app, 'call', 'tasks.add', '--countdown', 'soon'], /"soon" is not a number/],
    [2, [...app, 'call', 'tasks.add', '--priority', '99'], /priority 99/],
    [2, [...app, 'worker', '-l', 'loud'], /"loud" is no log level/],
    [2, [...app, 'worker', '-c', '0'], /"0" is no whole number above 0/],
    [2, [...app, '--workdir', './nowhere', 'report'], /nowhere of --workdir cannot be entered/],
    [78, ['-b', 'memory://', 'result', 'some-id'], /No result store is configured/],
    [78, ['-A', './nowhere', 'report'], /No module "\.\/nowhere"/],
    [78, ['-A', 'wrong', 'report'], /brokerUrll.*brokerUrl/],
    [78, ['-b', 'nonsense://x', 'call', 'x'], /nonsense/],
    [78, [...app, 'worker', '--purge', '-P', 'nonsense'], /nonsense/],
  ])('%i: lovage %j', async (code, args, message) => {
    const ended = await run(...args);
    expect(ended.err).toMatch(message);
    expect(ended.err).not.toMatch(/^ {4}at /m);
    expect(ended.code).toBe(code);
  });

  test('69 when the broker is out of reach', async () => {
    const env = { LOVAGE_PUBLISH_TIMEOUT_SECONDS: '1' };
    const installed = projectFolder({}, ['core', 'transport-amqp']);
    try {
      const { code, err } = await start(['--workdir', installed.path, '-b', UNREACHABLE, 'call', 'x'], env).ended;
      expect(err).toMatch(/ERR_(CONNECT|TIMEOUT)/);
      expect(code).toBe(69);
    } finally {
      installed.remove();
    }
  });

  test('help and wrong words read the code of no verb', async () => {
    const hook = `import { writeSync } from 'node:fs';
      export const load = (url, context, next) => { writeSync(1, url + '\\n'); return next(url, context); };`;
    const spy = `import { register } from 'node:module'; register('data:text/javascript,${encodeURIComponent(hook).replaceAll("'", '%27')}');`;
    const env = { NODE_OPTIONS: `--import="data:text/javascript,${encodeURIComponent(spy)}"` };
    const read = async (...args: string[]): Promise<string> => (await start(args, env).ended).out;
    for (const args of [['--help'], ['--version'], ['wroker']])
      expect(await read(...args)).not.toMatch(/\/(?:core|worker|beat|pino|jiti|commands)\//);
    expect(await read('report', '--help')).toMatch(/\/commands\/report\.js\n/);
  });

  test('help says what there is, with examples', async () => {
    const { out } = await run('--help');
    for (const word of ['worker', 'call', 'result', 'purge', 'report', 'Examples:', 'Exit codes:'])
      expect(out).toContain(word);
  });
});
