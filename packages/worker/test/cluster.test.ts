import { randomUUID } from 'node:crypto';
import { Lovage, type LogFields, type Logger } from '@lovage/core';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Worker, type WorkerOptions } from '../src/worker.ts';
import { until } from './support/bench.ts';

const { LOVAGE_TEST_REDIS_URL: redis, LOVAGE_TEST_AMQP_URL: amqp } = process.env;

for (const [name, broker] of [
  ['Redis', redis],
  ['RabbitMQ', amqp],
] as const) {
  describe.skipIf(!broker?.includes('/'))(`neighbours on ${name}`, () => {
    function open(): {
      readonly app: Lovage;
      readonly lines: string[];
      readonly worker: (name: string, options?: WorkerOptions) => Promise<Worker>;
    } {
      const mark = randomUUID().slice(0, 8);
      const lines: string[] = [];
      const say = (_: LogFields, message: string): void => void lines.push(message);
      const logger: Logger = { debug: say, info: say, warn: say, error: say };
      // An exchange of its own: other tests may use the server at the same time.
      const app = new Lovage(`cluster-${mark}`, {
        broker: broker as string,
        taskDefaultQueue: `cluster-${mark}`,
        controlExchange: `control-${mark}`,
        eventExchange: `events-${mark}`,
        logger,
      });
      const workers: Worker[] = [];
      onTestFinished(async () => {
        await Promise.all(workers.map((worker) => worker.stop('cold')));
        const connection = await app.producerConnection().connection();
        await connection.remove({
          queues: [{ name: `cluster-${mark}` }],
          exchanges: [{ name: `events-${mark}`, type: 'topic' }],
        });
        await app.close();
      });
      return {
        app,
        lines,
        worker: async (short, options = {}) => {
          const worker = new Worker(app, { nodeName: `${short}@${mark}`, guardProcess: false, ...options });
          workers.push(worker);
          await worker.start();
          return worker;
        },
      };
    }

    test('a worker that starts learns what is revoked before it takes a message', async () => {
      const { app, worker } = open();
      const add = app.task('add', (x: number, y: number) => x + y);
      const first = await worker('first');
      first.revoke(['gone']);
      await first.stop('warm');
      const again = await worker('again');
      again.revoke(['gone']);
      again.revoke(['other']);
      const clock = app.clock.value;
      const second = await worker('second');
      expect(second.revoked.ids().toSorted()).toEqual(['gone', 'other']);
      expect(app.clock.value).toBeGreaterThan(clock);
      const alone = await worker('third', { mingle: false });
      expect(alone.revoked.ids()).toEqual([]);
      await add.delay(1, 2);
    });

    test('workers hear who comes and goes', async () => {
      const { worker } = open();
      const first = await worker('first', { heartbeatInterval: 0.2 });
      const second = await worker('second', { heartbeatInterval: 0.2 });
      await until(() => first.neighbours.includes(second.nodeName), 'a neighbour');
      await second.stop('warm');
      await until(() => first.neighbours.length === 0, 'nobody');
    });

    test('an election is won by one worker, which sends the task', async () => {
      const { app, worker, lines } = open();
      const seen: number[] = [];
      const elected = app.task('elected', (x: number) => void seen.push(x));
      const first = await worker('first', { heartbeatInterval: 0.2 });
      const second = await worker('second', { heartbeatInterval: 0.2 });
      await until(() => first.neighbours.length === 1 && second.neighbours.length === 1, 'neighbours');
      await app.control.election(randomUUID(), 'task', elected.s(7).toJSON());
      await until(() => seen.length > 0, 'the task');
      await until(
        () => lines.filter((line) => /won the election|elected for/.test(line)).length >= 2,
        'both decisions',
      );
      expect(lines.filter((line) => line.startsWith('I won the election')).length).toBe(1);
      expect(seen).toEqual([7]);
    });
  });
}
