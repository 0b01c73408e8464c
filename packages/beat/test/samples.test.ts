// The settings modules of a Python project, each in its old spelling and in today's: the same configuration, and a worker
// and a beat that do what it says.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PeriodicTasks } from '@lovage/beat';
import type { Lovage, QueueReply, StatsReply } from '@lovage/core';
import { BrokerUrl } from '@lovage/core/transport';
import { openRedis, readEndpoint } from '@lovage/redis';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';

const { LOVAGE_TEST_REDIS_URL: redis = '', LOVAGE_TEST_AMQP_URL: amqp = '' } = process.env;
const hostModule = fileURLToPath(new URL('./samples/host.mjs', import.meta.url));
const { sampleApp } = (await import(new URL('./samples/app.mjs', import.meta.url).href)) as {
  sampleApp: (given: object) => Lovage;
};

const folder = mkdtempSync(join(tmpdir(), 'lovage-samples-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Sample {
  readonly sample: string;
  /** Of `inspect stats`. */
  readonly pool: Readonly<Record<string, unknown>>;
  readonly prefetch: number;
  readonly resultExpires: number;
  /** Of `inspect conf`. */
  readonly conf: Readonly<Record<string, unknown>>;
  /** Queue, exchange, its type, binding key. */
  readonly queues: readonly (readonly [string, string, string, string])[];
  /** Exchanges and routing keys that lead to a queue of the worker. */
  readonly reaches: readonly (readonly [string, string])[];
  readonly entry: string;
  readonly result: unknown;
  /** What `next` gives for the entry, told in hours of its zone or as distances. */
  readonly times: (instants: readonly Date[]) => unknown;
  readonly expectedTimes: unknown;
}

const SAMPLES: readonly Sample[] = [
  {
    sample: 'mapping',
    pool: { 'max-concurrency': 2, 'max-tasks-per-child': 100, timeouts: [540, 600] },
    prefetch: 8,
    resultExpires: 18_000,
    conf: {
      task_serializer: 'json',
      result_serializer: 'json',
      accept_content: ['json'],
      timezone: 'Europe/Oslo',
      task_time_limit: 600,
      task_soft_time_limit: 540,
      result_expires: 18_000,
      worker_max_tasks_per_child: 100,
    },
    queues: [
      ['default', 'default', 'direct', 'default'],
      ['feeds', 'media', 'topic', 'media.#'],
    ],
    reaches: [
      ['default', 'default'],
      ['media', 'media.audio.mp3'],
    ],
    entry: 'add-every-30-seconds',
    result: 32,
    times: (instants) => instants.slice(1).map((at, index) => at.getTime() - (instants[index] as Date).getTime()),
    expectedTimes: Array.from({ length: 15 }, () => 30_000),
  },
  {
    sample: 'objects',
    pool: { 'max-concurrency': 1, 'max-tasks-per-child': 1000, timeouts: [0, 300] },
    prefetch: 1,
    resultExpires: 3600,
    conf: {
      task_serializer: 'json',
      accept_content: ['json', 'yaml'],
      timezone: 'Europe/Paris',
      task_time_limit: 300,
      result_expires: 3600,
      worker_max_tasks_per_child: 1000,
    },
    queues: [
      ['default', 'default', 'direct', 'default'],
      ['reports', 'documents', 'topic', 'document.*'],
      ['notices', 'all', 'fanout', 'default'],
    ],
    reaches: [
      ['default', 'default'],
      ['documents', 'document.sales'],
      ['all', 'default'],
    ],
    entry: 'greet-birthdays',
    result: ['Ada'],
    // The hours of a day, wherever it begins.
    times: (instants) =>
      [...new Set(instants.map((at) => hourIn('Europe/Paris', at)))].toSorted((one, other) => one - other),
    expectedTimes: [0, 3, 6, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21],
  },
];

/** Its names as they are on the server. A binding key is of the sample's own, but for the default queue's. */
function marked(mark: string, [queue, exchange, type, key]: readonly [string, string, string, string]) {
  return [mark + queue, mark + exchange, type, key === 'default' ? mark + key : key] as const;
}

function hourIn(timeZone: string, at: Date): number {
  return Number(new Intl.DateTimeFormat('en-GB', { timeZone, hour: '2-digit', hourCycle: 'h23' }).format(at));
}

describe.each(SAMPLES)('the sample with queues as $sample', (expected) => {
  const { sample } = expected;

  test('means the same in both spellings', () => {
    const [old, today] = ['old', 'today'].map((spelling) => {
      const app = sampleApp({ sample, spelling, broker: 'redis://h', backend: 'redis://h', mark: '' });
      return { ...app.settings, taskQueues: app.queues.all() };
    });
    expect(old).toEqual(today);
  });

  describe.each([
    ['old', 'Redis', redis],
    ['today', 'Redis', redis],
    ['old', 'RabbitMQ', amqp],
  ])('in its %s spelling on %s', (spelling, name, broker) => {
    test.skipIf(broker === '' || redis === '')('is what worker and beat do', { timeout: 40_000 }, async () => {
      const mark = `samples-${randomUUID().slice(0, 8)}-`;
      const given = { sample, spelling, broker, backend: redis, mark };
      const schedule = join(folder, mark);
      const app = sampleApp(given);
      const host = spawn(process.execPath, [hostModule, JSON.stringify({ ...given, schedule })], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      onTestFinished(async () => {
        const ended = once(host, 'exit');
        if (host.kill('SIGTERM')) await ended;
        const connection = await app.producerConnection().connection();
        await connection.remove({ queues: expected.queues.map(([queue]) => ({ name: mark + queue })) });
        await app.close();
      });
      await Promise.race([
        once(host.stdout, 'data'),
        once(host, 'exit').then(() => Promise.reject(new Error('worker and beat did not start'))),
      ]);

      const inspect = app.control.inspect({ timeout: 50, limit: 1 });
      const [[stats], [conf], [queues]] = (
        await Promise.all([inspect.stats(), inspect.conf(), inspect.activeQueues()])
      ).map((replies) => Object.values(replies)) as [[StatsReply], [object], [QueueReply[]]];
      expect(stats.pool).toMatchObject(expected.pool);
      expect(stats.prefetch_count).toBe(expected.prefetch);
      expect(conf).toMatchObject(expected.conf);
      expect(
        queues.map(({ name: queue, exchange, routing_key: key }) => [queue, exchange.name, exchange.type, key]),
      ).toEqual(expected.queues.map((queue) => marked(mark, queue)));

      if (name === 'Redis') {
        const raw = await openRedis(readEndpoint(new BrokerUrl(redis)));
        onTestFinished(() => raw.close());
        for (const [queue, exchange, type, key] of expected.queues.map((one) => marked(mark, one))) {
          // A fanout is a channel of publish and subscribe, and is in no table.
          if (type === 'fanout') continue;
          const bound = (await raw.text('smembers', [`_kombu.binding.${exchange}`])) as unknown as string[];
          // Routing key, the pattern that a topic makes of it, queue.
          const [[boundBy, , boundTo] = []] = bound.map((one) => one.split('\x06\x16'));
          expect([bound.length, boundBy, boundTo]).toEqual([1, key, queue]);
        }
        const { id } = await app.sendTask('tasks.add', { args: [1, 1] });
        await app.asyncResult(id).get({ timeout: 50 });
        const ttl = Number(await raw.text('ttl', [`celery-task-meta-${id}`]));
        expect(ttl).toBeLessThanOrEqual(expected.resultExpires);
        expect(ttl).toBeGreaterThan(expected.resultExpires - 60);
      }
      for (const [exchange, routingKey] of expected.reaches) {
        const key = routingKey === 'default' ? mark + routingKey : routingKey;
        const result = await app.sendTask('tasks.add', { args: [2, 3], exchange: mark + exchange, routingKey: key });
        expect(await result.get({ timeout: 50 }), exchange).toBe(5);
      }

      const tasks = await PeriodicTasks.open(app, schedule);
      onTestFinished(() => tasks.close());
      const [entry] = await tasks.list();
      expect(entry).toMatchObject({ name: expected.entry, zone: expected.conf['timezone'] });
      expect(expected.times(await tasks.next(expected.entry, 16))).toEqual(expected.expectedTimes);
      expect(await (await tasks.run(expected.entry)).get({ timeout: 50 })).toEqual(expected.result);
    });
  });
});
