import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, expect, test } from 'vitest';
import {
  altered,
  capture,
  connect,
  drained,
  freshUrl,
  Inbox,
  publication,
  text,
} from '../../test/support/virtual-bench.ts';
import { isLovageError, LovageError } from '../errors.ts';
import { openMemoryDriver } from '../memory/memory-transport.ts';
import type { Connection, Consumer, Delivery } from '../transport/contract.ts';
import type { PullRequest } from './driver.ts';

test('never holds more than the prefetch; settling makes room; the window moves', async () => {
  const connection = await connect();
  await connection.publish(Array.from({ length: 30 }, (_, index) => publication(String(index), 'q')));
  const inbox = new Inbox();
  const consumer = await connection.consume(['q'], inbox.sink, { prefetch: 3 });
  await inbox.reach(3);
  await drained();
  expect(inbox.texts).toEqual(['0', '1', '2']);
  await connection.settle([{ delivery: inbox.all[1] as Delivery, outcome: 'ack' }]);
  await inbox.reach(4);
  await drained();
  expect(inbox.all).toHaveLength(4);
  await consumer.setPrefetch(10);
  await inbox.reach(11);
  await drained();
  expect(inbox.all).toHaveLength(11);
  await consumer.setPrefetch(0);
  await inbox.reach(30);
  expect(await connection.inspect('q')).toEqual({ ready: 0 });
});

test('fetches when as many slots are free as the consumer asks for, and then fills them all', async () => {
  const connection = await connect();
  await connection.publish(Array.from({ length: 30 }, (_, index) => publication(String(index), 'q')));
  const inbox = new Inbox();
  const consumer = await connection.consume(['q'], inbox.sink, { prefetch: 8, refill: 3 });
  await inbox.reach(8);
  const ack = (index: number) => connection.settle([{ delivery: inbox.all[index] as Delivery, outcome: 'ack' }]);
  await ack(0);
  await ack(1);
  await drained();
  expect(inbox.all).toHaveLength(8);
  await ack(2);
  await inbox.reach(11);
  await drained();
  expect(inbox.all).toHaveLength(11);
  await consumer.setPrefetch(2, 100);
  for (let index = 3; index < 11; index++) await ack(index);
  await inbox.reach(13);
  await consumer.setPrefetch(3);
  await inbox.reach(14);
});

test('two consumers of one connection: a full one does not keep the other from its queue', async () => {
  const connection = await connect();
  const [full, idle] = [new Inbox(), new Inbox()];
  await connection.publish([publication('1', 'a'), publication('2', 'a')]);
  await connection.consume(['a'], full.sink, { prefetch: 1 });
  await full.reach(1);
  await connection.consume(['b'], idle.sink, { prefetch: 1 });
  await connection.publish([publication('3', 'b')]);
  await idle.reach(1);
  await connection.settle([{ delivery: full.all[0] as Delivery, outcome: 'ack' }]);
  await full.reach(2);
  expect(full.texts).toEqual(['1', '2']);
  expect(idle.texts).toEqual(['3']);
});

test('competing consumers share a queue, nothing twice, nothing lost', async () => {
  const url = freshUrl();
  const connections = await Promise.all([connect(url), connect(url)]);
  const seen: string[] = [];
  let done!: () => void;
  const all = new Promise<void>((resolve) => {
    done = resolve;
  });
  const count = 3000;
  for (const connection of [...connections, connections[0] as Connection]) {
    await connection.consume(
      ['q'],
      (deliveries) => {
        seen.push(...deliveries.map(text));
        void connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' })));
        if (seen.length === count) done();
      },
      { prefetch: 7 },
    );
  }
  await (connections[1] as Connection).publish(
    Array.from({ length: count }, (_, index) => publication(String(index), 'q')),
  );
  await all;
  expect(new Set(seen).size).toBe(count);
});

test('a sink that throws does not end the loop, a malformed payload neither', async () => {
  const url = freshUrl();
  const { logger, lines } = capture();
  const connection = await connect(url, { logger });
  const inbox = new Inbox();
  let isFirst = true;
  await connection.consume(
    ['q'],
    (deliveries) => {
      if (isFirst) {
        isFirst = false;
        throw new Error('sink');
      }
      inbox.sink(deliveries);
    },
    { prefetch: 0 },
  );
  await connection.publish([publication('1', 'q')]);
  await drained();
  const driver = await openMemoryDriver(url);
  await driver.push([{ queue: 'q', payload: 'no envelope', deliveryTag: '', priority: 0, delayMs: 0 }]);
  await inbox.reach(1);
  expect(lines).toEqual(['the sink of a consumer threw; its deliveries stay unsettled']);
  expect(isLovageError(inbox.all[0]?.malformed, 'ERR_DECODE')).toBe(true);
  expect(inbox.texts).toEqual(['no envelope']);
  expect(inbox.all[0]).toMatchObject({ queue: 'q', routingKey: 'q', exchange: '' });
  await driver.close();
});

