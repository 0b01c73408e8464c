import assert from 'node:assert/strict';
import type { Publication } from '@lovage/core/transport';
import { rejectsWith, sameTexts } from '../expect.ts';
import { textMessage, textOf, textsOf, toQueue, type TransportTest, type TransportTrial } from './trial.ts';

/** Kombu's emulation and AMQP agree on these; `*` across dots and `a.#` for `a` they see differently. */
const TOPIC_KEYS = ['stock.nyse', 'stock.*', 'stock.#', '#', '*.nyse', 'stock.*.eu', '*.*'];
const TOPIC_TABLE: Readonly<Record<string, readonly string[]>> = {
  'stock.nyse': ['stock.nyse', 'stock.*', 'stock.#', '#', '*.nyse', '*.*'],
  'stock.lse': ['stock.*', 'stock.#', '#', '*.*'],
  'bond.nyse': ['#', '*.nyse', '*.*'],
  bond: ['#'],
  'stocks.lse': ['#', '*.*'],
};

export const routing: readonly TransportTest[] = [
  {
    name: 'routing: the default exchange leads to the queue of the name',
    async run(trial) {
      const connection = await trial.open();
      const one = await trial.queue(connection);
      const other = await trial.queue(connection);
      const receiver = await trial.receive(connection, [one, other]);
      await connection.publish([toQueue(one, 'for one'), toQueue(other, 'for other')]);
      const deliveries = await receiver.take(2);
      sameTexts(
        deliveries.map((delivery) => `${textOf(delivery)} in ${delivery.queue}`),
        [`for one in ${one}`, `for other in ${other}`],
        'deliveries',
      );
      await receiver.settle(deliveries, 'ack');
    },
  },
  {
    name: 'routing: a direct exchange matches the whole routing key',
    async run(trial) {
      await routes(trial, 'direct', ['red', 'green', 'red'], { red: [0, 2], green: [1], re: [], 'red.green': [] });
    },
  },
  {
    name: 'routing: a topic exchange matches words, * and #',
    async run(trial) {
      const table = Object.entries(TOPIC_TABLE).map(([key, bindings]) => [
        key,
        bindings.map((binding) => TOPIC_KEYS.indexOf(binding)),
      ]);
      await routes(trial, 'topic', TOPIC_KEYS, Object.fromEntries(table) as Record<string, number[]>);
    },
  },
  {
    name: 'routing: a delivery names exchange, routing key and queue',
    async run(trial) {
      const connection = await trial.open();
      const { exchange, queues } = await trial.exchange(connection, 'direct', ['key.of.it']);
      const [queue = ''] = queues;
      const receiver = await trial.receive(connection, queue);
      await connection.publish([{ exchange, routingKey: 'key.of.it', message: textMessage('m') }]);
      const delivery = await receiver.takeOne();
      assert.deepEqual(
        { exchange: delivery.exchange, routingKey: delivery.routingKey, queue: delivery.queue },
        { exchange, routingKey: 'key.of.it', queue },
      );
      await receiver.settle([delivery], 'ack');
    },
  },
  {
    name: 'routing: a queue bound twice by matching keys gets one copy',
    async run(trial) {
      const connection = await trial.open();
      const exchange = trial.name('topic');
      const queue = trial.name('queue');
      await trial.declare(connection, {
        exchanges: [{ name: exchange, type: 'topic' }],
        queues: [{ name: queue }],
        bindings: [
          { exchange, queue, routingKey: 'a.*' },
          { exchange, queue, routingKey: 'a.#' },
        ],
      });
      const receiver = await trial.receive(connection, queue);
      await connection.publish([{ exchange, routingKey: 'a.b', message: textMessage('once') }]);
      await connection.publish([toQueue(queue, 'last')]);
      sameTexts(textsOf(await receiver.take(2)), ['once', 'last'], 'copies');
      await trial.barrier(connection);
      assert.equal(receiver.deliveries.length, 2, 'deliveries of one message');
      await receiver.settle(receiver.unsettled, 'ack');
    },
  },
  {
    name: 'routing: another session sees the bindings that were declared by the first',
    async run(trial) {
      const first = await trial.open();
      const { exchange, queues } = await trial.exchange(first, 'direct', ['key']);
      const second = await trial.open();
      await second.publish([{ exchange, routingKey: 'key', message: textMessage('m') }]);
      const receiver = await trial.receive(first, queues);
      assert.equal(textOf(await receiver.takeOne()), 'm');
      await receiver.settle(receiver.unsettled, 'ack');
    },
  },
  {
    name: 'routing: a binding that was removed leads nowhere',
    async run(trial) {
      const connection = await trial.open();
      const { exchange, queues } = await trial.exchange(connection, 'direct', ['gone', 'stays']);
      const [gone = '', stays = ''] = queues;
      await connection.remove({ bindings: [{ exchange, queue: gone, routingKey: 'gone' }] });
      const receiver = await trial.receive(connection, [gone, stays]);
      await connection.publish([
        { exchange, routingKey: 'gone', message: textMessage('lost') },
        { exchange, routingKey: 'stays', message: textMessage('kept') },
      ]);
      assert.equal(textOf(await receiver.takeOne()), 'kept');
      await trial.barrier(connection);
      assert.deepEqual(textsOf(receiver.deliveries), ['kept']);
      await receiver.settle(receiver.unsettled, 'ack');
    },
  },
  {
    name: 'routing: a message that matches no binding is dropped, and publishing it resolves',
    async run(trial) {
      const connection = await trial.open();
      const { exchange, queues } = await trial.exchange(connection, 'direct', ['bound']);
      await connection.publish([{ exchange, routingKey: 'unbound', message: textMessage('m') }]);
      const receiver = await trial.receive(connection, queues);
      await trial.barrier(connection);
      assert.deepEqual(textsOf(receiver.deliveries), []);
    },
  },
  {
    name: 'routing: a headers exchange routes by headers or is refused when it is declared',
    async run(trial) {
      const connection = await trial.open();
      const exchange = trial.name('headers');
      const queue = trial.name('queue');
      const topology = {
        exchanges: [{ name: exchange, type: 'headers' as const }],
        queues: [{ name: queue }],
        bindings: [{ exchange, queue, routingKey: '', arguments: { 'x-match': 'all', colour: 'red' } }],
      };
      const refused = await connection.declare(topology).then(
        () => false,
        async (error: unknown) => {
          await rejectsWith(Promise.reject(error), 'ERR_UNSUPPORTED', 'declare() of a headers exchange');
          return true;
        },
      );
      trial.isRefused = refused;
      if (refused) return;
      await trial.declare(connection, topology);
      const receiver = await trial.receive(connection, queue);
      const publish = (text: string, colour: string): Publication => ({
        exchange,
        routingKey: '',
        message: { ...textMessage(text), headers: { colour } },
      });
      await connection.publish([publish('blue', 'blue'), publish('red', 'red')]);
      assert.equal(textOf(await receiver.takeOne()), 'red');
      await trial.barrier(connection);
      assert.deepEqual(textsOf(receiver.deliveries), ['red']);
      await receiver.settle(receiver.unsettled, 'ack');
    },
  },
];

