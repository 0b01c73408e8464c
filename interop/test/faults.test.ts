import { randomUUID } from 'node:crypto';
import type { Lovage } from '@lovage/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PoolHost } from '../../packages/worker/test/support/pool-host.ts';
import { PythonClient } from './peers.ts';
import { PATIENCE_SECONDS } from './processes.ts';

interface Expected {
  readonly state: string;
  readonly type?: string;
}

interface Fault extends Expected {
  readonly name: string;
  readonly pools: readonly string[];
  /** What differs where results are JSON. */
  readonly json: Partial<Expected>;
}

const { LOVAGE_TEST_REDIS_URL: redis, LOVAGE_TEST_PYTHON: python } = process.env;
const queue = `faults-${randomUUID().slice(0, 8)}`;
const appModule = new URL('../../packages/worker/test/support/fault-app.mjs', import.meta.url).href;

/** Everything that tasks do wrong: the real Celery must be able to read what became of each. */
describe.skipIf(redis === undefined || python === undefined)('Celery 5.6 reads what became of', async () => {
  Object.assign(process.env, {
    FAULTS_BROKER: redis,
    FAULTS_BACKEND: redis,
    FAULTS_QUEUE: queue,
    FAULTS_RESOLVE_FROM: import.meta.url,
  });
  const { app, FAULTS } = (await import(appModule)) as { app: Lovage; FAULTS: readonly Fault[] };
  let reader: PythonClient;

  beforeAll(() => {
    const meeting = { broker: redis as string, backend: redis as string, pythonQueue: queue, typescriptQueue: queue };
    reader = new PythonClient({ ...meeting, python: python as string });
  });

  afterAll(async () => {
    await Promise.all([reader?.close(), app.close()]);
  });

  describe.each(['processes', 'threads', 'async'])('%s', (pool) => {
    let host: PoolHost;
    beforeAll(async () => {
      host = new PoolHost(appModule, { pool, concurrency: 2 });
      await host.ready;
    });
    afterAll(() => host.end());

    it.each(FAULTS.filter(({ pools }) => pools.includes(pool)))('$name', async ({ name, state, type, json }) => {
      const expected = { state, type, ...json };
      const { id } = await app.sendTask(name);
      const answer = await reader.get(id);
      expect(answer.state).toBe(expected.state);
      if (expected.type !== undefined) expect(answer.result).toMatchObject({ exception: expected.type });
      // A child that its task ends later takes with it what it is given until then: nothing of the next row.
      const echoes = await Promise.all([1, 2].map((n) => app.sendTask('echo', { args: [n] })));
      await Promise.allSettled(echoes.map((echo) => echo.get({ timeout: PATIENCE_SECONDS })));
    });

    it('a task that was sent by a task is its child', async () => {
      const { id } = await app.sendTask('nests');
      const { result, meta } = await reader.get(id);
      // As Python's client shows the result object that it has made of it.
      expect(meta.children).toEqual([`<AsyncResult: ${String(result)}>`]);
    });
  });
});
