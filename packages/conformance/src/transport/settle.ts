import assert from 'node:assert/strict';
import { sameTexts } from '../expect.ts';
import { textMessage, textOf, texts, textsOf, toQueue, type TransportTest } from './trial.ts';

export const settle: readonly TransportTest[] = [
  {
    name: 'settle: what is acked is gone',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish(texts(3).map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue);
      await receiver.settle(await receiver.take(3), 'ack');
      await connection.close();
      const next = await trial.open();
      const after = await trial.receive(next, queue);
      await trial.barrier(next);
      assert.deepEqual(textsOf(after.deliveries), []);
    },
  },
  {
    name: 'settle: one batch may hold every outcome, in any order',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish(texts(30).map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue);
      const first = await receiver.take(30);
      await connection.settle(
        first
          .map((delivery, index) => ({
            delivery,
            outcome: (['ack', 'requeue', 'reject'] as const)[index % 3] ?? 'ack',
          }))
          .toReversed(),
      );
      const again = await receiver.take(10, 'the ten requeued ones');
      sameTexts(textsOf(again), textsOf(first.filter((_, index) => index % 3 === 1)), 'what came again');
      await receiver.settle(again, 'ack');
      await trial.barrier(connection);
      assert.equal(receiver.deliveries.length, 40, 'deliveries');
      await trial.ready(connection, queue, 0);
    },
  },
  {
    name: 'settle: one batch may hold deliveries of several consumers',
    async run(trial) {
      const connection = await trial.open();
      const queues = [await trial.queue(connection), await trial.queue(connection)];
      await connection.publish(queues.flatMap((queue) => texts(3).map((text) => toQueue(queue, text))));
      const receivers = [
        await trial.receive(connection, queues[0] ?? ''),
        await trial.receive(connection, queues[1] ?? ''),
      ];
      const deliveries = [];
      for (const receiver of receivers) deliveries.push(...(await receiver.take(3)));
      await connection.settle(deliveries.toReversed().map((delivery) => ({ delivery, outcome: 'ack' as const })));
      for (const queue of queues) await trial.ready(connection, queue, 0);
      await connection.close();
      const next = await trial.open();
      const after = await trial.receive(next, queues);
      await trial.barrier(next);
      assert.deepEqual(textsOf(after.deliveries), []);
    },
  },
  {
    name: 'settle: an empty batch resolves',
    async run(trial) {
      const connection = await trial.open();
      await connection.settle([]);
    },
  },
  {
    name: 'settle: many calls in one tick are all kept',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish(texts(100).map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue);
      const first = await receiver.take(100);
      await Promise.all(
        first.map((delivery, index) => receiver.settle([delivery], index % 10 === 0 ? 'requeue' : 'ack')),
      );
      const again = await receiver.take(10);
      sameTexts(textsOf(again), textsOf(first.filter((_, index) => index % 10 === 0)), 'what came again');
      await receiver.settle(again, 'ack');
      await trial.ready(connection, queue, 0);
    },
  },
  {
    name: 'settle: what is settled twice keeps its first outcome',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish(texts(2).map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue, 2);
      const [acked, requeued] = await receiver.take(2);
      assert.ok(acked && requeued);
      await connection.settle([
        { delivery: acked, outcome: 'ack' },
        { delivery: acked, outcome: 'requeue' },
      ]);
      await connection.settle([{ delivery: acked, outcome: 'requeue' }]);
      await connection.settle([{ delivery: acked, outcome: 'ack' }]);
      await connection.settle([{ delivery: requeued, outcome: 'requeue' }]);
      await connection.settle([{ delivery: requeued, outcome: 'ack' }]);
      const again = await receiver.takeOne('the requeued message, which was acked after that');
      assert.equal(textOf(again), textOf(requeued));
      await trial.barrier(connection);
      assert.equal(receiver.deliveries.length, 3, 'deliveries');
      await connection.settle([{ delivery: requeued, outcome: 'ack' }]);
      // The session lives on, and the second delivery of the message is held by its own tag.
      await connection.settle([{ delivery: again, outcome: 'requeue' }]);
      const third = await receiver.takeOne('the message again: an ack of its former delivery took it');
      await connection.settle([{ delivery: third, outcome: 'ack' }]);
    },
  },
  {
    name: 'settle: what is requeued comes again, and nothing of it is lost',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const sent = texts(20);
      await connection.publish(sent.map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue, 5);
      const acked: string[] = [];
      const requeuedOnce = new Set<string>();
      while (acked.length < sent.length) {
        const delivery = await receiver.takeOne(`${sent.length - acked.length} messages more`);
        const text = textOf(delivery);
        if (requeuedOnce.has(text)) acked.push(text);
        await receiver.settle([delivery], requeuedOnce.has(text) ? 'ack' : 'requeue');
        requeuedOnce.add(text);
      }
      sameTexts(acked, sent, 'acked');
      await trial.barrier(connection);
      assert.equal(receiver.deliveries.length, 40, 'deliveries');
    },
  },
  {
    name: 'settle: what is requeued can be taken by another session at once',
    async run(trial) {
      const one = await trial.open();
      const queue = await trial.queue(one);
      await one.publish([toQueue(queue, 'm')]);
      const first = await trial.receive(one, queue, 1);
      const delivery = await first.takeOne();
      await first.consumer.cancel();
      const other = await trial.open();
      const second = await trial.receive(other, queue, 1);
      await first.settle([delivery], 'requeue');
      const again = await second.takeOne();
      assert.equal(textOf(again), 'm');
      await second.settle([again], 'ack');
    },
  },
  {
    name: 'settle: what is rejected is dropped where no dead letter place is declared',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish([toQueue(queue, 'bad'), toQueue(queue, 'good')]);
      const receiver = await trial.receive(connection, queue);
      const both = await receiver.take(2);
      const bad = both.filter((delivery) => textOf(delivery) === 'bad');
      await receiver.settle(bad, 'reject');
      await receiver.settle(
        both.filter((delivery) => textOf(delivery) === 'good'),
        'ack',
      );
      await trial.barrier(connection);
      assert.equal(receiver.deliveries.length, 2, 'deliveries');
      await trial.ready(connection, queue, 0);
    },
  },
  ...(['the default exchange', 'an exchange'] as const).map(
    (way): TransportTest => ({
      name: `settle: what is rejected goes to the dead letter place, through ${way}`,
      async run(trial) {
        const connection = await trial.open();
        const dead = trial.name('dead');
        const queue = trial.name('queue');
        const exchange = way === 'the default exchange' ? '' : trial.name('dead-exchange');
        const routingKey = exchange === '' ? dead : 'rejected';
        await trial.declare(connection, {
          exchanges: exchange === '' ? [] : [{ name: exchange, type: 'direct' }],
          queues: [{ name: dead }, { name: queue, deadLetter: { exchange, routingKey } }],
          bindings: exchange === '' ? [] : [{ exchange, queue: dead, routingKey }],
        });
        const message = { ...textMessage('bad'), headers: { kept: 'header' } };
        await connection.publish([{ exchange: '', routingKey: queue, message }, toQueue(queue, 'good')]);
        const receiver = await trial.receive(connection, queue);
        for (const delivery of await receiver.take(2)) {
          await receiver.settle([delivery], textOf(delivery) === 'bad' ? 'reject' : 'ack');
        }
        const letters = await trial.receive(connection, dead);
        const letter = await letters.takeOne('the dead letter');
        assert.equal(textOf(letter), 'bad');
        assert.equal(letter.message.headers['kept'], 'header');
        await letters.settle([letter], 'ack');
        await trial.barrier(connection);
        assert.deepEqual([receiver.deliveries.length, letters.deliveries.length], [2, 1]);
      },
    }),
  ),
  {
    name: 'settle: a delivery of another session reaches no message of this one',
    async run(trial) {
      const one = await trial.open();
      const queue = await trial.queue(one);
      await one.publish([toQueue(queue, 'm')]);
      const first = await trial.receive(one, queue, 1);
      const stale = await first.takeOne();
      await one.close();
      const other = await trial.open();
      const second = await trial.receive(other, queue, 1);
      const held = await second.takeOne('the message that close() gave back');
      // Tags of both sessions may be equal numbers; a refusal is as good as silence.
      await other.settle([{ delivery: stale, outcome: 'ack' }]).catch(() => {});
      await second.settle([held], 'requeue');
      const again = await second.takeOne('the message again: the stale ack took it');
      await second.settle([again], 'ack');
    },
  },
];
