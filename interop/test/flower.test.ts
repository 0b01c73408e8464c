import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Lovage } from '@lovage/core';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { environment, startLovage, startPeer, until, type ControlMeeting, type Peer } from './control-peers.ts';

const { LOVAGE_TEST_REDIS_URL: redis, LOVAGE_TEST_AMQP_URL: amqp, LOVAGE_TEST_FLOWER_PYTHON: flower } = process.env;

for (const [name, broker] of [
  ['Redis', redis],
  ['RabbitMQ', amqp],
] as const) {
  describe.skipIf(!flower?.includes('/') || !broker?.includes('/') || !redis?.includes('/'))(
    `Flower over a cluster of Lovage workers only, ${name}`,
    () => board(name, { broker: broker as string, backend: redis as string, python: flower as string }),
  );
}

interface FlowerTask {
  readonly state: string;
  readonly name: string | null;
  readonly args: string | null;
  readonly kwargs: string | null;
  readonly result: string | null;
  readonly exception: string | null;
  readonly worker: string | null;
  readonly runtime: number | null;
  readonly retries: number | null;
}

function board(name: string, meeting: ControlMeeting): void {
  const mark = randomUUID().slice(0, 8);
  const NODE = `lovage@${mark}`;
  const queue = `flower-${mark}`;
  let base: string;
  let app: Lovage;
  let web: Peer;
  let worker: Peer;

  beforeAll(async () => {
    const port = await freePort();
    base = `http://127.0.0.1:${port}`;
    app = new Lovage('flower-test', {
      broker: meeting.broker,
      backend: meeting.backend,
      taskDefaultQueue: queue,
      taskSendSentEvent: true,
    });
    const env = { ...environment(meeting, queue), FLOWER_UNAUTHENTICATED_API: 'true' };
    const args = ['-m', 'celery', '-A', 'control_tasks', 'flower', '--address=127.0.0.1', `--port=${port}`];
    web = await startPeer(meeting.python, args, env, /Visit me|Connected to/);
    worker = await startLovage(meeting, NODE, queue, ['-c', '2', '-E']);
  }, 120_000);

  afterAll(async () => {
    await Promise.all([app?.close(), web?.stop(), worker?.stop()]);
  }, 60_000);

  async function get<T>(path: string): Promise<T> {
    const response = await fetch(`${base}${path}`);
    const text = await response.text();
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${text}`);
    return JSON.parse(text) as T;
  }

  async function post(path: string, fields: Readonly<Record<string, string>> = {}): Promise<string> {
    const response = await fetch(`${base}${path}`, { method: 'POST', body: new URLSearchParams(fields) });
    const text = await response.text();
    assert.equal(response.status, 200, `POST ${path}: ${text}`);
    return text;
  }

  const task = (id: string, state: string): Promise<FlowerTask> =>
    until(async () => {
      const seen = (await get<Record<string, FlowerTask>>('/api/tasks'))[id];
      return seen?.state === state ? seen : undefined;
    }, `task in state ${state}`);

  interface WorkerPage {
    readonly stats: { readonly pool: { readonly 'max-concurrency': number } };
    readonly active_queues: readonly { readonly name: string }[];
    readonly registered: readonly string[];
    readonly conf: Readonly<Record<string, unknown>>;
  }
  const page = async (): Promise<WorkerPage> =>
    (await get<Record<string, WorkerPage>>(`/api/workers?refresh=1&workername=${NODE}`))[NODE] as WorkerPage;

  it('lists the worker online, with what it is', { timeout: 60_000 }, async () => {
    await until(
      async () => ((await get<Record<string, boolean>>('/api/workers?status=1'))[NODE] ? true : undefined),
      'live worker',
    );
    const shown = await page();
    assert.equal(shown.stats.pool['max-concurrency'], 2);
    assert.deepEqual(
      shown.active_queues.map((one) => one.name),
      [queue],
    );
    assert.deepEqual(shown.registered, ['jobs.add', 'jobs.fail', 'jobs.retry', 'jobs.sleep']);
    assert.equal(shown.conf['task_default_queue'], queue);
  });

  it('follows tasks through all states, with arguments and results', { timeout: 60_000 }, async () => {
    const added = await task((await app.sendTask('jobs.add', { args: [2, 3] })).id, 'SUCCESS');
    assert.deepEqual([added.name, added.args, added.kwargs, added.result], ['jobs.add', '(2, 3)', '{}', '5']);
    assert.equal(added.worker, NODE);
    assert.equal(typeof added.runtime, 'number');
    const failed = await task((await app.sendTask('jobs.fail', { args: ['no luck'] })).id, 'FAILURE');
    assert.equal(failed.exception, "RangeError('no luck')");
    // Flower takes the count of retries from the newest event that has one: let that be none of the client's.
    const retried = await task((await app.sendTask('jobs.retry', { countdown: 1 })).id, 'SUCCESS');
    assert.equal(retried.retries, 1);
    const running = await app.sendTask('jobs.sleep', { args: [30] });
    await task(running.id, 'STARTED');
    await post(`/api/task/revoke/${running.id}`, { terminate: 'true', signal: 'SIGKILL' });
    await task(running.id, 'REVOKED');
    const later = await app.sendTask('jobs.add', { args: [1, 1], countdown: 100 });
    await task(later.id, 'RECEIVED');
    await post(`/api/task/revoke/${later.id}`);
    const other = await app.sendTask('jobs.add', { args: [1, 1], queue: 'nobody-listens' });
    await task(other.id, 'PENDING');
    const { result, state } = await get<{ result: string; state: string }>(
      `/api/task/result/${(await app.sendTask('jobs.add', { args: [20, 22] })).id}?timeout=5`,
    );
    assert.deepEqual([state, String(result)], ['SUCCESS', '42']);
  });

  it("its buttons work: rate and time limits, the pool's size, consumers", { timeout: 60_000 }, async () => {
    assert.match(
      await post('/api/task/rate-limit/jobs.add', { workername: NODE, ratelimit: '200' }),
      /new rate limit set successfully/,
    );
    assert.match(
      await post('/api/task/timeout/jobs.sleep', { workername: NODE, soft: '0.2', hard: '0.4' }),
      /time limits set successfully/,
    );
    const limited = await task((await app.sendTask('jobs.sleep', { args: [20] })).id, 'FAILURE');
    assert.match(limited.exception ?? '', /TimeLimitExceeded/);
    await post(`/api/worker/pool/grow/${NODE}`, { n: '3' });
    assert.equal((await page()).stats.pool['max-concurrency'], 5);
    await post(`/api/worker/pool/shrink/${NODE}`, { n: '1' });
    assert.equal((await page()).stats.pool['max-concurrency'], 4);
    const more = `more-${mark}`;
    await post(`/api/worker/queue/add-consumer/${NODE}`, { queue: more });
    assert.deepEqual(
      (await page()).active_queues.map((one) => one.name),
      [queue, more],
    );
    await task((await app.sendTask('jobs.add', { args: [1, 2], queue: more })).id, 'SUCCESS');
    await post(`/api/worker/queue/cancel-consumer/${NODE}`, { queue: more });
    assert.deepEqual(
      (await page()).active_queues.map((one) => one.name),
      [queue],
    );
  });

  const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
  it.skipIf(browser === undefined)('shows all that in a browser', { timeout: 60_000 }, async () => {
    const folder = fileURLToPath(new URL('../.results/', import.meta.url));
    mkdirSync(folder, { recursive: true });
    for (const shown of ['workers', 'tasks', `worker/${NODE}`]) {
      const file = join(folder, `flower-${name.toLowerCase()}-${shown.split('/')[0]}.png`);
      const profile = mkdtempSync(join(tmpdir(), 'lovage-browser-'));
      const options = [
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--hide-scrollbars',
        '--window-size=1400,900',
      ];
      await promisify(execFile)(
        browser as string,
        [
          ...options,
          `--user-data-dir=${profile}`,
          '--virtual-time-budget=5000',
          `--screenshot=${file}`,
          `${base}/${shown}`,
        ],
        { timeout: 40_000 },
      );
      rmSync(profile, { recursive: true, force: true });
      assert.ok(statSync(file).size > 10_000, `${file} is empty`);
    }
  });

  it('shuts the worker down', { timeout: 60_000 }, async () => {
    await post(`/api/worker/shutdown/${NODE}`);
    await until(async () => (worker.child.exitCode === 0 ? true : undefined), 'end of the worker');
    await until(
      async () => ((await get<Record<string, boolean>>('/api/workers?status=1'))[NODE] === true ? undefined : true),
      'worker that is offline',
    );
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
