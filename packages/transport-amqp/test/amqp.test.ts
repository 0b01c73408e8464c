import { type Connection, type Delivery, PublishError, type Topology } from '@lovage/core/transport';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  brokerUrl,
  connect,
  consumeInto,
  describeWithRabbit,
  eventually,
  failureOf,
  newName,
  textMessage,
  textOf,
  toQueue,
} from './broker.ts';

const withUser = (user: string, vhost = ''): string =>
  brokerUrl.replace(/\/\/[^@]*@/, `//${user}@`).replace(/\/*$/, `/${vhost}`);

describeWithRabbit('RabbitMQ', () => {
  let connection: Connection;
  const removeLater: Topology[] = [];

  beforeAll(async () => {
    connection = await connect({ clientName: 'lovage tests' });
  });

  afterAll(async () => {
    await connection.close();
    const last = await connect();
    for (const topology of removeLater) await last.remove(topology);
    await last.close();
  });

  async function newQueue(kind: string, more: { readonly arguments?: Record<string, unknown> } = {}): Promise<string> {
    const name = newName(kind);
    const topology: Topology = { queues: [{ name, ...more }] };
    removeLater.push(topology);
    await connection.declare(topology);
    return name;
  }

  describe('publishing', () => {
    test('names exactly the messages that no queue takes', async () => {
      const queue = await newQueue('unroutable');
      const batch = [0, 1, 2, 3, 4].map((index) => toQueue(index % 2 === 1 ? newName('nowhere') : queue, `m${index}`));
      const error = (await failureOf(connection.publish(batch))) as PublishError;
      expect(error).toBeInstanceOf(PublishError);
      expect(error.failures.map(({ index, error: { code } }) => [index, code])).toEqual([
        [1, 'ERR_UNROUTABLE'],
        [3, 'ERR_UNROUTABLE'],
      ]);
      expect(error.retryable).toBe(false);
      expect((await connection.inspect(queue)).ready).toBe(3);
    });

    test('drops what is unroutable and not mandatory, as AMQP says', async () => {
      await connection.publish([toQueue(newName('nowhere'), 'x', { mandatory: false })]);
    });

    test('to a missing exchange fails for that message, and the connection goes on', async () => {
      const queue = await newQueue('missing-exchange');
      const error = (await failureOf(
        connection.publish([toQueue('k', 'x', { exchange: newName('no-exchange') })]),
      )) as PublishError;
      expect(error.failures[0]?.error).toMatchObject({ code: 'ERR_NOT_FOUND', retryable: false });
      await connection.publish([toQueue(queue, 'after')]);
      expect((await connection.inspect(queue)).ready).toBe(1);
    });

    test('says which message a full queue refused', async () => {
      const queue = await newQueue('full', { arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' } });
      const error = (await failureOf(connection.publish([toQueue(queue, 'a'), toQueue(queue, 'b')]))) as PublishError;
      expect(error.failures).toMatchObject([{ index: 1, error: { code: 'ERR_PUBLISH', retryable: true } }]);
    });

    test('refuses what cannot be sent without harming its neighbours', async () => {
      const queue = await newQueue('refused');
      const batch = [
        toQueue(queue, 'fine'),
        toQueue(queue, 'x', { message: textMessage('x', { headers: { big: 'x'.repeat(200_000) } }) }),
        toQueue(queue, 'x', { message: textMessage('x', { properties: { correlationId: 'c'.repeat(300) } }) }),
        toQueue(queue, 'fine too'),
      ];
      const error = (await failureOf(connection.publish(batch))) as PublishError;
      expect(error.failures.map(({ index, error: { code } }) => [index, code])).toEqual([
        [1, 'ERR_TOO_LARGE'],
        [2, 'ERR_ENCODE'],
      ]);
      expect((await connection.inspect(queue)).ready).toBe(2);
      const small = await connect({ transportOptions: { maxMessageBytes: 10 } });
      expect(small.capabilities.maxMessageBytes).toBe(10);
      expect(
        ((await failureOf(small.publish([toQueue(queue, 'longer than ten')]))) as PublishError).failures[0]?.error.code,
      ).toBe('ERR_TOO_LARGE');
      await small.close();
    });

    test('keeps no more than the window on its way, and order within it', async () => {
      const narrow = await connect({ transportOptions: { publishWindow: 3 } });
      const queue = await newQueue('window');
      await Promise.all(Array.from({ length: 100 }, (_, index) => narrow.publish([toQueue(queue, `m${index}`)])));
      const { inbox, consumer } = await consumeInto(narrow, [queue], 0);
      expect((await inbox.take(100)).map(textOf)).toEqual(Array.from({ length: 100 }, (_, index) => `m${index}`));
      await consumer.cancel();
      await narrow.close();
    });

    test('stops waiting when aborted', async () => {
      const queue = await newQueue('abort');
      const reason = new Error('enough');
      await expect(connection.publish([toQueue(queue, 'x')], { signal: AbortSignal.abort(reason) })).rejects.toBe(
        reason,
      );
      expect((await connection.inspect(queue)).ready).toBe(0);
      const abort = new AbortController();
      const published = connection.publish([toQueue(queue, 'x')], { signal: abort.signal });
      abort.abort(reason);
      await expect(published).rejects.toBe(reason);
      await eventually(async () => (await connection.inspect(queue)).ready === 1);
    });
  });

  describe('settling', () => {
    test('acknowledges out of order, in batches, twice without harm, and gives back the rest', async () => {
      const queue = await newQueue('settle');
      const mine = await connect();
      await mine.publish(Array.from({ length: 100 }, (_, index) => toQueue(queue, String(index))));
      const { inbox } = await consumeInto(mine, [queue], 0);
      const deliveries = await inbox.take(100);
      const odd = deliveries.filter((_, index) => index % 2 === 1).toReversed();
      for (const delivery of odd) {
        await mine.settle([{ delivery, outcome: 'ack' }]);
        await mine.settle([{ delivery, outcome: 'ack' }]);
        await mine.settle([{ delivery, outcome: 'requeue' }]);
      }
      await mine.close();
      await eventually(async () => (await connection.inspect(queue)).ready === 50);
      const again = await consumeInto(connection, [queue], 0);
      const rest = await again.inbox.take(50);
      expect(rest.map(textOf).toSorted()).toEqual(
        deliveries
          .filter((_, index) => index % 2 === 0)
          .map(textOf)
          .toSorted(),
      );
      expect(rest.every(({ redelivered, deliveryCount }) => redelivered && deliveryCount === 2)).toBe(true);
      await connection.settle(rest.map((delivery) => ({ delivery, outcome: 'ack' as const })));
      await again.consumer.cancel();
      expect((await connection.inspect(queue)).ready).toBe(0);
    });

    test('an acknowledgement in the same tick as a refusal does not cover it', async () => {
      const queue = await newQueue('mixed');
      await connection.publish(['a', 'b', 'c'].map((text) => toQueue(queue, text)));
      const { inbox, consumer } = await consumeInto(connection, [queue], 10);
      const [a, b, c] = (await inbox.take(3)) as [Delivery, Delivery, Delivery];
      await connection.settle([
        { delivery: a, outcome: 'ack' },
        { delivery: c, outcome: 'ack' },
        { delivery: b, outcome: 'requeue' },
      ]);
      const back = await inbox.takeOne();
      expect(textOf(back)).toBe('b');
      await connection.settle([{ delivery: back, outcome: 'ack' }]);
      await consumer.cancel();
    });

    test("a delivery of another connection is not ours to settle, whatever its tag's number", async () => {
      const queue = await newQueue('stale');
      await connection.publish([toQueue(queue, 'a')]);
      const first = await connect();
      const { inbox } = await consumeInto(first, [queue], 1);
      const stale = await inbox.takeOne();
      await first.close();
      await expect(first.settle([{ delivery: stale, outcome: 'ack' }])).rejects.toMatchObject({
        code: 'ERR_CLOSED',
      });
      const second = await connect();
      const again = await consumeInto(second, [queue], 1);
      const fresh = await again.inbox.takeOne();
      await expect(second.settle([{ delivery: stale, outcome: 'ack' }])).rejects.toMatchObject({
        code: 'ERR_CONNECTION_LOST',
      });
      await second.settle([{ delivery: fresh, outcome: 'ack' }]);
      await second.close();
      await eventually(async () => (await connection.inspect(queue)).ready === 0);
    });

    test('rejects to the dead letter queue that only we know of, with headers and properties', async () => {
      const [queue, dead] = [await newQueue('rejecting'), await newQueue('dead')];
      await connection.declare({ queues: [{ name: queue, deadLetter: { exchange: '', routingKey: dead } }] });
      const message = textMessage('poison', {
        headers: { task: 't', retries: 300, none: null },
        properties: { correlationId: 'c1', priority: 3, deliveryMode: 2 },
      });
      await connection.publish([toQueue(queue, '', { message })]);
      const { inbox, consumer } = await consumeInto(connection, [queue, dead], 10);
      const delivery = await inbox.takeOne();
      await connection.settle([{ delivery: delivery, outcome: 'reject' }]);
      const buried = await inbox.takeOne();
      expect(buried).toMatchObject({
        queue: dead,
        message: { headers: message.headers, properties: message.properties },
      });
      await connection.settle([{ delivery: buried, outcome: 'reject' }]);
      await consumer.cancel();
      expect([await connection.inspect(queue), await connection.inspect(dead)]).toMatchObject([
        { ready: 0 },
        { ready: 0 },
      ]);
    });

    test('leaves a message unsettled whose dead letter queue is gone', async () => {
      const queue = await newQueue('unburied');
      await connection.declare({
        queues: [{ name: queue, deadLetter: { exchange: '', routingKey: newName('gone') } }],
      });
      await connection.publish([toQueue(queue, 'x')]);
      const { inbox, consumer } = await consumeInto(connection, [queue], 1);
      const delivery = await inbox.takeOne();
      await expect(connection.settle([{ delivery: delivery, outcome: 'reject' }])).rejects.toMatchObject({
        code: 'ERR_UNROUTABLE',
      });
      await connection.settle([{ delivery: delivery, outcome: 'ack' }]);
      await consumer.cancel();
    });

    test("uses the broker's own dead letters where the queue has them", async () => {
      const dead = await newQueue('native-dead');
      const queue = await newQueue('native', {
        arguments: { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': dead },
      });
      await connection.publish([toQueue(queue, 'x')]);
      const { inbox, consumer } = await consumeInto(connection, [queue], 1);
      await connection.settle([{ delivery: await inbox.takeOne(), outcome: 'reject' }]);
      await eventually(async () => (await connection.inspect(dead)).ready === 1);
      await consumer.cancel();
    });
  });

  describe('prefetch', () => {
    test('is a ceiling over all queues of a consumer', async () => {
      const queues = [await newQueue('p1'), await newQueue('p2'), await newQueue('p3')];
      await connection.publish(
        queues.flatMap((queue) => Array.from({ length: 10 }, (_, index) => toQueue(queue, String(index)))),
      );
      const { inbox, consumer } = await consumeInto(connection, queues, 4);
      let unsettled = 0;
      for (let done = 0; done < 30; done++) {
        const delivery = await inbox.takeOne();
        unsettled = inbox.all.length - done;
        expect(unsettled).toBeLessThanOrEqual(4);
        await connection.settle([{ delivery: delivery, outcome: 'ack' }]);
      }
      expect(new Set(inbox.all.map(({ queue }) => queue))).toEqual(new Set(queues));
      await consumer.cancel();
    });

    test('can be raised and lowered while messages are held', async () => {
      const queue = await newQueue('change');
      await connection.publish(Array.from({ length: 40 }, (_, index) => toQueue(queue, String(index))));
      const { inbox, consumer } = await consumeInto(connection, [queue], 2);
      const first = await inbox.take(2);
      await consumer.setPrefetch(10);
      const more = await inbox.take(8);
      await consumer.setPrefetch(1);
      await connection.settle([...first, ...more].map((delivery) => ({ delivery, outcome: 'ack' as const })));
      for (let left = 30; left > 0; left--) {
        const delivery = await inbox.takeOne();
        expect(inbox.all.length).toBe(10 + (30 - left) + 1);
        await connection.settle([{ delivery: delivery, outcome: 'ack' }]);
      }
      await consumer.cancel();
      expect(await connection.inspect(queue)).toEqual({ ready: 0, consumers: 0 });
    });

    test('refuses a number that is none', async () => {
      await expect(connection.consume([], () => {}, { prefetch: -1 })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    });
  });

  describe('declarations', () => {
    test("that differ are refused without harm to anything else, Python's arguments are not different", async () => {
      const queue = await newQueue('declared', { arguments: { 'x-message-ttl': 300_000, 'x-expires': 600_000 } });
      await connection.declare({
        queues: [{ name: queue, arguments: { 'x-message-ttl': 300_000, 'x-expires': 600_000 } }],
      });
      const error = await failureOf(connection.declare({ queues: [{ name: queue }] }));
      expect(error).toMatchObject({ code: 'ERR_PRECONDITION_FAILED', queue, retryable: false });
      await connection.publish([toQueue(queue, 'still here')]);
    });

    test('of exclusive queues are seen by this connection alone, which can consume them', async () => {
      const owner = await connect();
      await owner.publish([]);
      const name = newName('exclusive');
      await owner.publish([toQueue(await newQueue('first-role'), 'x')]);
      await owner.declare({ queues: [{ name, durable: false, exclusive: true, autoDelete: true }] });
      const { inbox } = await consumeInto(owner, [name], 1);
      await owner.publish([toQueue(name, 'mine')]);
      expect((await inbox.take(1)).map(textOf)).toEqual(['mine']);
      expect(await failureOf(connection.consume([name], () => {}, { prefetch: 1 }))).toMatchObject({
        code: 'ERR_PRECONDITION_FAILED',
        retryable: true,
      });
      await owner.close();
    });

    test('of what does not exist are not found', async () => {
      const missing = newName('missing');
      for (const ask of [
        () => connection.inspect(missing),
        () => connection.purge(missing),
        () => connection.consume([missing], () => {}, { prefetch: 1 }),
      ]) {
        expect(await failureOf(ask())).toMatchObject({ code: 'ERR_NOT_FOUND', queue: missing });
      }
      await connection.remove({
        queues: [{ name: missing }],
        exchanges: [{ name: missing, type: 'direct' }],
        bindings: [{ queue: missing, exchange: missing, routingKey: '' }],
      });
    });

    test('cover exchanges of every type, bindings, purge and removal', async () => {
      const exchange = newName('topic');
      const queue = await newQueue('bound');
      const topology: Topology = {
        exchanges: [{ name: exchange, type: 'topic' }],
        bindings: [{ queue, exchange, routingKey: 'a.*' }],
      };
      removeLater.push(topology);
      await connection.declare(topology);
      await connection.publish([toQueue('a.b', '1', { exchange }), toQueue('a.c', '2', { exchange })]);
      expect(await connection.purge(queue)).toBe(2);
      await connection.remove({ bindings: topology.bindings ?? [] });
      expect(await failureOf(connection.publish([toQueue('a.b', '3', { exchange })]))).toMatchObject({
        code: 'ERR_PUBLISH',
      });
    });
  });

  describe('a consumer', () => {
    test('hears that its queue was deleted, and the connection goes on', async () => {
      const queue = await newQueue('deleted');
      const { consumer } = await consumeInto(connection, [queue], 1);
      await connection.remove({ queues: [{ name: queue }] });
      expect(await failureOf(consumer.done)).toMatchObject({ code: 'ERR_NOT_FOUND', queue });
      await consumer.cancel();
      await connection.inspect(await newQueue('after'));
    });

    test('that is cancelled is not called again, and what it holds can still be settled', async () => {
      const queue = await newQueue('cancelled');
      const { inbox, consumer } = await consumeInto(connection, [queue], 5);
      await connection.publish(Array.from({ length: 20 }, (_, index) => toQueue(queue, String(index))));
      const held = await inbox.take(5);
      await consumer.cancel();
      await consumer.done;
      await connection.settle(held.slice(0, 2).map((delivery) => ({ delivery, outcome: 'ack' as const })));
      await connection.settle(held.slice(2).map((delivery) => ({ delivery, outcome: 'requeue' as const })));
      expect(inbox.all).toHaveLength(5);
      await eventually(async () => (await connection.inspect(queue)).ready === 18);
    });

    test('loses nothing when its sink throws', async () => {
      const queue = await newQueue('throwing');
      const errors: unknown[] = [];
      const logger = { debug() {}, info() {}, warn() {}, error: (fields: object) => errors.push(fields) };
      const mine = await connect({ logger });
      const consumer = await mine.consume(
        [queue],
        () => {
          throw new Error('sink');
        },
        { prefetch: 1 },
      );
      await mine.publish([toQueue(queue, 'x')]);
      await eventually(async () => errors.length === 1);
      await consumer.cancel();
      await mine.close();
      await eventually(async () => (await connection.inspect(queue)).ready === 1);
    });
  });

  describe('delivery counts', () => {
    test.each([
      ['classic', {}],
      ['quorum', { arguments: { 'x-queue-type': 'quorum' } }],
    ])('grow on a %s queue even when every consumer dies with the message', async (_, more) => {
      const queue = await newQueue('count', more);
      const exchange = newName('count-exchange');
      const topology: Topology = {
        exchanges: [{ name: exchange, type: 'direct' }],
        bindings: [{ queue, exchange, routingKey: 'k' }],
      };
      removeLater.push(topology);
      await connection.declare(topology);
      await connection.publish([
        toQueue('k', 'poison', {
          exchange,
          message: textMessage('poison', { headers: { task: 'a', id: 'b' }, properties: { correlationId: 'c' } }),
        }),
      ]);
      for (let count = 1; count <= 6; count++) {
        const victim = await connect();
        const { inbox } = await consumeInto(victim, [queue], 1);
        const delivery = await inbox.takeOne();
        expect(delivery).toMatchObject({ deliveryCount: count, redelivered: count > 1, exchange, routingKey: 'k' });
        expect(delivery.message).toMatchObject({
          headers: { task: 'a', id: 'b' },
          properties: { correlationId: 'c' },
        });
        expect(Object.keys(delivery.message.headers ?? {}).filter((name) => name.startsWith('x-lovage'))).toEqual([]);
        // Without settling: the broker takes the message back as it does when the process is killed.
        await victim.close();
      }
      await eventually(async () => (await connection.inspect(queue)).ready === 1);
    });

    test('grow when a message is requeued', async () => {
      const queue = await newQueue('requeue');
      await connection.publish([toQueue(queue, 'x')]);
      const { inbox, consumer } = await consumeInto(connection, [queue], 1);
      for (let count = 1; count <= 4; count++) {
        const delivery = await inbox.takeOne();
        expect(delivery.deliveryCount).toBe(count);
        await connection.settle([{ delivery: delivery, outcome: count < 4 ? 'requeue' : 'ack' }]);
      }
      await consumer.cancel();
      expect((await connection.inspect(queue)).ready).toBe(0);
    });

    test('stay at 2 where recording is switched off', async () => {
      const queue = await newQueue('uncounted');
      const mine = await connect({ transportOptions: { countRedeliveries: false } });
      await mine.publish([toQueue(queue, 'x')]);
      const { inbox } = await consumeInto(mine, [queue], 1);
      for (const count of [1, 2, 2]) {
        const delivery = await inbox.takeOne();
        expect(delivery.deliveryCount).toBe(count);
        await mine.settle([{ delivery: delivery, outcome: count === 1 || inbox.all.length < 3 ? 'requeue' : 'ack' }]);
      }
      await mine.close();
    });
  });

  test('serves high priorities first and keeps the number', async () => {
    const queue = await newQueue('priority', { arguments: { 'x-max-priority': 10 } });
    await connection.publish(
      [0, 9, 5].map((priority) =>
        toQueue(queue, '', { message: textMessage(String(priority), { properties: { priority } }) }),
      ),
    );
    const { inbox, consumer } = await consumeInto(connection, [queue], 3);
    const deliveries = await inbox.take(3);
    expect(deliveries.map(({ message }) => message.properties.priority)).toEqual([9, 5, 0]);
    await connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' as const })));
    await consumer.cancel();
  });

  describe('native delayed delivery', () => {
    test('delays to the default exchange and to topic exchanges, and gives the address back', {
      timeout: 60_000,
    }, async () => {
      const mine = await connect({ transportOptions: { nativeDelayedDelivery: true, requestTimeoutMs: 60_000 } });
      expect(mine.capabilities.maxDelayMs).toBe((2 ** 28 - 1) * 1000);
      expect(connection.capabilities.maxDelayMs).toBe(0);
      const queue = await newQueue('delayed', { arguments: { 'x-queue-type': 'quorum' } });
      const exchange = newName('delayed-topic');
      const topology: Topology = {
        exchanges: [{ name: exchange, type: 'topic' }],
        queues: [],
        bindings: [{ queue, exchange, routingKey: 'key.one' }],
      };
      removeLater.push(topology);
      await mine.declare(topology);
      const { inbox, consumer } = await consumeInto(mine, [queue], 10);
      // Once for the 28 levels, which take their time to declare.
      await mine.publish([toQueue(queue, 'warm', { delayMs: 1000 })]);
      await inbox.take(1);
      const start = performance.now();
      await mine.publish([
        toQueue(queue, 'direct', { delayMs: 1000 }),
        toQueue('key.one', 'topic', { exchange, delayMs: 2000 }),
        toQueue(queue, 'now'),
      ]);
      const deliveries = await inbox.take(3);
      expect(performance.now() - start).toBeGreaterThanOrEqual(1950);
      expect(deliveries.map((delivery) => [textOf(delivery), delivery.exchange, delivery.routingKey])).toEqual([
        ['now', '', queue],
        ['direct', '', queue],
        ['topic', expect.stringMatching(/^celery_delayed_/), 'key.one'],
      ]);
      // As they were sent, and so they can be delayed again: three seconds are the two levels of one and two.
      const again = deliveries.map(({ message }) => ({ ...toQueue(queue, ''), message, delayMs: 3000 }));
      await mine.publish(again);
      expect(await mine.delayed?.()).toBeGreaterThanOrEqual(3);
      expect((await inbox.take(3, 30_000)).map(textOf).toSorted()).toEqual(['direct', 'now', 'topic']);
      for (const { message } of deliveries) expect(message.headers).toEqual({});
      const refused = (await failureOf(
        mine.publish([toQueue('x', 'x', { exchange: 'never-declared', delayMs: 5 })]),
      )) as PublishError;
      expect(refused.failures[0]?.error.code).toBe('ERR_UNSUPPORTED');
      await consumer.cancel();
      await mine.close();
    });

    test('is refused where it is not switched on', async () => {
      const error = (await failureOf(connection.publish([toQueue(newName('x'), 'x', { delayMs: 5 })]))) as PublishError;
      expect(error.failures[0]?.error.code).toBe('ERR_UNSUPPORTED');
    });
  });

  describe('removal on condition', () => {
    test('is one step of the broker, and leaves the connection alone', async () => {
      const queue = await newQueue('remove-if');
      const exchange = newName('remove-if');
      const topology: Topology = {
        exchanges: [{ name: exchange, type: 'direct' }],
        bindings: [{ queue, exchange, routingKey: 'k' }],
      };
      await connection.declare(topology);
      await connection.publish([toQueue(queue, 'x')]);
      const { inbox, consumer } = await consumeInto(connection, [queue], 1);
      await connection.settle([{ delivery: await inbox.takeOne(), outcome: 'ack' }]);
      const removeIf = (ifEmpty: boolean, ifUnused: boolean): Promise<number> =>
        connection.removeIf?.({ queue, ifEmpty, ifUnused }) as Promise<number>;
      const used = await failureOf(removeIf(false, true));
      expect(used).toMatchObject({ code: 'ERR_PRECONDITION_FAILED', message: expect.stringContaining('in use') });
      await consumer.cancel();
      await connection.publish([toQueue(queue, 'y')]);
      expect(await failureOf(removeIf(true, true))).toMatchObject({
        code: 'ERR_PRECONDITION_FAILED',
        message: expect.stringMatching(/^RabbitMQ did not delete the queue .* not empty/),
      });
      expect(await failureOf(connection.removeIf?.({ exchange, ifUnused: true }) as Promise<number>)).toMatchObject({
        code: 'ERR_PRECONDITION_FAILED',
        message: expect.stringContaining('in use'),
      });
      expect(await removeIf(false, true)).toBe(1);
      expect(await connection.removeIf?.({ exchange, ifUnused: true })).toBe(0);
      expect(await removeIf(true, true)).toBe(0);
    });

    test('of a quorum queue is refused by the server, which ends no connection of ours', async () => {
      const queue = await newQueue('remove-if', { arguments: { 'x-queue-type': 'quorum' } });
      expect(
        await failureOf(connection.removeIf?.({ queue, ifEmpty: true, ifUnused: false }) as Promise<number>),
      ).toMatchObject({ code: 'ERR_UNSUPPORTED' });
      expect(await connection.inspect(queue)).toEqual({ ready: 0, consumers: 0 });
    });
  });

  describe('connecting', () => {
    test('tells wrong credentials, a wrong virtual host and nobody there apart', async () => {
      expect(await failureOf(connect({}, withUser('guest:wrong')))).toMatchObject({
        code: 'ERR_AUTH',
        retryable: false,
      });
      expect(await failureOf(connect({}, withUser('guest:guest', 'nowhere')))).toMatchObject({ code: 'ERR_CONFIG' });
      expect(await failureOf(connect({}, 'amqp://127.0.0.1:1/'))).toMatchObject({
        code: 'ERR_CONNECT',
        retryable: true,
      });
      expect(String(await failureOf(connect({}, withUser('guest:wrong'))))).not.toContain('wrong');
    });

    test('ends at its deadline and at an abort', async () => {
      // Takes connections and says nothing.
      const { createServer } = await import('node:net');
      const sockets = new Set<import('node:net').Socket>();
      const silent = createServer((socket) => sockets.add(socket.on('error', () => {})));
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
      const url = `amqp://127.0.0.1:${(silent.address() as { port: number }).port}/`;
      expect(await failureOf(connect({ connectTimeoutMs: 100 }, url))).toMatchObject({ code: 'ERR_CONNECT' });
      const reason = new Error('never mind');
      const abort = new AbortController();
      const connecting = failureOf(connect({ signal: abort.signal }, url));
      abort.abort(reason);
      expect(await connecting).toBe(reason);
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => silent.close(resolve));
    });

    test('closes twice, and is over then', async () => {
      const mine = await connect();
      await Promise.all([mine.close(), mine.close()]);
      await mine.closed;
      for (const call of [
        mine.declare({}),
        mine.inspect('q'),
        mine.settle([]),
        mine.consume(['q'], () => {}, { prefetch: 1 }),
        mine.publish([toQueue('q', 'x')]),
      ]) {
        expect(await failureOf(call)).toMatchObject({ code: 'ERR_CLOSED' });
      }
    });

    test('closes with messages on their way: confirmed or rejected, none forgotten', async () => {
      const queue = await newQueue('closing');
      const mine = await connect();
      const outcomes = Array.from({ length: 500 }, (_, index) =>
        mine.publish([toQueue(queue, String(index))]).then(
          () => true,
          () => false,
        ),
      );
      await mine.close();
      const confirmed = (await Promise.all(outcomes)).filter(Boolean).length;
      expect((await connection.inspect(queue)).ready).toBeGreaterThanOrEqual(confirmed);
    });

    test.each(['AMQPLAIN', 'PLAIN'])('logs in by %s', async (loginMethod) => {
      await (await connect({ transportOptions: { loginMethod } })).close();
    });
  });
});