/** Publishes once with each routing key and holds that exactly these queues (by index) get it. */
async function routes(
  trial: TransportTrial,
  type: 'direct' | 'topic',
  bindingKeys: readonly string[],
  table: Readonly<Record<string, readonly number[]>>,
): Promise<void> {
  const connection = await trial.open();
  const { exchange, queues } = await trial.exchange(connection, type, bindingKeys);
  const receiver = await trial.receive(connection, queues);
  const keys = Object.keys(table);
  await connection.publish(keys.map((routingKey) => ({ exchange, routingKey, message: textMessage(routingKey) })));
  // One more to every queue: when all of these are here, so is what came before them.
  await connection.publish(queues.map((queue) => toQueue(queue, 'last')));
  const expected = Object.values(table).flat().length + queues.length;
  await receiver.take(expected, `${expected} copies`).catch(() => {});
  const seen = receiver.deliveries.filter((delivery) => textOf(delivery) !== 'last');
  sameTexts(
    seen.map((delivery) => `${textOf(delivery)} -> ${bindingKeys[queues.indexOf(delivery.queue)]}`),
    keys.flatMap((key) => (table[key] ?? []).map((index) => `${key} -> ${bindingKeys[index]}`)),
    `copies through a ${type} exchange`,
  );
  await trial.barrier(connection);
  assert.equal(receiver.deliveries.length, expected, 'copies');
  await receiver.settle(receiver.unsettled, 'ack');
}
