import { randomUUID } from 'node:crypto';
import { Lovage } from '@lovage/core';
import { memoryBackend, memoryTransport } from '@lovage/core/memory';
import { Worker } from '@lovage/worker';
import { expect, onTestFinished, test } from 'vitest';
import { MetricsServer } from './server.ts';

test('what happens to tasks is counted, and served as Prometheus reads it', async () => {
  const broker = `memory://${randomUUID()}`;
  const app = new Lovage('metrics', {
    broker,
    backend: `cache+${broker}`,
    transports: [memoryTransport],
    backends: [memoryBackend],
  });
  const add = app.task('add', (x: number, y: number) => x + y);
  const fail = app.task('fail', () => {
    throw new RangeError('no');
  });
  const worker = new Worker(app, { nodeName: 'w@here', concurrency: 3, guardProcess: false });
  const server = new MetricsServer({ app, worker, port: 0, host: '127.0.0.1', processMetrics: false });
  onTestFinished(async () => {
    await worker.stop('cold');
    await server.close();
    await app.close();
  });
  const port = await server.listen();
  await worker.start();
  await (await add.delay(1, 2)).get({ timeout: 5 });
  await (await add.delay(1, 2)).get({ timeout: 5 });
  await (await fail.delay()).get({ timeout: 5 }).catch(() => undefined);
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  expect(response.headers.get('content-type')).toContain('text/plain');
  const lines = (await response.text()).split('\n').filter((line) => !line.startsWith('#'));
  expect(lines).toEqual(
    expect.arrayContaining([
      'lovage_task_published_total{task="add"} 2',
      'lovage_task_received_total{task="add"} 2',
      'lovage_task_started_total{task="add"} 2',
      'lovage_task_succeeded_total{task="add"} 2',
      'lovage_task_failed_total{task="fail",exception="RangeError"} 1',
      'lovage_task_runtime_seconds_count{task="add"} 2',
      'lovage_worker_up{worker="w@here"} 1',
      'lovage_worker_concurrency{worker="w@here"} 3',
    ]),
  );
  expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(404);
});
