import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Lovage } from '@lovage/core';
import type { TaskMeta } from '@lovage/core/protocol';
import { PoolHost } from './support/pool-host.ts';

interface Fault {
  readonly name: string;
  readonly pools: readonly string[];
  readonly state: string;
  readonly type: string | undefined;
  readonly result: unknown;
}

const SLOTS = 2;
/** Two seconds are promised; a loaded machine takes longer to write fifty megabytes. */
const BACK_MS = 15_000;
const dir = mkdtempSync(join(tmpdir(), 'lovage-faults-'));
process.env.FAULTS_BROKER = `sqla+sqlite:///${dir}/faults.db`;
process.env.FAULTS_BACKEND = `db+sqlite:///${dir}/faults.db`;
const appModule = new URL('./support/fault-app.mjs', import.meta.url).href;
const { app, FAULTS } = (await import(appModule)) as { app: Lovage; FAULTS: readonly Fault[] };

afterAll(async () => {
  await app.close();
  rmSync(dir, { recursive: true, force: true });
});

async function final(id: string): Promise<TaskMeta> {
  await app.asyncResult(id).get({ timeout: 30, propagate: false });
  const [meta] = await (await app.requireBackend('test')).load([id]);
  return meta as TaskMeta;
}

describe.each(['processes', 'threads', 'async'])('%s', (pool) => {
  let host: PoolHost;

  beforeAll(async () => {
    host = new PoolHost(appModule, { pool, concurrency: SLOTS });
    await host.ready;
  });

  afterAll(() => host.end());

  test.each(FAULTS.filter(({ pools }) => pools.includes(pool)))('$name', async ({ name, state, type, result }) => {
    const { id } = await app.sendTask(name);
    const meta = await final(id);
    expect(meta.status).toBe(state);
    if (type !== undefined) expect(meta.result).toMatchObject({ exc_type: type, exc_message: expect.any(Array) });
    if (result !== undefined) expect(meta.result).toEqual(result);
    // All slots take work again, and the parent never left.
    const before = performance.now();
    const echoes = await Promise.all(Array.from({ length: SLOTS }, (_, n) => app.sendTask('echo', { args: [n] })));
    expect(await Promise.all(echoes.map((echo) => echo.get({ timeout: 25 })))).toEqual([0, 1]);
    await host.call('free');
    expect(performance.now() - before).toBeLessThan(BACK_MS);
    expect(host.isAlive).toBe(true);
  });
});
