import { setTimeout as sleep } from 'node:timers/promises';
import { mongodbBackend } from '@lovage/backend-mongodb';
import { natsBackend } from '@lovage/backend-nats';
import { redisBackend } from '@lovage/backend-redis';
import { Beat } from '@lovage/beat';
import { Lovage } from '@lovage/core';
import { expect, test } from 'vitest';

/** Servers whose result stores can keep a schedule for several beats, as `pnpm test:broker` names them. */
const STORES: readonly (readonly [name: string, url: string | undefined])[] = [
  ['Redis', process.env['LOVAGE_TEST_REDIS_URL']],
  ['MongoDB', process.env['LOVAGE_TEST_MONGODB_URL']],
  ['NATS', process.env['LOVAGE_TEST_NATS_URL']],
];

test.each(STORES)(
  'on %s one of two beats leads, and the other takes over when it stops',
  async (name, url) => {
    if (url === undefined) {
      if (process.env['CI'] === 'true') throw new Error(`No server of ${name}. Run the tests by "pnpm test:broker".`);
      return;
    }
    const app = new Lovage(`beat-${name}-${Date.now()}`, {
      broker: `memory://beat-${name}`,
      backends: [redisBackend, mongodbBackend, natsBackend],
      timezone: 'UTC',
      beatSchedule: { tick: { task: 'tick', schedule: 0.1, misfire: 'runAll' } },
    });
    const supervisor = app.connectBroker('read');
    const connection = await supervisor.connection();
    await connection.declare({ queues: [{ name: 'celery' }] });
    const ids: string[] = [];
    const instants: number[] = [];
    await connection.consume(
      ['celery'],
      (deliveries) => {
        for (const { message } of deliveries) {
          ids.push(String(message.headers['id']));
          instants.push(Date.parse(String(message.headers['x-lovage-instant'])));
        }
        void connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' as const })));
      },
      { prefetch: 0 },
    );
    const runs = async (count: number): Promise<void> => {
      for (const end = Date.now() + 50_000; ids.length < count; await sleep(5)) {
        if (Date.now() > end) throw new Error(`20 s passed while waiting for ${count} runs; there were ${ids.length}`);
      }
    };
    const beats: Beat[] = [];
    const start = async (): Promise<Beat> => {
      const beat = new Beat(app, { schedule: url, leaseSeconds: 1 });
      beats.push(beat);
      await beat.start();
      return beat;
    };
    try {
      const first = await start();
      await runs(2);
      await start();
      await runs(5);
      await first.stop();
      await runs(ids.length + 3);
      expect(new Set(ids).size).toBe(ids.length);
      const sorted = instants.toSorted((a, b) => a - b);
      expect(new Set(sorted.slice(1).map((at, index) => at - (sorted[index] as number)))).toEqual(new Set([100]));
    } finally {
      await Promise.all(beats.map((beat) => beat.stop()));
      await supervisor.close();
      await app.close();
    }
  },
  60_000,
);
