import assert from 'node:assert/strict';
import type { Connection, Delivery } from '@lovage/core/transport';
import { sameTexts } from '../expect.ts';
import { textOf, texts, toQueue, type TransportTest } from './trial.ts';

const BATCH = 100;
const PUBLISHES_AT_ONCE = 5;

export const volume: readonly TransportTest[] = [
  {
    name: 'volume: ten thousand messages, none lost and none twice',
    patience: 4,
    async run(trial) {
      const publisher = await trial.open();
      const queue = await trial.queue(publisher);
      const sent = texts(trial.options.volume ?? 10_000);
      const got: string[] = [];
      const connections = [await trial.open(), await trial.open()];
      const acks = new Set<Promise<void>>();
      for (const connection of connections) {
        await connection.consume([queue], ackTogether(connection, got, acks), { prefetch: 200 });
      }
      let next = 0;
      const publish = async (): Promise<void> => {
        while (next < sent.length) {
          const batch = sent.slice(next, (next += BATCH));
          await publisher.publish(batch.map((text) => toQueue(queue, text)));
        }
      };
      await Promise.all(Array.from({ length: PUBLISHES_AT_ONCE }, publish));
      await trial.deadline.until(`${sent.length} messages`, () => got.length >= sent.length);
      await trial.deadline.of(Promise.all(acks), 'every ack');
      for (const connection of connections) await trial.barrier(connection);
      sameTexts(got, sent, 'deliveries');
      await trial.ready(publisher, queue, 0);
      for (const connection of connections) await connection.close();
      await trial.ready(publisher, queue, 0);
      assert.equal(acks.size, 0);
    },
  },
];

/** Acks what came within one turn in one batch, as the worker does. */
function ackTogether(connection: Connection, got: string[], acks: Set<Promise<void>>) {
  let waiting: Delivery[] = [];
  const flush = (): void => {
    const batch = waiting;
    waiting = [];
    const ack = connection.settle(batch.map((delivery) => ({ delivery, outcome: 'ack' as const })));
    acks.add(ack);
    ack.then(
      () => acks.delete(ack),
      () => {},
    );
  };
  return (deliveries: readonly Delivery[]): void => {
    if (waiting.length === 0) setImmediate(flush);
    waiting.push(...deliveries);
    got.push(...deliveries.map(textOf));
  };
}
