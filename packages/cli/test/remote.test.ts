import { randomUUID } from 'node:crypto';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { endAll, type Running, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

const redis = process.env.LOVAGE_TEST_REDIS_URL;

/** Every verb as a process, against one worker. */
describe.skipIf(!redis?.includes('/'))('remote control and events from the command line', () => {
  const mark = randomUUID().slice(0, 8);
  const node = `worker@${mark}`;
  const folder = projectFolder({
    'tasks.ts': `
import { Lovage } from '@lovage/core';
export const app: Lovage = new Lovage('remote', {
  broker: process.env.LOVAGE_TEST_REDIS_URL as string,
  taskDefaultQueue: 'cli-${mark}',
});
app.task('tasks.add', { params: ['x', 'y'] }, (x: number, y: number) => x + y);
app.task('tasks.print', () => console.log('printed'));
`,
  });
  const started: Running[] = [];
  let worker: Running;
  let port: number;
  let metricsPort: number;

  const start = (...args: string[]): Running => {
    const running = startCommand(folder.path, ['-A', './tasks.ts', ...args]);
    started.push(running);
    return running;
  };
  const run = (...args: string[]): Running['ended'] => start(...args).ended;

  beforeAll(async () => {
    [port, metricsPort] = [await freePort(), await freePort()];
    const ports = ['--health-port', String(port), '--metrics-port', String(metricsPort)];
    worker = start('worker', '-l', 'info', '--log-format', 'line', '-E', '-n', node, '-c', '2', ...ports);
    await worker.said('ready: consuming');
  }, 30_000);

  afterAll(async () => {
    await endAll(started);
    folder.remove();
  });

  const only = ['-d', node, '-t', '50'];

  test('status and ping say who is there; nobody is 69', async () => {
    expect(await run('status', ...only)).toEqual({ code: 0, out: `->  ${node}: OK\n\n1 node online.\n`, err: '' });
    const json = await run('inspect', 'ping', ...only, '--json');
    expect(JSON.parse(json.out)).toEqual({ [node]: { ok: 'pong' } });
    expect(await run('inspect', 'ping', '-d', 'nobody@nowhere', '-t', '0.2')).toEqual({
      code: 69,
      out: '',
      err: 'Error: No nodes replied within time constraint\n',
    });
  });

  test('inspect shows tables to people', async () => {
    const { out, code } = await run('inspect', 'active_queues', ...only);
    expect(code).toBe(0);
    expect(out).toContain(`cli-${mark}  cli-${mark}  direct`);
    expect((await run('inspect', 'registered', 'rate_limit', ...only)).out).toContain('* tasks.add');
    expect((await run('inspect', 'active', ...only)).out).toContain('- empty -');
  });

  test('control changes the worker, and says what went wrong', async () => {
    expect((await run('control', 'rate_limit', 'tasks.add', '10/m', ...only)).out).toContain(
      'new rate limit set successfully',
    );
    expect((await run('control', 'rate_limit', 'no.such', '1/s', ...only)).out).toContain(
      'ERROR\n        unknown task',
    );
    const grown = await run('control', 'pool_grow', '2', ...only, '-j');
    expect(JSON.parse(grown.out)).toEqual([{ [node]: { ok: 'pool will grow' } }]);
  });

  test('wrong commands and arguments are told before anybody is asked', async () => {
    const wrong = await run('inspect', 'activ');
    expect(wrong.code).toBe(2);
    expect(wrong.err).toMatch(/Command activ not recognized.*Did you mean "active"/s);
    expect((await run('inspect', 'revoke')).err).toContain('Did you mean "lovage control revoke"?');
    expect(await run('control', 'rate_limit', 'x')).toMatchObject({
      code: 2,
      err: expect.stringContaining('Command rate_limit takes arguments: <task_name> <rate_limit'),
    });
    expect((await run('control', '--list')).out).toMatch(/add_consumer <queue>[^]*terminate <signal>/);
  });

  test('events come as lines or as JSON', async () => {
    const dump = start('events', '--dump');
    expect(await dump.said(new RegExp(`${node} .* worker heartbeat`), 'out')).toMatch(/sw_ident=lovage/);
    dump.child.kill('SIGINT');
    const json = start('events', '--json');
    const text = await json.said(/\n/, 'out');
    expect(JSON.parse(text.split('\n')[0] as string)).toMatchObject({ type: expect.stringMatching(/^worker-/) });
    json.child.kill('SIGINT');
    expect((await json.ended).code).toBe(0);
  });

  test('a reader that has had enough ends what would go on for ever, and no worker', async () => {
    const events = start('events', '--json');
    await events.said('"type"', 'out');
    events.child.stdout?.destroy();
    expect((await events.ended).code).toBe(0);
    worker.child.stdout?.destroy();
    for (let count = 0; count < 2; count++) await run('call', 'tasks.print');
    await worker.said(/(?:tasks\.print\[[^\]]*\] succeeded[^]*){2}/);
    expect((await run('status', ...only)).code).toBe(0);
  });

  test('probes and metrics are answered', async () => {
    const ready = await fetch(`http://127.0.0.1:${port}/readyz`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toMatchObject({ node, state: 'running', connected: true, queues: [`cli-${mark}`] });
    expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200);
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(404);
    const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    expect(metrics).toContain(`lovage_worker_up{worker="${node}"} 1`);
    expect(metrics).toContain('nodejs_eventloop_lag');
  });

  test('shutdown by remote control ends the worker with 0', async () => {
    // A command that comes later than its timeout is none.
    expect((await run('control', 'shutdown', '-d', node, '-t', '5')).code).toBe(0);
    expect((await worker.ended).code).toBe(0);
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
