import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { AsyncResult, Lovage } from '@lovage/core';
import type { TaskMeta } from '@lovage/core/protocol';
import { ChildPool } from '../src/pools/children/child-pool.ts';
import type { WorkerOptions } from '../src/worker.ts';
import { ManualClock } from './support/manual-clock.ts';
import { PoolHost } from './support/pool-host.ts';

const dir = mkdtempSync(join(tmpdir(), 'lovage-pools-'));
process.env.POOLS_BROKER = `sqla+sqlite:///${dir}/pools.db`;
process.env.POOLS_BACKEND = `db+sqlite:///${dir}/pools.db`;
process.env.POOLS_NOTES = join(dir, 'notes');
const appModule = new URL('./support/pool-app.mjs', import.meta.url).href;
const { app } = (await import(appModule)) as { app: Lovage };

afterAll(async () => {
  await app.close();
  rmSync(dir, { recursive: true, force: true });
});

let host: PoolHost;
beforeEach(() => writeFileSync(process.env.POOLS_NOTES as string, ''));
afterEach(async () => {
  await host?.end();
  const connection = await app.producerConnection().connection();
  await connection.purge('celery');
});

const allNotes = (): string[] =>
  readFileSync(process.env.POOLS_NOTES as string, 'utf8')
    .split('\n')
    .slice(0, -1);
/** Without those of children that start and end. */
const notes = (): string[] => allNotes().filter((line) => !/^(?:init|shutdown) /.test(line));
const send = (name: string, ...args: unknown[]): Promise<AsyncResult> => app.sendTask(name, { args });
const run = async (name: string, ...args: unknown[]): Promise<unknown> =>
  (await send(name, ...args)).get({ timeout: 30 });

async function start(options: WorkerOptions, module = appModule): Promise<PoolHost> {
  host = new PoolHost(module, { concurrency: 2, ...options });
  await host.ready;
  return host;
}

async function meta(id: string, is = ({ status }: TaskMeta) => /SUCCESS|FAILURE|REVOKED/.test(status)) {
  const backend = await app.requireBackend('test');
  return until(async () => {
    const [found] = await backend.load([id]);
    return found !== undefined && is(found) ? found : undefined;
  });
}

