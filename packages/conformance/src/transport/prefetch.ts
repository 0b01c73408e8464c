import assert from 'node:assert/strict';
import { sameTexts } from '../expect.ts';
import { texts, textsOf, toQueue, type TransportTest } from './trial.ts';

export const prefetch: readonly TransportTest[] = [
  ...[1, 3, 10].map(
    (limit): TransportTest => ({
      name: `prefetch: at most ${limit} deliveries are unsettled`,
      async run(trial) {
        const connection = await trial.open();
        const queue = await trial.queue(connection);
        const sent = texts(limit * 3 + 2);
        await connection.publish(sent.map((text) => toQueue(queue, text)));
        const receiver = await trial.receive(connection, queue, limit);
        const first = await receiver.take(limit);
        await trial.barrier(connection);
        assert.equal(receiver.deliveries.length, limit, 'deliveries while none was settled');
        const rest: string[] = [];
        await receiver.settle(first, 'ack');
        while (rest.length < sent.length - limit) {
          const [delivery] = await receiver.take(1);
          assert.ok(delivery);
          rest.push(...textsOf([delivery]));
          await receiver.settle([delivery], 'ack');
        }
        assert.ok(receiver.maxUnsettled <= limit, `${receiver.maxUnsettled} were unsettled at once`);
        sameTexts([...textsOf(first), ...rest], sent, 'deliveries');
      },
    }),
  ),
  {
    name: 'prefetch: 0 is no limit',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const sent = texts(500);
      await connection.publish(sent.map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue, 0);
      const all = await receiver.take(500);
      sameTexts(textsOf(all), sent, 'deliveries');
      await receiver.settle(all, 'ack');
    },
  },
  {
    name: 'prefetch: counts each consumer of a session on its own',
    async run(trial) {
      const connection = await trial.open();
      const one = await trial.queue(connection);
      const other = await trial.queue(connection);
      await connection.publish([one, other].flatMap((queue) => texts(6).map((text) => toQueue(queue, text))));
      const two = await trial.receive(connection, one, 2);
      const three = await trial.receive(connection, other, 3);
      await two.take(2);
      await three.take(3);
      await trial.barrier(connection);
      assert.deepEqual([two.deliveries.length, three.deliveries.length], [2, 3]);
      await two.settle(two.unsettled, 'requeue');
      await three.settle(three.unsettled, 'requeue');
    },
  },
  {
    name: 'prefetch: counts all queues of a consumer together',
    async run(trial) {
      const connection = await trial.open();
      const queues = [await trial.queue(connection), await trial.queue(connection), await trial.queue(connection)];
      await connection.publish(queues.flatMap((queue) => texts(5).map((text) => toQueue(queue, text))));
      const receiver = await trial.receive(connection, queues, 4);
      for (let left = 15; left > 0; ) {
        const taken = await receiver.take(Math.min(4, left));
        await trial.barrier(connection);
        assert.equal(receiver.unsettled.length, taken.length, 'unsettled deliveries');
        await receiver.settle(taken, 'ack');
        left -= taken.length;
      }
      assert.ok(receiver.maxUnsettled <= 4, `${receiver.maxUnsettled} were unsettled at once`);
    },
  },
  {
    name: 'prefetch: raising the limit brings more at once',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish(texts(10).map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue, 2);
      await receiver.take(2);
      await receiver.consumer.setPrefetch(5);
      await receiver.take(3, 'three more after setPrefetch(5)');
      await trial.barrier(connection);
      assert.equal(receiver.deliveries.length, 5);
      await receiver.consumer.setPrefetch(0);
      await receiver.take(5, 'the rest after setPrefetch(0)');
      await receiver.settle(receiver.unsettled, 'ack');
    },
  },
  {
    name: 'prefetch: lowering the limit holds back until enough is settled',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish(texts(10).map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue, 4);
      const first = await receiver.take(4);
      await receiver.consumer.setPrefetch(2);
      await receiver.settle(first.slice(0, 2), 'ack');
      await trial.barrier(connection);
      assert.equal(receiver.deliveries.length, 4, 'deliveries while two were unsettled');
      await receiver.settle(first.slice(2), 'ack');
      await receiver.take(2);
      await trial.barrier(connection);
      assert.equal(receiver.unsettled.length, 2, 'unsettled deliveries');
      await receiver.settle(receiver.unsettled, 'requeue');
    },
  },
  {
    name: 'prefetch: after cancel() nothing comes, and what is unsettled can be settled',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish(texts(4).map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue, 2);
      await receiver.take(2);
      await receiver.consumer.cancel();
      await receiver.consumer.cancel();
      await trial.deadline.of(receiver.consumer.done, '"done" after cancel()');
      const [acked, requeued] = receiver.deliveries;
      assert.ok(acked && requeued);
      await receiver.settle([acked], 'ack');
      await receiver.settle([requeued], 'requeue');
      await trial.barrier(connection);
      assert.equal(receiver.deliveries.length, 2, 'deliveries after cancel()');
      const next = await trial.receive(connection, queue);
      const rest = await next.take(3);
      sameTexts([...textsOf([acked]), ...textsOf(rest)], texts(4), 'acked and left');
      await next.settle(rest, 'ack');
    },
  },
];
