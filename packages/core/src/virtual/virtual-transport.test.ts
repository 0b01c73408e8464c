import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ConnectionLostError, isLovageError, type PublishError } from '../errors.ts';
import { silentLogger, type Logger } from '../internal/log.ts';
import { cutMemoryLinks } from '../memory/memory-broker.ts';
import { memoryTransport, openMemoryDriver } from '../memory/memory-transport.ts';
import type { Connection, ConnectOptions, Consumer, Delivery, Publication, Transport } from '../transport/contract.ts';
import { BrokerUrl } from '../transport/url.ts';
import type { PullRequest, QueueDriver, QueueEntry } from './driver.ts';
import { virtualTransport } from './virtual-transport.ts';

let serial = 0;
const open: Connection[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((connection) => connection.close()));
});

function freshUrl(): BrokerUrl {
  return new BrokerUrl(`memory://test-${process.pid}-${++serial}`);
}

async function connect(
  url = freshUrl(),
  options: ConnectOptions = {},
  transport: Transport = memoryTransport,
): Promise<Connection> {
  const connection = await transport.connect(url, options);
  open.push(connection);
  return connection;
}

/** The memory driver with some methods replaced. */
function altered(change: (driver: QueueDriver<never>) => Partial<QueueDriver<never>>): Transport {
  return virtualTransport<never>({
    schemes: ['memory'],
    open: async (url, options) => {
      const driver = (await openMemoryDriver(url, options)) as unknown as QueueDriver<never>;
      const methods = [
        'ensureQueue',
        'removeQueue',
        'push',
        'pull',
        'settle',
        'size',
        'purge',
        'close',
        'extendLease',
      ] as const;
      const bound = Object.fromEntries(
        methods.map((name) => [
          name,
          (...args: never[]) => (driver[name] as (...args: never[]) => unknown).apply(driver, args),
        ]),
      );
      const { capabilities, lost, bindings, broadcast } = driver;
      return { capabilities, lost, bindings, broadcast, ...bound, ...change(driver) } as unknown as QueueDriver<never>;
    },
  });
}

function publication(
  text: string,
  routingKey: string,
  more: Partial<Publication> & { priority?: number } = {},
): Publication {
  const { priority, ...rest } = more;
  return {
    exchange: '',
    routingKey,
    message: {
      body: Buffer.from(text),
      contentType: 'text/plain',
      contentEncoding: 'utf-8',
      headers: { id: text },
      properties: priority === undefined ? {} : { priority },
    },
    ...rest,
  };
}

function text({ message }: Delivery): string {
  return Buffer.from(message.body).toString();
}

/** What arrived, and a promise for when so much has. */
class Inbox {
  readonly all: Delivery[] = [];
  #waiting: { count: number; resolve: () => void }[] = [];

  readonly sink = (deliveries: readonly Delivery[]): void => {
    this.all.push(...deliveries);
    this.#waiting = this.#waiting.filter(({ count, resolve }) => this.all.length < count || resolve());
  };

  get texts(): string[] {
    return this.all.map(text);
  }