async function until<T>(ask: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  const end = performance.now() + 30_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > end) throw new Error(`Waited in vain. The host says: ${host.output}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe.each(['processes', 'threads'] as const)('%s', (pool) => {
  test('children are replaced after so many tasks, and none is lost', async () => {
    await start({ pool, concurrency: 1, maxTasksPerChild: 3 });
    const places = [];
    for (let n = 0; n < 7; n++) places.push(await run('where'));
    expect(new Set(places).size).toBe(3);
    expect(places[0]).toBe(places[2]);
    expect(places[2]).not.toBe(places[3]);
  });

  test('a child that holds too much memory is replaced after its task', async () => {
    await start({ pool, concurrency: 1, maxMemoryPerChild: 150 * 1024 });
    const small = await run('hoard', 1);
    expect(await run('where')).toBe(small);
    expect(await run('hoard', 150)).toBe(small);
    expect(await run('where')).not.toBe(small);
  });

  test('the pool grows, shrinks and restarts while tasks run', async () => {
    await start({ pool, concurrency: 1 });
    const first = await run('where');
    await host.call('grow', 2);
    const results = await Promise.all([1, 2, 3].map(() => send('sleep', 300)));
    await until(() => notes().length === 3);
    await host.call('shrink', 2);
    expect(await Promise.all(results.map((result) => result.get({ timeout: 30 })))).toEqual([300, 300, 300]);
    await until(async () => {
      const info = await host.call<{ processes: number[]; threads?: number }>('poolInfo');
      return (info.threads ?? info.processes.length) === 1;
    });
    const before = await run('where');
    await host.call('restartPool');
    expect(await until(async () => (await run('where')) !== before)).toBe(true);
    expect(first).not.toBe(undefined);
  });

  test('a task that is deaf is ended by revoke with terminate, and by a limit that was set while running', async () => {
    await start({ pool });
    const deaf = await send('deaf');
    await until(() => notes().length === 1);
    expect(await host.call('revoke', [deaf.id], { terminate: true, signal: 'SIGKILL' })).toEqual([deaf.id]);
    expect((await meta(deaf.id)).status).toBe('REVOKED');
    await host.call('setTimeLimit', 'deaf.async', { hard: 0.1 });
    const { id } = await send('deaf.async');
    expect((await meta(id)).result).toMatchObject({ exc_type: 'TimeLimitExceeded', exc_message: [0.1] });
    const heeds = await send('sleep', 60_000);
    await until(() => notes().length === 2);
    await host.call('revoke', [heeds.id], { terminate: true });
    expect((await meta(heeds.id)).result).toMatchObject({ exc_type: 'TaskRevokedError' });
  });

  test('the context: node name, current task, progress, a task that is sent', async () => {
    await start({ pool, nodeName: 'me@here' });
    const parent = await send('parent');
    const value = (await parent.get({ timeout: 30 })) as { child: string };
    expect(value).toEqual({ child: expect.any(String), id: parent.id, hostname: 'me@here' });
    expect((await meta(value.child)).result).toBe(7);
  });

  test('STARTED names the process that runs the task', async () => {
    await start({ pool, nodeName: 'me@here' });
    const started = (await run('tracked')) as { pid: number; here: number };
    expect(started).toEqual({ pid: started.here, hostname: 'me@here', here: expect.any(Number) });
    expect(started.pid === host.child.pid).toBe(pool === 'threads');
  });

  test('retry by class, retry with new arguments, replace', async () => {
    await start({ pool });
    expect(await run('flaky')).toBe(2);
    expect(await run('retries', 0)).toEqual([1, true]);
    // The next attempt may end before the handler of the first is called.
    await until(() => notes().includes('onRetry once'));
    expect(await run('replaced')).toBe(99);
  });

  test('handlers run in the child, with the values that were never sent', async () => {
    await start({ pool });
    await run('hooked', false);
    await until(() => notes().length === 3);
    const child = (await run('where')) as string;
    expect(notes()).toEqual([
      'beforeStart false',
      expect.stringMatching(/^onSuccess true \d+$/),
      'afterReturn SUCCESS',
    ]);
    if (pool === 'processes') expect(notes()[1]).not.toBe(`onSuccess true ${host.child.pid}`);
    expect(child).not.toBe('');
    writeFileSync(process.env.POOLS_NOTES as string, '');
    const failed = await send('hooked', true);
    expect((await meta(failed.id)).result).toMatchObject({ exc_type: 'Flaky' });
    await until(() => notes().length === 3);
    expect(notes()).toEqual(['beforeStart true', 'onFailure true 42', 'afterReturn FAILURE']);
  });

  test('a task that was given to a dying child and never began is run by another one', async () => {
    await start({ pool, concurrency: 1 });
    for (let round = 0; round < 2; round++) {
      const dying = await send('dies.after');
      const next = await send('where');
      await dying.get({ timeout: 30 });
      expect(await next.get({ timeout: 30 })).toMatch(/^\d+\/\d+$/);
    }
    if (pool === 'processes') {
      expect((await meta((await send('began')).id)).result).toMatchObject({ exc_type: 'WorkerLostError' });
      expect(notes().filter((line) => line === 'began')).toEqual(['began']);
    }
  });

  test('children tell of their start and their end, and monitors of them', async () => {
    await start({ pool, concurrency: 1 });
    const pid = Number(String(await run('where')).split('/')[0]);
    expect(allNotes()).toEqual([`init ${pid}`]);
    const sleeping = await send('sleep', 60_000);
    await until(() => notes().length === 1);
    const [shown] = Object.values(await app.control.inspect({ timeout: 3 }).active()).flat();
    expect(shown).toMatchObject({ id: sleeping.id, worker_pid: pid });
    await host.call('revoke', [sleeping.id], { terminate: true });
    await meta(sleeping.id);
    writeFileSync(process.env.POOLS_NOTES as string, '');
    await host.call('restartPool');
    await until(() => allNotes().some((line) => line.startsWith('shutdown ')));
  });

  test('a task makes groups and chords of tasks', async () => {
    await start({ pool });
    const replaced = await send('maps', 3);
    await expect(app.asyncResult((await run('adds', 5)) as string).get({ timeout: 30 })).resolves.toBe(10);
    expect((await meta(replaced.id, ({ status }) => status !== 'PENDING')).status).not.toBe('FAILURE');
  });

  test('a pool grows to no size that is a slip', async () => {
    await start({ pool, concurrency: 1 });
    await expect(host.call('grow', 100_000)).rejects.toThrow('is too large. Expected 1000 at most.');
    expect(await host.call('poolInfo')).toMatchObject({ 'max-concurrency': 1 });
  });

  test('what cannot cross is a failure of its task, and the child takes the next one', async () => {
    await start({ pool, concurrency: 1 });
    // A thread may share memory, a process may not.
    if (pool === 'processes') expect((await meta((await send('shared')).id)).status).toBe('FAILURE');
    let deep: unknown = [];
    for (let level = 0; level < 123; level++) deep = [deep];
    const callbacks = [{ task: 'leaf', args: [deep], kwargs: {}, options: {}, subtask_type: null }];
    const body = { id: `deep-${pool}`, task: 'where', args: [], kwargs: {}, callbacks };
    const connection = await app.producerConnection().connection();
    await connection.publish([
      {
        exchange: '',
        routingKey: 'celery',
        message: {
          body: Buffer.from(JSON.stringify(body)),
          contentType: 'application/json',
          contentEncoding: 'utf-8',
          headers: {},
          properties: {},
        },
      },
    ]);
    expect((await meta(body.id)).result).toMatchObject({ exc_type: 'EncodeError' });
    expect(await run('leaf', 1)).toBe(1);
  });

  test('a result that nobody looks at need not be sendable; a stray error replaces its child', async () => {
    await start({ pool, concurrency: 1 });
    await run('where');
    const { id } = await send('ignored');
    const place = await run('where');
    await until(() => host.call('active').then((active) => (active as unknown[]).length === 0));
    expect((await (await app.requireBackend('test')).load([id]))[0]).toBeUndefined();
    await run('stray');
    await until(async () => (await run('where')) !== place);
  });
});

describe('async', () => {
  test('a task that blocks the loop for longer than its lease keeps it, and is named', async () => {
    await start({ pool: 'async' });
    const blocking = await send('block', 5000);
    await until(() => notes().length === 1);
    const other = new PoolHost(appModule, { pool: 'async', concurrency: 1, watchdogMs: 0 });
    try {
      await other.ready;
      await blocking.get({ timeout: 30 });
      expect(notes()).toEqual([`block ${host.child.pid}`]);
      const name = `block[${blocking.id}]`;
      expect(host.output).toMatch(new RegExp(`stands still since .* in task ${name.replace(/[[\]]/g, '\\$&')}`));
      await until(() => host.output.includes(`Task ${name} kept the event loop from turning for`));
    } finally {
      await other.end();
    }
  });
});

test('a process that listens for a debugger is not watched: at a breakpoint its loop may stand', async () => {
  host = new PoolHost(
    appModule,
    { pool: 'async', watchdogMs: 100 },
    { env: { NODE_OPTIONS: '--inspect=127.0.0.1:0' } },
  );
  await host.ready;
  await run('block', 500);
  expect(host.output).toMatch('Debugger listening');
  expect(host.output).not.toMatch(/stands still|kept the event loop/);
});

describe('a child that hangs', () => {
  const isAlive = (pid: number): boolean => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  function hanging(code: string, aliveTimeoutMs = 2 ** 31 - 1) {
    const module = join(dir, 'hanging.mjs');
    writeFileSync(module, code);
    // Children see the built packages, as those of a host do.
    const { execArgv } = process;
    process.execArgv = [];
    onTestFinished(() => void (process.execArgv = execArgv));
    const clock = new ManualClock();
    const lines: string[] = [];
    const line = (_: object, message: string): void => void lines.push(message);
    const pool = new ChildPool({
      kind: 'processes',
      concurrency: 1,
      app: { module: pathToFileURL(module).href },
      nodeName: 'a@b',
      clock,
      logger: { debug: line, info: line, warn: line, error: line },
      maxTasksPerChild: undefined,
      maxMemoryKiB: undefined,
      aliveTimeoutMs,
      limits: [0, 0],
    });
    const started = pool.start();
    started.catch(() => {});
    onTestFinished(async () => {
      const closed = pool.close();
      clock.advance(250);
      await closed;
    });
    return { pool, clock, lines, started };
  }
  const hangs = `import { appendFileSync } from 'node:fs'; const hang = () => {
    appendFileSync(process.env.POOLS_NOTES, 'hangs\\n'); for (;;); };\n`;

  test('before it shows a sign of life is replaced, also when it is the first', async () => {
    const core = new URL('../../core/dist/index.js', import.meta.url).href;
    const code = `import { Lovage } from ${JSON.stringify(core)}; export const app = new Lovage('a');`;
    const { clock, lines, started } = hanging(code, 4000);
    clock.advance(4000);
    await until(() => lines.some((line) => line.includes('no sign of life in 4s')));
    clock.advance(1000);
    await started;
  });

  test('while it loads the app is told, with the module', async () => {
    const { clock, lines } = hanging(`${hangs} hang();`);
    await until(() => notes().length === 1);
    // Its first sign of life is on its way still.
    await until(() => {
      clock.advance(10_000);
      return lines.length === 1;
    });
    expect(lines[0]).toMatch(/loading the app from .*hanging\.mjs for 10s/);
  });

  test('when it is to leave is killed', async () => {
    const core = new URL('../../core/dist/index.js', import.meta.url).href;
    const { pool, clock, started } = hanging(
      `${hangs} import { Lovage } from ${JSON.stringify(core)};
       export const app = new Lovage('hangs', { broker: 'memory://' }); setTimeout(hang, 100);`,
    );
    await started;
    await until(() => notes().length === 1);
    const pid = pool.info.processes[0] as number;
    expect(isAlive(pid)).toBe(true);
    pool.restart();
    clock.advance(3000);
    await until(() => !isAlive(pid));
  });
});

describe('a child that cannot load the app', () => {
  test('the first: the worker does not start, and says why', async () => {
    const broken = join(dir, 'broken.mjs');
    writeFileSync(broken, 'export const app = ;');
    host = new PoolHost(appModule, { pool: 'processes', appModule: pathToFileURL(broken).href });
    await expect(host.ready).rejects.toThrow(/could not load the app from .*broken\.mjs/);
  });

  test('later: the others go on, tries are spaced, nothing is lost', async () => {
    const copy = join(dir, 'copy.mjs');
    const sound = readFileSync(new URL(appModule), 'utf8').replace(
      "from '@lovage/core'",
      `from ${JSON.stringify(import.meta.resolve('@lovage/core').replace('/src/', '/dist/').replace(/\.ts$/, '.js'))}`,
    );
    writeFileSync(copy, sound);
    await start({ pool: 'processes', maxTasksPerChild: 1, appModule: pathToFileURL(copy).href });
    await run('where');
    writeFileSync(copy, 'throw new Error("half deployed");');
    const results = await Promise.all(Array.from({ length: 6 }, () => send('where')));
    await until(() => host.output.includes('half deployed') || host.call('poolInfo').then(() => false));
    writeFileSync(copy, sound);
    await Promise.all(results.map((result) => result.get({ timeout: 30 })));
    expect(existsSync(copy)).toBe(true);
  });

  test('a module that starts a worker by itself is told not to', async () => {
    const starter = join(dir, 'starter.mjs');
    const [core, worker] = ['core', 'worker'].map(
      (name) => new URL(`../../${name}/dist/index.js`, import.meta.url).href,
    );
    writeFileSync(
      starter,
      `import { Lovage } from ${JSON.stringify(core)};
       import { Worker } from ${JSON.stringify(worker)};
       export const app = new Lovage('starter', { broker: 'memory://' });
       await new Worker(app, { pool: 'async' }).start();`,
    );
    host = new PoolHost(appModule, { pool: 'processes', appModule: pathToFileURL(starter).href });
    await expect(host.ready).rejects.toThrow(/Put the worker into a file of its own/);
  });
});
