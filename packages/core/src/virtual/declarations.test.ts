import { expect, test } from 'vitest';
import { altered, connect, drained, freshUrl, Inbox, publication } from '../../test/support/virtual-bench.ts';
import { openMemoryDriver } from '../memory/memory-transport.ts';
import type { Delivery } from '../transport/contract.ts';

test('direct, topic and default exchange, each queue once', async () => {
  const url = freshUrl();
  const [connection, other] = [await connect(url), await connect(url)];
  await connection.declare({
    exchanges: [
      { name: 'd', type: 'direct' },
      { name: 't', type: 'topic' },
    ],
    queues: [{ name: 'a' }, { name: 'b' }],
    bindings: [
      { queue: 'a', exchange: 'd', routingKey: 'k' },
      { queue: 'a', exchange: 't', routingKey: 'x.#' },
      { queue: 'a', exchange: 't', routingKey: 'x.*' },
      { queue: 'b', exchange: 't', routingKey: '#.z' },
    ],
  });
  await other.publish([
    publication('1', 'k', { exchange: 'd' }),
    publication('2', 'x.z', { exchange: 't' }),
    publication('3', 'b'),
    publication('4', 'none', { exchange: 't' }),
  ]);
  const inboxes = [new Inbox(), new Inbox()] as const;
  await connection.consume(['a'], inboxes[0].sink, { prefetch: 0 });
  await connection.consume(['b'], inboxes[1].sink, { prefetch: 0 });
  await Promise.all([inboxes[0].reach(2), inboxes[1].reach(2)]);
  await drained();
  expect(inboxes[0].texts).toEqual(['1', '2']);
  expect(inboxes[1].texts).toEqual(['2', '3']);
  expect(inboxes[0].all[1]).toMatchObject({
    exchange: 't',
    routingKey: 'x.z',
    queue: 'a',
    redelivered: false,
    deliveryCount: 1,
  });
});

test('a binding that only the broker knows is followed, by its pattern where the exchange is unknown here', async () => {
  const url = freshUrl();
  const connection = await connect(url);
  const driver = await openMemoryDriver(url);
  await driver.bindings?.add('foreign', { queue: 'q', routingKey: 'a.#', pattern: '^a\\..*?$' });
  await connection.publish([
    publication('1', 'a.b', { exchange: 'foreign' }),
    publication('2', 'b', { exchange: 'foreign' }),
  ]);
  expect((await connection.inspect('q')).ready).toBe(1);
  await driver.close();
});

test('what makes no sense is refused at declare', async () => {
  const connection = await connect();
  await expect(connection.declare({ exchanges: [{ name: 'h', type: 'headers' }] })).rejects.toMatchObject({
    code: 'ERR_UNSUPPORTED',
  });
  await connection.declare({ exchanges: [{ name: 'e', type: 'direct' }], queues: [{ name: 'q' }] });
  await connection.declare({ exchanges: [{ name: 'e', type: 'direct' }], queues: [{ name: 'q', durable: true }] });
  await expect(connection.declare({ exchanges: [{ name: 'e', type: 'topic' }] })).rejects.toMatchObject({
    code: 'ERR_PRECONDITION_FAILED',
  });
  await expect(connection.declare({ queues: [{ name: 'q', arguments: { 'x-expires': 1 } }] })).rejects.toMatchObject({
    code: 'ERR_PRECONDITION_FAILED',
    message: expect.stringMatching(/"arguments":\{\}.*, not .*"x-expires":1.*Declare it the same/),
  });
  await expect(
    connection.declare({ bindings: [{ queue: 'q', exchange: 'unheard-of', routingKey: '' }] }),
  ).rejects.toMatchObject({
    code: 'ERR_NOT_FOUND',
  });
  await expect(connection.inspect('unheard-of')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
});

const fanout = { exchanges: [{ name: 'f', type: 'fanout' as const, durable: false }] };
const bound = (queue: string) => ({
  ...fanout,
  queues: [{ name: queue, autoDelete: true }],
  bindings: [{ queue, exchange: 'f', routingKey: '' }],
});

test('fanout by broadcast reaches every consumer, within its window', async () => {
  const url = freshUrl();
  const connections = await Promise.all([connect(url), connect(url)]);
  const inboxes = [new Inbox(), new Inbox()] as const;
  for (const [index, connection] of connections.entries()) {
    await connection.declare(bound(`f${index}`));
    await connection.consume([`f${index}`], (inboxes[index] as Inbox).sink, { prefetch: index === 0 ? 0 : 2 });
  }
  const sender = await connect(url);
  await sender.declare(fanout);
  await sender.publish(['1', '2', '3'].map((item) => publication(item, 'any', { exchange: 'f' })));
  await inboxes[0].reach(3);
  await inboxes[1].reach(2);
  await drained();
  expect(inboxes[1].texts).toEqual(['1', '2']);
  await connections[1].settle([{ delivery: inboxes[1].all[0] as Delivery, outcome: 'requeue' }]);
  await inboxes[1].reach(3);
  await connections[1].settle(inboxes[1].all.slice(1).map((delivery) => ({ delivery, outcome: 'ack' })));
  await inboxes[1].reach(4);
  expect(inboxes[1].texts).toEqual(['1', '2', '3', '1']);
  expect(inboxes[1].all[3]).toMatchObject({ redelivered: true, deliveryCount: 2, exchange: 'f', queue: 'f1' });
});

test.each([
  ['bindings', () => ({ broadcast: undefined })],
  ['the process alone', () => ({ broadcast: undefined, bindings: undefined })],
])('fanout by copies, with the help of %s', async (_, change) => {
  const transport = altered(change as never);
  const url = freshUrl();
  const [connection, sender] = [await connect(url, {}, transport), await connect(url, {}, transport)];
  await connection.declare(bound('f1'));
  await connection.declare(bound('f2'));
  await sender.declare(fanout);
  await sender.publish([publication('1', '', { exchange: 'f' })]);
  const inbox = new Inbox();
  const consumer = await connection.consume(['f1', 'f2'], inbox.sink, { prefetch: 0 });
  await inbox.reach(2);
  expect(inbox.all.map(({ queue }) => queue).toSorted()).toEqual(['f1', 'f2']);
  await connection.settle(inbox.all.map((delivery) => ({ delivery, outcome: 'ack' })));
  await consumer.cancel();
  await expect(sender.publish([publication('2', '', { exchange: 'f', mandatory: true })])).rejects.toMatchObject({
    code: 'ERR_PUBLISH',
  });
});
