import assert from 'node:assert/strict';
import { sameTexts } from '../expect.ts';
import { textMessage, textsOf, type TransportTest, type TransportTrial } from './trial.ts';

export const priority: readonly TransportTest[] = [
  {
    name: 'priority: waiting messages leave in the order of their levels',
    async run(trial) {
      const connection = await trial.open();
      const { priorityLevels, servesFirst } = connection.capabilities;
      if (priorityLevels === 0) trial.skip('capabilities.priorityLevels is 0: priorities are ignored');
      const levels = distinctPriorities(priorityLevels);
      const sent = [...levels, ...levels.toReversed(), ...levels];
      const got = (await pass(trial, sent)).map(Number);
      const expected = sent.toSorted((a, b) => (servesFirst === 'highest' ? b - a : a - b));
      assert.deepEqual(got, expected, `priorities in the order of their arrival; ${servesFirst} first is claimed`);
    },
  },
  {
    name: 'priority: a message of any priority, or none, arrives',
    async run(trial) {
      const sent = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, undefined];
      sameTexts(await pass(trial, sent), sent.map(String), 'deliveries');
    },
  },
  {
    name: 'priority: a requeued message keeps its level',
    async run(trial) {
      const connection = await trial.open();
      const { priorityLevels, servesFirst } = connection.capabilities;
      if (priorityLevels === 0) trial.skip('capabilities.priorityLevels is 0: priorities are ignored');
      const queue = await trial.queue(connection, { arguments: { 'x-max-priority': 9 } });
      const first = servesFirst === 'highest' ? 9 : 0;
      await connection.publish([{ exchange: '', routingKey: queue, message: prioritized(first) }]);
      const receiver = await trial.receive(connection, queue, 1);
      const held = await receiver.takeOne();
      await connection.publish([
        { exchange: '', routingKey: queue, message: prioritized(9 - first) },
        { exchange: '', routingKey: queue, message: prioritized(9 - first) },
      ]);
      await receiver.settle([held], 'requeue');
      const order = [];
      while (order.length < 3) {
        const [delivery] = await receiver.take(1);
        assert.ok(delivery);
        order.push(...textsOf([delivery]));
        await receiver.settle([delivery], 'ack');
      }
      // The consumer may have fetched one ahead of the requeue; the last place is what no order allows.
      assert.notEqual(order[2], String(first), 'the requeued message came after all that follow it');
    },
  },
];

/** Publishes all before it consumes one by one; the texts in the order of arrival. */
async function pass(trial: TransportTrial, priorities: readonly (number | undefined)[]): Promise<string[]> {
  const connection = await trial.open();
  const queue = await trial.queue(connection, { arguments: { 'x-max-priority': 9 } });
  for (const value of priorities) {
    await connection.publish([{ exchange: '', routingKey: queue, message: prioritized(value) }]);
  }
  const receiver = await trial.receive(connection, queue, 1);
  const got: string[] = [];
  while (got.length < priorities.length) {
    const taken = await receiver.take(1);
    got.push(...textsOf(taken));
    await receiver.settle(taken, 'ack');
  }
  return got;
}

function prioritized(value: number | undefined) {
  return textMessage(String(value), value === undefined ? { deliveryMode: 2 } : { deliveryMode: 2, priority: value });
}

/** Priorities 0 to 9 that are surely of different levels; Kombu's Redis keeps 0, 3, 6 and 9 apart. */
function distinctPriorities(levels: number): number[] {
  if (levels >= 10) return [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
  return levels >= 4 ? [0, 3, 6, 9] : [0, 9];
}
