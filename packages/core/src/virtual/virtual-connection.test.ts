import { expect, test, vi } from 'vitest';
import { altered, capture, connect, drained, freshUrl, Inbox, publication } from '../../test/support/virtual-bench.ts';
import { ConnectionLostError } from '../errors.ts';
import { cutMemoryLinks } from '../memory/memory-broker.ts';
import type { Delivery } from '../transport/contract.ts';
import type { QueueEntry } from './driver.ts';

test('a lost link is told once everywhere, and what was held comes back', async () => {
  const url = freshUrl();
  const transport = altered((driver) => ({
    push: (entries: readonly QueueEntry[]) =>
      entries[0]?.queue === 'stuck' ? new Promise<void>(() => {}) : driver.push(entries),
  }));
  const connection = await connect(url, { clientName: 'victim' }, transport);
  await connection.publish([publication('1', 'q')]);
  const inbox = new Inbox();
  const consumer = await connection.consume(['q'], inbox.sink, { prefetch: 1 });
  await inbox.reach(1);
  const stuck = connection.publish([publication('2', 'stuck')]);
  await drained();
  expect(cutMemoryLinks(url.raw, { clientName: 'victim' })).toBe(1);
  const lost = { code: 'ERR_CONNECTION_LOST' };
  await expect(connection.closed).rejects.toMatchObject(lost);
  await expect(consumer.done).rejects.toMatchObject(lost);
  await expect(stuck).rejects.toMatchObject(lost);
  await expect(connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'ack' }])).rejects.toMatchObject(lost);
  await expect(connection.publish([publication('3', 'q')])).rejects.toMatchObject(lost);
  await expect(connection.declare({})).rejects.toMatchObject(lost);
  await consumer.cancel();
  await connection.close();
  const next = await connect(url);
  const again = new Inbox();
  await next.consume(['q'], again.sink, { prefetch: 1 });
  await again.reach(1);
  expect(again.all[0]).toMatchObject({ redelivered: true, deliveryCount: 2 });
});

test('a driver that tells of the loss by its calls only is believed', async () => {
  const transport = altered(() => ({
    lost: undefined as never,
    size: async () => {
      throw new ConnectionLostError('gone');
    },
  }));
  const connection = await connect(undefined, {}, transport);
  await expect(connection.inspect('q')).rejects.toThrow('gone');
  await expect(connection.closed).rejects.toThrow('gone');
});

test('close gives back what is unsettled, sends what waits, and ends everything', async () => {
  const url = freshUrl();
  const connection = await connect(url);
  const watcher = await connect(url);
  await connection.declare({ queues: [{ name: 'mine', exclusive: true }, { name: 'q' }] });
  await connection.publish(['1', '2', '3'].map((item) => publication(item, 'q')));
  const inbox = new Inbox();
  const consumer = await connection.consume(['q'], inbox.sink, { prefetch: 2 });
  await inbox.reach(2);
  const publishing = connection.publish([publication('4', 'q')]);
  const settling = connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'ack' }]);
  await Promise.all([connection.close(), connection.close()]);
  await Promise.all([publishing, settling, consumer.done, connection.closed]);
  expect((await watcher.inspect('q')).ready).toBe(3);
  await expect(watcher.inspect('mine')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  const closed = { code: 'ERR_CLOSED' };
  await expect(connection.publish([publication('5', 'q')])).rejects.toMatchObject(closed);
  await expect(connection.settle([{ delivery: inbox.all[1] as Delivery, outcome: 'ack' }])).rejects.toMatchObject(
    closed,
  );
  await expect(connection.consume(['q'], () => {}, { prefetch: 1 })).rejects.toMatchObject(closed);
});

test('close ends within its time when the broker answers nothing', async () => {
  const never = (): Promise<never> => new Promise(() => {});
  let isHanging = false;
  const transport = altered((driver) => ({
    settle: (settlements: readonly never[]) => (isHanging ? never() : driver.settle(settlements)),
    close: async () => {
      void driver.close();
      await never();
    },
  }));
  const { logger, lines } = capture();
  const connection = await connect(undefined, { logger }, transport);
  await connection.publish([publication('1', 'q')]);
  const inbox = new Inbox();
  await connection.consume(['q'], inbox.sink, { prefetch: 1 });
  await inbox.reach(1);
  isHanging = true;
  const settling = connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'ack' }]);
  settling.catch(() => {});
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  try {
    const closing = connection.close();
    await vi.advanceTimersByTimeAsync(5600);
    await closing;
  } finally {
    vi.useRealTimers();
  }
  await expect(settling).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  expect(lines).toContain('the broker did not answer while the connection was closed');
});

test('what is settled while the connection closes does not go back', async () => {
  let release!: () => void;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const settled: unknown[] = [];
  const transport = altered((driver) => ({
    push: async (entries: readonly QueueEntry[]) => {
      if (entries[0]?.queue === 'next') await gate;
      await driver.push(entries);
    },
    settle: async (settlements: readonly { readonly outcome: string }[]) => {
      settled.push(...settlements.map(({ outcome }) => outcome));
      await driver.settle(settlements as readonly never[]);
    },
  }));
  const url = freshUrl();
  const [connection, watcher] = [await connect(url, {}, transport), await connect(url)];
  await connection.publish([publication('1', 'q')]);
  const inbox = new Inbox();
  await connection.consume(['q'], inbox.sink, { prefetch: 1 });
  const [delivery] = (await inbox.reach(1)) as [Delivery];
  const following = connection
    .publish([publication('2', 'next')])
    .then(() => connection.settle([{ delivery, outcome: 'ack' }]));
  await drained();
  const closing = connection.close();
  await drained();
  release();
  await Promise.all([following, closing]);
  expect(settled).toEqual(['ack']);
  expect((await watcher.inspect('q')).ready).toBe(0);
});
