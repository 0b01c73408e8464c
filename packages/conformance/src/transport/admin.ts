import assert from 'node:assert/strict';
import type { Connection, QueueStatus, Topology } from '@lovage/core/transport';
import { rejectsWith, sameTexts } from '../expect.ts';
import { texts, textsOf, toQueue, type TransportTest } from './trial.ts';

export const admin: readonly TransportTest[] = [
  {
    name: 'admin: declaring again changes nothing',
    async run(trial) {
      const connection = await trial.open();
      const { exchange, queues } = await trial.exchange(connection, 'topic', ['a.*']);
      const [queue = ''] = queues;
      await connection.publish(texts(3).map((text) => toQueue(queue, text)));
      const topology: Topology = {
        exchanges: [{ name: exchange, type: 'topic' }],
        queues: [{ name: queue }],
        bindings: [{ exchange, queue, routingKey: 'a.*' }],
      };
      await connection.declare(topology);
      await (await trial.open()).declare(topology);
      sameTexts(textsOf(await trial.drain(queue, texts(3))), texts(3), 'messages after declaring again');
    },
  },
  {
    name: 'admin: an empty topology can be declared and removed',
    async run(trial) {
      const connection = await trial.open();
      await connection.declare({});
      await connection.remove({});
    },
  },
  {
    name: 'admin: an exchange of another type is refused, or the first one stays as it is',
    async run(trial) {
      const connection = await trial.open();
      const { exchange, queues } = await trial.exchange(connection, 'direct', ['a.*']);
      const [queue = ''] = queues;
      await connection.declare({ exchanges: [{ name: exchange, type: 'direct' }] });
      const other = { exchanges: [{ name: exchange, type: 'topic' as const }] };
      const outcome = await Promise.allSettled([connection.declare(other)]);
      if (outcome[0].status === 'rejected') {
        await rejectsWith(Promise.reject(outcome[0].reason), 'ERR_PRECONDITION_FAILED', 'declare() with another type');
      }
      // Either way the session is usable.
      await connection.publish([toQueue(queue, 'm')]);
      const receiver = await trial.receive(connection, queue);
      await receiver.settle(await receiver.take(1), 'ack');
    },
  },
  {
    name: 'admin: inspect() counts what waits, without what is unsettled',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await trial.ready(connection, queue, 0);
      await connection.publish(texts(7).map((text) => toQueue(queue, text)));
      await trial.ready(connection, queue, 7);
      const receiver = await trial.receive(connection, queue, 3);
      await receiver.take(3);
      await trial.ready(connection, queue, 4);
      await receiver.consumer.cancel();
      await receiver.settle(receiver.unsettled.slice(0, 1), 'ack');
      await receiver.settle(receiver.unsettled, 'requeue');
      await trial.ready(connection, queue, 6);
    },
  },
  {
    name: 'admin: inspect() of a queue that does not exist is a NotFoundError, or counts nothing',
    async run(trial) {
      const connection = await trial.open();
      const missing = await status(connection, trial.name('missing'));
      assert.ok(missing === undefined || missing.ready === 0);
      // The session is usable after it.
      const queue = await trial.queue(connection);
      await connection.publish([toQueue(queue, 'm')]);
      await trial.ready(connection, queue, 1);
    },
  },
  {
    name: 'admin: purge() drops what waits, says how much, and leaves the rest alone',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const other = await trial.queue(connection);
      assert.equal(await connection.purge(queue), 0, 'dropped of an empty queue');
      await connection.publish([...texts(9).map((text) => toQueue(queue, text)), toQueue(other, 'other')]);
      await trial.ready(connection, queue, 9);
      const receiver = await trial.receive(connection, queue, 2);
      const held = await receiver.take(2);
      await receiver.consumer.cancel();
      await trial.ready(connection, queue, 7);
      assert.equal(await connection.purge(queue), 7, 'dropped messages');
      await trial.ready(connection, queue, 0);
      await trial.ready(connection, other, 1);
      await receiver.settle(held, 'requeue');
      sameTexts(textsOf(await trial.drain(queue, textsOf(held))), textsOf(held), 'what was held during purge()');
    },
  },
  {
    name: 'admin: remove() ends a queue with its messages, and twice is fine',
    async run(trial) {
      const connection = await trial.open();
      const { exchange, queues } = await trial.exchange(connection, 'direct', ['key']);
      const [queue = ''] = queues;
      await connection.publish(texts(3).map((text) => toQueue(queue, text)));
      const topology: Topology = {
        exchanges: [{ name: exchange, type: 'direct' }],
        queues: [{ name: queue }],
        bindings: [{ exchange, queue, routingKey: 'key' }],
      };
      await connection.remove(topology);
      await connection.remove(topology);
      await connection.remove({
        queues: [{ name: trial.name('never') }],
        exchanges: [{ name: trial.name('never'), type: 'direct' }],
      });
      const after = await status(connection, queue);
      assert.ok(after === undefined || after.ready === 0, 'a removed queue holds messages');
      await connection.declare(topology);
      await trial.ready(connection, queue, 0);
      await connection.publish([toQueue(queue, 'new')]);
      sameTexts(textsOf(await trial.drain(queue, ['new'])), ['new'], 'in the queue after it was declared again');
    },
  },
];

/** undefined: there is no such queue. */
async function status(connection: Connection, queue: string): Promise<QueueStatus | undefined> {
  const [result] = await Promise.allSettled([connection.inspect(queue)]);
  if (result.status === 'fulfilled') return result.value;
  await rejectsWith(Promise.reject(result.reason), 'ERR_NOT_FOUND', 'inspect() of a queue that does not exist');
  return undefined;
}
