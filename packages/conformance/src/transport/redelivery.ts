import assert from 'node:assert/strict';
import { sameTexts } from '../expect.ts';
import { textOf, texts, textsOf, toQueue, type TransportTest } from './trial.ts';

export const redelivery: readonly TransportTest[] = [
  {
    name: 'redelivery: the first delivery is not marked, and one after requeue is',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish([toQueue(queue, 'm')]);
      const receiver = await trial.receive(connection, queue, 1);
      const first = await receiver.takeOne();
      assert.deepEqual([first.redelivered, first.deliveryCount], [false, 1], 'the first delivery');
      await receiver.settle([first], 'requeue');
      const second = await receiver.takeOne();
      assert.equal(second.redelivered, true, '"redelivered" of the second delivery');
      assert.ok(second.deliveryCount >= 2, `"deliveryCount" of the second delivery is ${second.deliveryCount}`);
      await receiver.settle([second], 'requeue');
      const third = await receiver.takeOne();
      assert.equal(third.redelivered, true, '"redelivered" of the third delivery');
      assert.ok(third.deliveryCount >= 2, `"deliveryCount" of the third delivery is ${third.deliveryCount}`);
      await receiver.settle([third], 'ack');
    },
  },
  {
    name: 'redelivery: a requeued message keeps body, headers, properties, exchange and routing key',
    async run(trial) {
      const connection = await trial.open();
      const { exchange, queues } = await trial.exchange(connection, 'topic', ['a.#']);
      const [queue = ''] = queues;
      const body = Uint8Array.from({ length: 256 }, (_, index) => index);
      await connection.publish([
        {
          exchange,
          routingKey: 'a.b.c',
          message: {
            body,
            contentType: 'application/octet-stream',
            contentEncoding: 'binary',
            headers: { id: 'x', retries: 0, list: [1, null] },
            properties: { correlationId: 'x', replyTo: 'y', deliveryMode: 2 },
          },
        },
      ]);
      const receiver = await trial.receive(connection, queue, 1);
      const first = await receiver.takeOne();
      await receiver.settle([first], 'requeue');
      const again = await receiver.takeOne();
      assert.deepEqual([...again.message.body], [...body]);
      assert.deepEqual(
        [again.exchange, again.routingKey, again.message.headers['id'], again.message.headers['list']],
        [exchange, 'a.b.c', 'x', [1, null]],
      );
      assert.deepEqual([again.message.properties.correlationId, again.message.properties.replyTo], ['x', 'y']);
      assert.deepEqual(
        [again.message.contentType, again.message.contentEncoding],
        ['application/octet-stream', 'binary'],
      );
      await receiver.settle([again], 'ack');
    },
  },
  {
    name: 'redelivery: what a session held when it died comes again, marked, and what it acked does not',
    patience: 2,
    async run(trial) {
      const options = { leaseMs: trial.shortLeaseMs };
      const admin = await trial.open(options);
      const queue = await trial.queue(admin);
      await admin.publish(texts(6).map((text) => toQueue(queue, text)));
      const { connection, crash } = await trial.openMortal(options);
      const dying = await trial.receive(connection, queue, 4);
      const [acked, ...held] = await dying.take(4);
      assert.ok(acked);
      await dying.settle([acked], 'ack');
      // The next one takes the place of the acked one: it is here before the session dies.
      held.push(...(await dying.take(1)));
      await crash();
      const heir = await trial.receive(admin, queue, 0);
      const all = await heir.take(5, 'what was left and what the dead session held');
      sameTexts(
        textsOf(all),
        texts(6).filter((text) => text !== textOf(acked)),
        'deliveries after the death',
      );
      const heldTexts = new Set(textsOf(held));
      for (const delivery of all) {
        assert.equal(delivery.redelivered, heldTexts.has(textOf(delivery)), `"redelivered" of ${textOf(delivery)}`);
        assert.equal(delivery.deliveryCount >= 2, heldTexts.has(textOf(delivery)), `"deliveryCount"`);
      }
      await heir.settle(all, 'ack');
    },
  },
];
