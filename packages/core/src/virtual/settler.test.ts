import { expect, test } from 'vitest';
import { altered, connect, freshUrl, Inbox, publication } from '../../test/support/virtual-bench.ts';
import type { Delivery } from '../transport/contract.ts';
import type { QueueEntry } from './driver.ts';

test('joins a tick, ignores what is settled already, gives back in order', async () => {
  const batches: number[] = [];
  const transport = altered((driver) => ({
    settle: async (settlements: readonly never[]) => {
      batches.push(settlements.length);
      await driver.settle(settlements);
    },
  }));
  const connection = await connect(undefined, {}, transport);
  await connection.publish(['1', '2', '3', '4'].map((item) => publication(item, 'q')));
  const inbox = new Inbox();
  await connection.consume(['q'], inbox.sink, { prefetch: 4 });
  const [first, second, third, fourth] = (await inbox.reach(4)) as [Delivery, Delivery, Delivery, Delivery];
  await Promise.all([
    connection.settle([{ delivery: first, outcome: 'ack' }]),
    connection.settle([
      { delivery: first, outcome: 'requeue' },
      { delivery: fourth, outcome: 'reject' },
    ]),
    connection.settle([
      { delivery: second, outcome: 'requeue' },
      { delivery: third, outcome: 'requeue' },
    ]),
  ]);
  expect(batches).toEqual([4]);
  await inbox.reach(6);
  expect(inbox.texts.slice(4)).toEqual(['2', '3']);
  expect(inbox.all[4]).toMatchObject({ redelivered: true, deliveryCount: 2 });
  await connection.settle([{ delivery: first, outcome: 'ack' }]);
  expect(batches).toEqual([4]);
});

test('reject goes to the dead letter place, owned there before the original is acknowledged', async () => {
  const steps: string[] = [];
  const transport = altered((driver) => ({
    push: async (entries: readonly QueueEntry[]) => {
      steps.push('push');
      await driver.push(entries);
    },
    settle: async (settlements: readonly never[]) => {
      steps.push('settle');
      await driver.settle(settlements);
    },
  }));
  const connection = await connect(undefined, {}, transport);
  await connection.declare({
    queues: [{ name: 'q', deadLetter: { exchange: '', routingKey: 'q.dead' } }, { name: 'q.dead' }],
  });
  await connection.publish([publication('1', 'q')]);
  const [inbox, dead] = [new Inbox(), new Inbox()];
  await connection.consume(['q'], inbox.sink, { prefetch: 1 });
  await inbox.reach(1);
  await connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'reject' }]);
  expect(steps).toEqual(['push', 'push', 'settle']);
  await connection.consume(['q.dead'], dead.sink, { prefetch: 1 });
  await dead.reach(1);
  expect(dead.texts).toEqual(['1']);
  expect(dead.all[0]?.message.headers).toMatchObject({
    id: '1',
    'x-first-death-queue': 'q',
    'x-first-death-reason': 'rejected',
  });
  expect((await connection.inspect('q')).ready).toBe(0);
});

test('a dead letter place that takes nothing leaves the message ours', async () => {
  const connection = await connect();
  await connection.declare({
    exchanges: [{ name: 'dlx', type: 'direct' }],
    queues: [{ name: 'q', deadLetter: { exchange: 'dlx', routingKey: 'nobody' } }],
  });
  await connection.publish([publication('1', 'q')]);
  const inbox = new Inbox();
  await connection.consume(['q'], inbox.sink, { prefetch: 1 });
  await inbox.reach(1);
  const delivery = inbox.all[0] as Delivery;
  await expect(connection.settle([{ delivery, outcome: 'reject' }])).rejects.toMatchObject({ code: 'ERR_PUBLISH' });
  await connection.settle([{ delivery, outcome: 'requeue' }]);
  await inbox.reach(2);
});

test('a failed settlement leaves the message ours', async () => {
  let fails = true;
  const transport = altered((driver) => ({
    settle: async (settlements: readonly never[]) => {
      if (fails) throw new Error('not now');
      await driver.settle(settlements);
    },
  }));
  const connection = await connect(undefined, {}, transport);
  await connection.publish([publication('1', 'q'), publication('2', 'q')]);
  const inbox = new Inbox();
  await connection.consume(['q'], inbox.sink, { prefetch: 1 });
  await inbox.reach(1);
  const settlement = { delivery: inbox.all[0] as Delivery, outcome: 'ack' } as const;
  await expect(connection.settle([settlement])).rejects.toThrow('not now');
  fails = false;
  await connection.settle([settlement]);
  await inbox.reach(2);
});

test('a delivery of another connection is not settled', async () => {
  const url = freshUrl();
  const [first, second] = [await connect(url), await connect(url)];
  await first.publish([publication('1', 'q')]);
  const inbox = new Inbox();
  await first.consume(['q'], inbox.sink, { prefetch: 1 });
  await inbox.reach(1);
  const settlement = { delivery: inbox.all[0] as Delivery, outcome: 'ack' } as const;
  await expect(second.settle([settlement])).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
  await first.settle([settlement]);
});
