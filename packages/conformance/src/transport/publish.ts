import assert from 'node:assert/strict';
import { publishFailures, publishRejectsWith, sameTexts } from '../expect.ts';
import { textMessage, texts, textsOf, toQueue, type TransportTest } from './trial.ts';

/** Above this a test does not go to meet the limit. */
const LARGEST_TRIED_BYTES = 64 * 1024 * 1024;

export const publish: readonly TransportTest[] = [
  {
    name: 'publish: an empty batch resolves',
    async run(trial) {
      const connection = await trial.open();
      await connection.publish([]);
    },
  },
  {
    name: 'publish: one batch may go to several queues and exchanges',
    async run(trial) {
      const connection = await trial.open();
      const { exchange, queues } = await trial.exchange(connection, 'direct', ['one', 'two']);
      const [one = '', two = ''] = queues;
      const receivers = [await trial.receive(connection, one), await trial.receive(connection, two)];
      await connection.publish(
        texts(30).map((text, index) =>
          index % 3 === 0
            ? toQueue(one, text)
            : { exchange, routingKey: index % 3 === 1 ? 'one' : 'two', message: textMessage(text) },
        ),
      );
      sameTexts(
        textsOf((await receivers[0]?.take(20)) ?? []),
        texts(30).filter((_, index) => index % 3 < 2),
        'in the first queue',
      );
      sameTexts(
        textsOf((await receivers[1]?.take(10)) ?? []),
        texts(30).filter((_, index) => index % 3 === 2),
        'in the second queue',
      );
      for (const receiver of receivers) await receiver.settle(receiver.unsettled, 'ack');
    },
  },
  {
    name: 'publish: what resolved is in the broker, also for a session that opens later',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish(texts(50).map((text) => toQueue(queue, text)));
      await trial.ready(connection, queue, 50);
      await connection.close();
      sameTexts(textsOf(await trial.drain(queue, texts(50))), texts(50), 'deliveries');
    },
  },
  {
    name: 'publish: many calls in one tick all arrive, and each resolves',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const receiver = await trial.receive(connection, queue);
      await Promise.all(texts(300).map((text) => connection.publish([toQueue(queue, text)])));
      const all = await receiver.take(300);
      sameTexts(textsOf(all), texts(300), 'deliveries');
      await receiver.settle(all, 'ack');
    },
  },
  {
    name: 'publish: a mandatory message without a queue is named by its index, and the others arrive',
    async run(trial) {
      const connection = await trial.open();
      const { exchange, queues } = await trial.exchange(connection, 'direct', ['bound']);
      const send = (text: string, routingKey: string) => ({
        exchange,
        routingKey,
        message: textMessage(text),
        mandatory: true,
      });
      const failures = await publishFailures(
        connection.publish([send('a', 'bound'), send('b', 'unbound'), send('c', 'bound'), send('d', 'unbound')]),
        'publish() of two routable and two unroutable messages',
      );
      assert.deepEqual(
        failures.map(({ index, error }) => [index, error.code]),
        [
          [1, 'ERR_UNROUTABLE'],
          [3, 'ERR_UNROUTABLE'],
        ],
      );
      const receiver = await trial.receive(connection, queues);
      sameTexts(textsOf(await receiver.take(2)), ['a', 'c'], 'deliveries');
      await trial.barrier(connection);
      assert.equal(receiver.deliveries.length, 2);
      await receiver.settle(receiver.unsettled, 'ack');
    },
  },
  {
    name: 'publish: a failing message of one call does not fail another call of the same tick',
    async run(trial) {
      const connection = await trial.open();
      const { exchange, queues } = await trial.exchange(connection, 'direct', ['bound']);
      const good = texts(20).map((text) =>
        connection.publish([{ exchange, routingKey: 'bound', message: textMessage(text), mandatory: true }]),
      );
      const bad = connection.publish([
        { exchange, routingKey: 'unbound', message: textMessage('bad'), mandatory: true },
      ]);
      const failures = await publishFailures(bad, 'publish() of an unroutable message');
      assert.deepEqual(
        failures.map(({ index, error }) => [index, error.code]),
        [[0, 'ERR_UNROUTABLE']],
      );
      await Promise.all(good);
      const receiver = await trial.receive(connection, queues);
      sameTexts(textsOf(await receiver.take(20)), texts(20), 'deliveries');
      await receiver.settle(receiver.unsettled, 'ack');
    },
  },
  {
    name: 'publish: to an exchange that nobody declared leaves the session usable',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const lost = { exchange: trial.name('undeclared'), routingKey: 'x', message: textMessage('lost') };
      await connection.publish([lost]).catch(async (error: unknown) => {
        const codes = ['ERR_NOT_FOUND', 'ERR_UNROUTABLE', 'ERR_CONFIG'] as const;
        await publishRejectsWith(Promise.reject(error), codes, 'publish() to an undeclared exchange');
      });
      await connection.publish([toQueue(queue, 'kept')]);
      const receiver = await trial.receive(connection, queue);
      await receiver.settle(await receiver.take(1), 'ack');
    },
  },
  {
    name: 'publish: a message beyond the size limit is refused by its index, and the others arrive',
    patience: 2,
    async run(trial) {
      const connection = await trial.open();
      const { maxMessageBytes } = connection.capabilities;
      if (maxMessageBytes === 0) trial.skip('capabilities.maxMessageBytes is 0: no limit known');
      if (maxMessageBytes > LARGEST_TRIED_BYTES)
        trial.skip(`capabilities.maxMessageBytes is ${maxMessageBytes}: too large to try`);
      const queue = await trial.queue(connection);
      const large = {
        ...toQueue(queue, ''),
        message: { ...textMessage(''), body: new Uint8Array(maxMessageBytes + 1) },
      };
      const failures = await publishFailures(
        connection.publish([toQueue(queue, 'a'), large, toQueue(queue, 'b')]),
        'publish() of one message too large',
      );
      assert.deepEqual(
        failures.map(({ index, error }) => [index, error.code]),
        [[1, 'ERR_TOO_LARGE']],
      );
      const receiver = await trial.receive(connection, queue);
      sameTexts(textsOf(await receiver.take(2)), ['a', 'b'], 'deliveries');
      await receiver.settle(receiver.unsettled, 'ack');
    },
  },
];