  async reach(count: number): Promise<readonly Delivery[]> {
    if (this.all.length < count) await new Promise<void>((resolve) => this.#waiting.push({ count, resolve }));
    return this.all;
  }
}

async function drained(connection: Connection): Promise<void> {
  // Long enough for every pull that is possible now: a round trip of the driver takes a few microtasks.
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  void connection;
}

function capture(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const add = (_: unknown, line: string): void => void lines.push(line);
  return { lines, logger: { ...silentLogger, warn: add, error: add } };
}

describe('publishing', () => {
  test('all publishes of a tick go to the driver at once', async () => {
    const pushes: number[] = [];
    const transport = altered((driver) => ({
      push: async (entries: readonly QueueEntry[]) => {
        pushes.push(entries.length);
        await driver.push(entries);
      },
    }));
    const connection = await connect(freshUrl(), {}, transport);
    await Promise.all([
      connection.publish([publication('1', 'q'), publication('2', 'q')]),
      connection.publish([publication('3', 'q')]),
      connection.publish([]),
    ]);
    await Promise.all(Array.from({ length: 2500 }, () => connection.publish([publication('x', 'r')])));
    expect(pushes).toEqual([3, 1000, 1000, 500]);
    expect(await connection.inspect('q')).toEqual({ ready: 3 });
  });

  test('names the messages that the broker does not own, and sends the others', async () => {
    const connection = await connect(undefined, { transportOptions: { max_message_bytes: 2000 } });
    await connection.declare({ exchanges: [{ name: 'ex', type: 'direct' }], queues: [{ name: 'q' }] });
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    const broken = publication('3', 'q');
    const error = (await connection
      .publish([
        publication('0', 'q'),
        publication('1', 'nowhere', { exchange: 'ex', mandatory: true }),
        publication('x'.repeat(2000), 'q'),
        { ...broken, message: { ...broken.message, headers: circular } },
        publication('4', 'q', { delayMs: 10 ** 15 }),
        publication('5', 'nowhere', { exchange: 'ex' }),
        publication('6', 'no-such-queue', { mandatory: true }),
        publication('7', 'q', { mandatory: true }),
        publication('8', 'key', { exchange: 'unheard-of' }),
      ])
      .catch((reason: unknown) => reason)) as PublishError;
    expect(error.failures.map(({ index, error: { code } }) => [index, code])).toEqual([
      [1, 'ERR_UNROUTABLE'],
      [2, 'ERR_TOO_LARGE'],
      [3, 'ERR_ENCODE'],
      [4, 'ERR_UNSUPPORTED'],
      [6, 'ERR_UNROUTABLE'],
      [8, 'ERR_NOT_FOUND'],
    ]);
    expect(error.failures[1]?.error.message).toContain('2000 bytes');
    expect((await connection.inspect('q')).ready).toBe(2);
  });

  test("maps a driver's partial failure to the calls of the tick", async () => {
    const { PublishError: PublishFailed, LovageError } = await import('../errors.ts');
    const transport = altered(() => ({
      push: async (entries: readonly QueueEntry[]) => {
        const refused = entries.flatMap((entry, index) => (entry.queue === 'full' ? [index] : []));
        if (refused.length > 0) {
          throw new PublishFailed(
            refused.map((index) => ({ index, error: new LovageError('ERR_BLOCKED', 'full') })),
            entries.length,
          );
        }
      },
    }));
    const connection = await connect(undefined, {}, transport);
    const results = await Promise.allSettled([
      connection.publish([publication('1', 'q')]),
      connection.publish([publication('2', 'q'), publication('3', 'full')]),
      connection.publish([publication('4', 'full')]),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
    const reasons = results.map((result) =>
      result.status === 'rejected' ? (result.reason as PublishError).failures[0] : undefined,
    );
    expect(reasons.map((failure) => failure?.index)).toEqual([undefined, 1, 0]);
    expect(reasons[1]?.error.code).toBe('ERR_BLOCKED');
  });

  test('abort ends the waiting, not the work', async () => {
    let let_go!: () => void;
    const gate = new Promise<void>((resolve) => {
      let_go = resolve;
    });
    const transport = altered((driver) => ({
      push: (entries: readonly QueueEntry[]) => gate.then(() => driver.push(entries)),
    }));
    const connection = await connect(undefined, {}, transport);
    const abort = new AbortController();
    const publishing = connection.publish([publication('1', 'q')], { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(publishing).rejects.toThrow('enough');
    await expect(connection.publish([publication('2', 'q')], { signal: abort.signal })).rejects.toThrow('enough');
    let_go();
    await connection.publish([]);
    await drained(connection);
    expect((await connection.inspect('q')).ready).toBe(1);
  });
});

describe('routing', () => {
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
    await drained(connection);
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
    await drained(sender);
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
});

describe('consuming', () => {
  test('never holds more than the prefetch; settling makes room; the window moves', async () => {
    const connection = await connect();
    await connection.publish(Array.from({ length: 30 }, (_, index) => publication(String(index), 'q')));
    const inbox = new Inbox();
    const consumer = await connection.consume(['q'], inbox.sink, { prefetch: 3 });
    await inbox.reach(3);
    await drained(connection);
    expect(inbox.texts).toEqual(['0', '1', '2']);
    await connection.settle([{ delivery: inbox.all[1] as Delivery, outcome: 'ack' }]);
    await inbox.reach(4);
    await drained(connection);
    expect(inbox.all).toHaveLength(4);
    await consumer.setPrefetch(10);
    await inbox.reach(11);
    await drained(connection);
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
    await drained(connection);
    expect(inbox.all).toHaveLength(8);
    await ack(2);
    await inbox.reach(11);
    await drained(connection);
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
    await drained(connection);
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
    const { LovageError } = await import('../errors.ts');
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
    await expect((await connect()).consume(['q'], () => {}, { prefetch })).rejects.toMatchObject({
      code: 'ERR_CONFIG',
    });
  });
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

describe('settling', () => {
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
    await drained(connection);
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
    await drained(connection);
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

describe('leases', () => {
  test('are renewed while a message is held, also after its consumer was cancelled', async () => {
    let renewed = 0;
    let thrice!: () => void;
    const enough = new Promise<void>((resolve) => {
      thrice = resolve;
    });
    const transport = altered((driver) => ({
      extendLease: async (receipts: readonly never[]) => {
        if (++renewed === 6) thrice();
        return driver.extendLease?.(receipts) ?? [];
      },
    }));
    const url = freshUrl();
    const options = { transportOptions: { leaseMs: 600 } };
    const [connection, other] = [await connect(url, options, transport), await connect(url, options)];
    await connection.publish([publication('1', 'q')]);
    const [inbox, thief] = [new Inbox(), new Inbox()];
    const consumer = await connection.consume(['q'], inbox.sink, { prefetch: 1 });
    await inbox.reach(1);
    await consumer.cancel();
    await other.consume(['q'], thief.sink, { prefetch: 1 });
    await enough;
    expect(thief.all).toEqual([]);
    await connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'ack' }]);
    await drained(connection);
    expect(renewed).toBeLessThan(8);
  });

  test('one that is lost is told, its slot freed, its settlement ignored', async () => {
    const transport = altered((driver) => ({
      extendLease: async (receipts: readonly never[]) => receipts,
      pull: driver.pull.bind(driver),
    }));
    const url = freshUrl();
    const connection = await connect(url, { transportOptions: { leaseMs: 30 } }, transport);
    const inbox = new Inbox();
    const lost = new Promise<readonly Delivery[]>((resolve) => {
      void connection.consume(['q'], inbox.sink, { prefetch: 1, onLeaseLost: resolve });
    });
    await connection.publish([publication('1', 'q'), publication('2', 'q')]);
    await inbox.reach(1);
    expect((await lost).map(text)).toEqual(['1']);
    await inbox.reach(2);
    await connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'ack' }]);
  });

  test('a renewal that fails for a whole lease counts as lost', async () => {
    const { LovageError } = await import('../errors.ts');
    const transport = altered(() => ({
      extendLease: async () => {
        throw new LovageError('ERR_TIMEOUT', 'no answer');
      },
    }));
    const connection = await connect(undefined, { transportOptions: { leaseMs: 30 } }, transport);
    await connection.publish([publication('1', 'q')]);
    const lost = new Promise<readonly Delivery[]>((resolve) => {
      void connection.consume(['q'], () => {}, { prefetch: 1, onLeaseLost: resolve });
    });
    expect((await lost).map(text)).toEqual(['1']);
  });
});

describe('loss and close', () => {
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
    await drained(connection);
    expect(cutMemoryLinks(url.raw, { clientName: 'victim' })).toBe(1);
    const lost = { code: 'ERR_CONNECTION_LOST' };
    await expect(connection.closed).rejects.toMatchObject(lost);
    await expect(consumer.done).rejects.toMatchObject(lost);
    await expect(stuck).rejects.toMatchObject(lost);
    await expect(connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'ack' }])).rejects.toMatchObject(
      lost,
    );
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
});

