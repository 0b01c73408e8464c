import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Lovage } from '@lovage/core';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { type ControlMeeting, environment, startLovage } from './control-peers.ts';
import { PATIENCE_SECONDS, type Running, start, until } from './processes.ts';

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

const LISTENS = /Visit me at (http:\/\/[\d.]+:\d+)/;

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
  let web: Running;
  let worker: Running;

  beforeAll(async () => {
    app = new Lovage('flower-test', {
      broker: meeting.broker,
      backend: meeting.backend,
      taskDefaultQueue: queue,
      taskSendSentEvent: true,
    });
    const env = { ...environment(meeting, queue), FLOWER_UNAUTHENTICATED_API: 'true' };
    const args = '-m celery -A flower_app flower --address=127.0.0.1 --port=0'.split(' ');
    // It listens when it says where.
    web = await start(meeting.python, args, env, LISTENS);
    base = LISTENS.exec(web.output())?.[1] as string;
    worker = await startLovage(meeting, NODE, queue, ['-c', '2', '-E']);
  });

  afterAll(async () => {
    await Promise.all([app?.close(), web?.stop(), worker?.stop()]);
  });

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
  const shownOnline = async (): Promise<boolean> =>
    (await get<Record<string, boolean>>('/api/workers?status=1'))[NODE] === true;

  interface WorkerPage {
    readonly stats: { readonly pool: { readonly 'max-concurrency': number } };
    readonly active_queues: readonly { readonly name: string }[];
    readonly registered: readonly string[];
    readonly conf: Readonly<Record<string, unknown>>;
  }
  const page = async (): Promise<WorkerPage> =>
    (await get<Record<string, WorkerPage>>(`/api/workers?refresh=1&workername=${NODE}`))[NODE] as WorkerPage;

  it('lists the worker online, with what it is', async () => {
    await until(shownOnline, 'live worker');
    const shown = await page();
    assert.equal(shown.stats.pool['max-concurrency'], 2);
    assert.deepEqual(
      shown.active_queues.map((one) => one.name),
      [queue],
    );
    assert.deepEqual(shown.registered, ['jobs.add', 'jobs.fail', 'jobs.retry', 'jobs.sleep']);
    assert.equal(shown.conf['task_default_queue'], queue);
  });

  it('follows tasks through all states, with arguments and results', async () => {
    const added = await task((await app.sendTask('jobs.add', { args: [2, 3] })).id, 'SUCCESS');
    assert.deepEqual([added.name, added.args, added.kwargs, added.result], ['jobs.add', '(2, 3)', '{}', '5']);
    assert.equal(added.worker, NODE);
    assert.equal(typeof added.runtime, 'number');
    const failed = await task((await app.sendTask('jobs.fail', { args: ['no luck'] })).id, 'FAILURE');
    assert.equal(failed.exception, "RangeError('no luck')");
    // Flower takes the count of retries from the event that comes last, be it the client's: this client sends none.
    const { broker, backend } = meeting;
    const silent = new Lovage('silent', { broker, backend, taskDefaultQueue: queue });
    const retried = await task((await silent.sendTask('jobs.retry')).id, 'SUCCESS');
    await silent.close();
    assert.equal(retried.retries, 1);
    const running = await app.sendTask('jobs.sleep', { args: [600] });
    await task(running.id, 'STARTED');
    await post(`/api/task/revoke/${running.id}`, { terminate: 'true', signal: 'SIGKILL' });
    await task(running.id, 'REVOKED');
    const later = await app.sendTask('jobs.add', { args: [1, 1], countdown: 100 });
    await task(later.id, 'RECEIVED');
    await post(`/api/task/revoke/${later.id}`);
    const other = await app.sendTask('jobs.add', { args: [1, 1], queue: 'nobody-listens' });
    await task(other.id, 'PENDING');
    const sum = await app.sendTask('jobs.add', { args: [20, 22] });
    // Flower says the state in which it was before Flower waited for it.
    await sum.get({ timeout: PATIENCE_SECONDS });
    const { result, state } = await get<{ result: string; state: string }>(`/api/task/result/${sum.id}?timeout=30`);
    assert.deepEqual([state, String(result)], ['SUCCESS', '42']);
  });

  it("its buttons work: rate and time limits, the pool's size, consumers", async () => {
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
  it.skipIf(browser === undefined)('shows all that in a browser', { timeout: 540_000 }, async () => {
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
        { timeout: 180_000 },
      );
      rmSync(profile, { recursive: true, force: true, maxRetries: 10 }); // its processes end after it
      assert.ok(statSync(file).size > 10_000, `${file} is empty`);
    }
  });

  it('shuts the worker down', async () => {
    await post(`/api/worker/shutdown/${NODE}`);
    await until(() => worker.child.exitCode === 0, 'end of the worker');
    await until(async () => !(await shownOnline()), 'worker that is offline');
  });
}