test('a pull that fails for a while is tried again; one that cannot work ends `done`', async () => {
  let error: Error | undefined = new LovageError('ERR_TIMEOUT', 'slow');
  const transport = altered((driver) => ({
    pull: async (request: PullRequest) => {
      if (error === undefined) return driver.pull(request);
      const failure = error;
      error = undefined;
      throw failure;
    },
  }));
  const connection = await connect(undefined, {}, transport);
  const inbox = new Inbox();
  const consumer = await connection.consume(['q'], inbox.sink, { prefetch: 1 });
  await connection.publish([publication('1', 'q'), publication('2', 'q')]);
  await inbox.reach(1);
  error = new LovageError('ERR_PRECONDITION_FAILED', 'no such type');
  await connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'ack' }]);
  await expect(consumer.done).rejects.toThrow('no such type');
  await consumer.cancel();
});

test.each([-1, 1.5, Number.NaN])('a prefetch of %d is refused', async (prefetch) => {
  const connection = await connect();
  const refused = { code: 'ERR_CONFIG' };
  await expect(connection.consume(['q'], () => {}, { prefetch })).rejects.toMatchObject(refused);
  const consumer = await connection.consume(['q'], () => {}, { prefetch: 1 });
  await expect(consumer.setPrefetch(prefetch)).rejects.toMatchObject(refused);
});

test('a sink is not called in the context of a task that made room or published', async () => {
  const task = new AsyncLocalStorage<string>();
  const connection = await task.run('opener', () => connect());
  const seen: (string | undefined)[] = [];
  const inbox = new Inbox();
  await task.run('consumer', () =>
    connection.consume(
      ['q'],
      (deliveries) => {
        seen.push(task.getStore());
        inbox.sink(deliveries);
      },
      { prefetch: 1 },
    ),
  );
  await task.run('publisher', () => connection.publish([publication('1', 'q'), publication('2', 'q')]));
  await inbox.reach(1);
  await task.run('settler', () => connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'ack' }]));
  await inbox.reach(2);
  expect(seen).toEqual([undefined, undefined]);
});

describe('cancel', () => {
  test('loses nothing: what the pull under way brings goes back', async () => {
    let release!: () => void;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const transport = altered((driver) => ({
      pull: async (request: PullRequest) => {
        const pulled = await driver.pull({ ...request, waitMs: 0 });
        await gate;
        return pulled;
      },
    }));
    const url = freshUrl();
    const connection = await connect(url, {}, transport);
    await connection.publish([publication('1', 'q')]);
    const inbox = new Inbox();
    const consumer = await connection.consume(['q'], inbox.sink, { prefetch: 1 });
    await drained();
    const cancelling = consumer.cancel();
    release();
    await cancelling;
    await consumer.done;
    expect(inbox.all).toEqual([]);
    expect((await connection.inspect('q')).ready).toBe(1);
  });

  test('what is unsettled stays the caller’s; a second cancel is fine', async () => {
    const connection = await connect();
    await connection.publish([publication('1', 'q'), publication('2', 'q')]);
    const inbox = new Inbox();
    const consumer = await connection.consume(['q'], inbox.sink, { prefetch: 1 });
    await inbox.reach(1);
    await Promise.all([consumer.cancel(), consumer.cancel()]);
    await connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'requeue' }]);
    expect((await connection.inspect('q')).ready).toBe(2);
    await drained();
    expect(inbox.all).toHaveLength(1);
  });

  test('an auto-delete queue goes with its last consumer', async () => {
    const connection = await connect();
    await connection.declare({
      exchanges: [{ name: 'd', type: 'direct' }],
      queues: [{ name: 'tmp', autoDelete: true }],
      bindings: [{ queue: 'tmp', exchange: 'd', routingKey: 'k' }],
    });
    const consumers = (await Promise.all([1, 2].map(() => connection.consume(['tmp'], () => {}, { prefetch: 1 })))) as [
      Consumer,
      Consumer,
    ];
    await consumers[0].cancel();
    expect(await connection.inspect('tmp')).toEqual({ ready: 0 });
    await consumers[1].cancel();
    await expect(connection.inspect('tmp')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    await expect(connection.publish([publication('1', 'k', { exchange: 'd', mandatory: true })])).rejects.toMatchObject(
      {
        code: 'ERR_PUBLISH',
      },
    );
  });
});