describe('the memory broker', () => {
  test('serves the highest priority first, each first in, first out', async () => {
    const connection = await connect();
    const priorities = [0, 9, 5, 0, 9, 5, 3];
    await connection.publish(
      priorities.map((priority, index) => publication(`${priority}:${index}`, 'q', { priority })),
    );
    const inbox = new Inbox();
    await connection.consume(['q'], inbox.sink, { prefetch: 0 });
    await inbox.reach(7);
    expect(inbox.texts).toEqual(['9:1', '9:4', '5:2', '5:5', '3:6', '0:0', '0:3']);
  });

  test('keeps delayed messages back, in the order of their time', async () => {
    const connection = await connect();
    const startedAt = Date.now();
    await connection.publish([
      publication('late', 'q', { delayMs: 60 }),
      publication('soon', 'q', { delayMs: 30 }),
      publication('now', 'q'),
    ]);
    expect((await connection.inspect('q')).ready).toBe(3);
    const inbox = new Inbox();
    await connection.consume(['q'], inbox.sink, { prefetch: 0 });
    await inbox.reach(3);
    expect(inbox.texts).toEqual(['now', 'soon', 'late']);
    expect(Date.now() - startedAt).toBeGreaterThanOrEqual(59);
  });

  test('a link that is cut loses its messages when the lease ends', async () => {
    const url = freshUrl();
    const options = { transportOptions: { leaseMs: 50 } };
    const victim = await connect(url, { ...options, clientName: 'victim' });
    const other = await connect(url, options);
    await victim.publish([publication('1', 'q')]);
    const [first, second] = [new Inbox(), new Inbox()];
    await victim.consume(['q'], first.sink, { prefetch: 1 });
    await first.reach(1);
    await other.consume(['q'], second.sink, { prefetch: 1 });
    cutMemoryLinks(url.raw, { clientName: 'victim' });
    await second.reach(1);
    expect(second.all[0]).toMatchObject({ redelivered: true, deliveryCount: 2 });
  });

  test('drops what waits on purge and removes queues', async () => {
    const connection = await connect();
    await connection.publish([publication('1', 'q'), publication('2', 'q')]);
    expect(await connection.purge('q')).toBe(2);
    expect(await connection.purge('unheard-of')).toBe(0);
    await connection.remove({
      queues: [{ name: 'q' }, { name: 'unheard-of' }],
      exchanges: [{ name: 'x', type: 'direct' }],
    });
    await expect(connection.inspect('q')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  test('refuses options that it does not have', async () => {
    await expect(connect(undefined, { transportOptions: { lease_msec: 1 } })).rejects.toThrow(
      'Did you mean "leaseMs"?',
    );
    await expect(connect(undefined, { transportOptions: { leaseMs: 'x' } })).rejects.toMatchObject({
      code: 'ERR_CONFIG',
    });
    await connect(undefined, { transportOptions: { visibility_timeout: 5, max_retries: 3 } });
  });
});
