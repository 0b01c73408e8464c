import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLovageError, Lovage } from '@lovage/core';
import { BackendUrl, type ResultWrite } from '@lovage/core/backend';
import { redisBackend } from '@lovage/backend-redis';
import { openRedis, readEndpoint } from '@lovage/redis';
import { describe, expect, test } from 'vitest';
import { hasRedisServer, startRedis } from '../../redis/test/servers.ts';

const WAITERS = 10_000;

const success = (task_id: string): ResultWrite => ({
  meta: { status: 'SUCCESS', result: task_id, traceback: null, children: [], date_done: null, task_id },
});

/** Again until the server is back. */
async function patiently(work: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isLovageError(error) || !error.retryable) throw error;
      await sleep(20);
    }
  }
}

describe.skipIf(!hasRedisServer)('waiting for results in Redis', () => {
  test('ten thousand waiters of a process get through a restart of the store, over one connection', async () => {
    const server = await startRedis(['--appendonly', 'yes', '--appendfsync', 'always']);
    const url = `redis://127.0.0.1:${server.port}/0`;
    const [waiting, storing] = ['waiting', 'storing'].map(
      (name) => new Lovage(name, { broker: 'memory://', backend: url, backends: [redisBackend] }),
    ) as [Lovage, Lovage];
    const ask = async (command: string, args: readonly string[]): Promise<unknown> => {
      const link = await openRedis(readEndpoint(new BackendUrl(url)));
      try {
        return await link.text(command, args);
      } finally {
        link.close();
      }
    };
    const subscribers = async (): Promise<number> =>
      String(await ask('client', ['list', 'type', 'pubsub']))
        .split('\n')
        .filter(Boolean).length;
    const channels = async (): Promise<number> => ((await ask('pubsub', ['channels', '*'])) as unknown[]).length;
    try {
      const ids = Array.from({ length: WAITERS }, () => randomUUID());
      const [early, missed, late] = [ids.slice(0, 3000), ids.slice(3000, 6000), ids.slice(6000)];
      const answers = ids.map((id) => waiting.asyncResult(id).get({ timeout: 60 }));
      const all = Promise.all(answers);
      all.catch(() => {}); // looked at below
      await expect.poll(channels).toBe(WAITERS);
      expect(await subscribers()).toBe(1);

      const backend = await storing.requireBackend('test');
      const store = (some: readonly string[]) => patiently(() => backend.store(some.map(success)));
      await store(early);
      await Promise.all(answers.slice(0, early.length));
      // What comes first after the restart is stored before anybody is subscribed again.
      const restarting = server.restart();
      await Promise.all([restarting, store(missed)]);
      await Promise.all(answers.slice(0, early.length + missed.length));
      await expect.poll(channels).toBe(WAITERS);
      expect(await subscribers()).toBe(1);
      await store(late);
      expect(await all).toEqual(ids);
    } finally {
      await Promise.all([waiting.close(), storing.close()]);
      await server.stop();
    }
  }, 60_000);
});
