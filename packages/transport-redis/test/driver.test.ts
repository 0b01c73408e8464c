import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type ServerProcess } from '@lovage/conformance';
import {
  BrokerUrl,
  type Connection,
  type ConnectOptions,
  type Delivery,
  type Logger,
  silentLogger,
} from '@lovage/core/transport';
import { openRedis, readEndpoint, type RedisLink } from '@lovage/redis';
import { redisTransport } from '@lovage/transport-redis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { hasRedisServer, startRedis } from '../../redis/test/servers.ts';

/** What Kombu 5.6.2 pushes for a Celery task, byte for byte. */
const GOLDEN = readFileSync(new URL('golden/kombu-5.6-envelope.json', import.meta.url), 'utf8').trimEnd();

/** Priority steps: lists of a queue. */
const STEPS = 4;

const message = {
  body: Buffer.from('{"a": 1}'),
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  headers: { id: 'é' },
  properties: { correlationId: 'c' },
};

describe.skipIf(!hasRedisServer)('the Redis transport', () => {
  let server: ServerProcess;
  let raw: RedisLink;
  const open: Connection[] = [];

  beforeAll(async () => {
    server = await startRedis();
    raw = await openRedis(readEndpoint(new BrokerUrl(`redis://127.0.0.1:${server.port}`)));
  });
  afterAll(async () => {
    raw?.close();
    await server?.stop();
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((connection) => connection.close()));
    await raw.text('flushall', []);
  });

  async function connect(options: ConnectOptions = {}, user = ''): Promise<Connection> {
    const connection = await redisTransport.connect(
      new BrokerUrl(`redis://${user}127.0.0.1:${server.port}/0`),
      options,
    );
    open.push(connection);
    return connection;
  }

  /** A consumer whose deliveries can be waited for. */
  async function consume(connection: Connection, queues: readonly string[], prefetch = 100) {
    const deliveries: Delivery[] = [];
    const consumer = await connection.consume(queues, (batch) => deliveries.push(...batch), { prefetch });
    const take = async (count: number): Promise<Delivery[]> => {
      await expect.poll(() => deliveries.length, { interval: 2 }).toBeGreaterThanOrEqual(count);
      return deliveries.splice(0);
    };
    return { consumer, deliveries, take };
  }

  /** The server's numbers of both links of a connection, when it has them. */
  async function linksOf(clientName: string): Promise<readonly string[]> {
    const find = async () =>
      [
        ...String(await raw.text('client', ['list'])).matchAll(new RegExp(`^id=(\\d+) .*name=${clientName} `, 'gm')),
      ].map(([, id]) => id as string);
    await expect.poll(find).toHaveLength(2);
    return find();
  }

  const settle = (connection: Connection, deliveries: readonly Delivery[], outcome: 'ack' | 'requeue') =>
    connection.settle(deliveries.map((delivery) => ({ delivery, outcome })));
  const texts = (deliveries: readonly Delivery[]) =>
    deliveries.map(({ message: { body } }) => Buffer.from(body).toString());
  const list = async (key: string) => (await raw.text('lrange', [key, 0, -1])) as readonly string[];
  const push = (queue: string, ...bodies: string[]) =>
    bodies.map((body) => ({ exchange: '', routingKey: queue, message: { ...message, body: Buffer.from(body) } }));

  test('what a connection publishes for itself is fetched in one look each, and an empty queue is not looked at again', async () => {
    const connection = await connect();
    const { take } = await consume(connection, ['q']);
    await connection.publish(push('q', 'first'));
    await settle(connection, await take(1), 'ack');
    const looks = async () => {
      const calls = /^cmdstat_rpop:calls=(\d+)/m.exec(String(await raw.text('info', ['commandstats'])))?.[1];
      return Number(calls ?? 0) / STEPS;
    };
    await raw.text('config', ['resetstat']);
    const began = performance.now();
    for (let n = 0; n < 50; n++) {
      await connection.publish(push('q', `${n}`));
      const taken = await take(1);
      expect(texts(taken)).toEqual([`${n}`]);
      await settle(connection, taken, 'ack');
    }
    // Every two seconds it looks all the same, in case that a hint was lost.
    expect(await looks()).toBeLessThanOrEqual(51 + (performance.now() - began) / 2000);
  });

  test('a long message comes back to its sender without its text, unless somebody has changed it', async () => {
    const connection = await connect();
    const { take } = await consume(connection, ['q'], 1);
    const bodies = ['first', 'second'].map((name) => name.padEnd(200_000, '.'));
    const sentByServer = async () =>
      Number(/total_net_output_bytes:(\d+)/.exec(String(await raw.text('info', ['stats'])))?.[1]);
    const before = await sentByServer();
    await connection.publish(push('q', bodies[0] as string));
    const [held] = await take(1);
    expect(texts([held as Delivery])).toEqual([bodies[0]]);
    expect((await sentByServer()) - before).toBeLessThan(50_000);

    // Nothing is fetched while it is held.
    await connection.publish(push('q', bodies[1] as string));
    const text = String(await raw.text('rpop', ['q']));
    await raw.text('rpush', ['q', text.replace('"headers":{', '"headers":{"redelivered":true,')]);
    await settle(connection, [held as Delivery], 'ack');
    const changed = await take(1);
    expect(texts(changed)).toEqual([bodies[1]]);
    expect(changed[0]).toMatchObject({ redelivered: true, message: { headers: { redelivered: true, id: 'é' } } });
    await settle(connection, changed, 'ack');

    // What others have taken is named no more, and what they send comes whole.
    const other = await connect();
    await other.publish(push('q', 'third'.padEnd(200_000, '.')));
    expect(texts(await take(1))).toEqual(['third'.padEnd(200_000, '.')]);
  });

  describe('layout', () => {
    test('a message is one envelope in the list of its priority step', async () => {
      const connection = await connect();
      await connection.publish([
        {
          exchange: '',
          routingKey: 'q',
          message: { ...message, properties: { correlationId: 'c', replyTo: 'r', priority: 7 } },
        },
      ]);
      expect(await raw.text('keys', ['*'])).toEqual(['q\x06\x166']);
      const [text] = await list('q\x06\x166');
      const envelope = JSON.parse(text as string) as { properties: { delivery_tag: unknown } };
      expect(envelope).toEqual({
        body: Buffer.from('{"a": 1}').toString('base64'),
        'content-encoding': 'utf-8',
        'content-type': 'application/json',
        headers: { id: 'é' },
        properties: {
          correlation_id: 'c',
          reply_to: 'r',
          delivery_mode: 2,
          delivery_info: { exchange: '', routing_key: 'q' },
          priority: 7,
          body_encoding: 'base64',
          delivery_tag: envelope.properties.delivery_tag,
        },
      });
      expect(envelope.properties.delivery_tag).toMatch(/^[\da-f-]{36}$/);
    });

    test('what is taken is recorded as [envelope, "", queue] with the server\'s time, and an ack removes both', async () => {
      const connection = await connect();
      await raw.text('lpush', ['q', GOLDEN]);
      const { take } = await consume(connection, ['q']);
      const deliveries = await take(1);
      const [tag] = (await raw.text('hkeys', ['unacked'])) as readonly string[];
      const [record] = (await raw.text('hvals', ['unacked'])) as readonly string[];
      expect(record).toBe(`[${GOLDEN}, "", "q"]`);
      const [seconds] = (await raw.text('time', [])) as readonly string[];
      const score = Number(await raw.text('zscore', ['unacked_index', tag as string]));
      expect(Math.abs(score - Number(seconds))).toBeLessThan(5);
      expect(await list('q')).toEqual([]);
      await settle(connection, deliveries, 'ack');
      expect(await raw.text('exists', ['unacked', 'unacked_index', 'q'])).toBe(0);
    });

    test('a requeued message keeps its bytes but for the flags and the tag, its priority and its place', async () => {
      const connection = await connect();
      await raw.text('lpush', ['q\x06\x163', GOLDEN.replace('"priority": 0', '"priority": 3')]);
      await raw.text('lpush', ['q\x06\x163', GOLDEN.replaceAll('b0c9', 'b0ca')]);
      const { consumer, take } = await consume(connection, ['q']);
      const deliveries = await take(2);
      await consumer.cancel();
      await settle(connection, deliveries, 'requeue');
      const [second, first] = await list('q\x06\x163');
      const original = (text: string | undefined, tag: string) =>
        text
          ?.replace('"redelivered":true,', '')
          .replace('"redelivered":true,', '')
          .replace(/"lv-1-[\w-]{16}:\d+"/, `"${tag}"`);
      const tag = JSON.parse(GOLDEN).properties.delivery_tag as string;
      expect(original(first, tag)).toBe(GOLDEN.replace('"priority": 0', '"priority": 3'));
      expect(original(second, tag.replaceAll('b0c9', 'b0ca'))).toBe(GOLDEN.replaceAll('b0c9', 'b0ca'));
      const parsed = JSON.parse(first as string);
      expect(parsed.headers.redelivered).toBe(true);
      expect(parsed.properties.delivery_info.redelivered).toBe(true);
      expect(await raw.text('exists', ['unacked', 'unacked_index'])).toBe(0);
    });

    test("deliveries are counted across requeues, connections and Kombu's own way of writing", async () => {
      const first = await connect();
      await raw.text('lpush', ['q', GOLDEN]);
      const one = await consume(first, ['q'], 1);
      for (let count = 1; count <= 3; count++) {
        const [delivery] = await one.take(1);
        expect(delivery).toMatchObject({ deliveryCount: count, redelivered: count > 1 });
        if (count === 3) await one.consumer.cancel();
        await settle(first, [delivery as Delivery], 'requeue');
      }
      // As Python writes it again after a restore of its own.
      const [text] = await list('q');
      await raw.text('del', ['q']);
      await raw.text('lpush', [
        'q',
        JSON.stringify(JSON.parse(text as string))
          .replaceAll('":', '": ')
          .replaceAll(',"', ', "'),
      ]);
      const two = await consume(await connect(), ['q']);
      expect((await two.take(1))[0]?.deliveryCount).toBe(4);
    });

    test("bindings and channels are Kombu's", async () => {
      const connection = await connect();
      await connection.declare({
        exchanges: [
          { name: 'direct', type: 'direct' },
          { name: 'topic', type: 'topic' },
          { name: 'fan', type: 'fanout' },
        ],
        queues: [{ name: 'q' }, { name: 'f' }],
        bindings: [
          { exchange: 'direct', queue: 'q', routingKey: 'k' },
          { exchange: 'topic', queue: 'q', routingKey: 'a.*.#' },
          { exchange: 'fan', queue: 'f', routingKey: '' },
        ],
      });
      expect(await raw.text('smembers', ['_kombu.binding.direct'])).toEqual(['k\x06\x16\x06\x16q']);
      expect(await raw.text('smembers', ['_kombu.binding.topic'])).toEqual([
        'a.*.#\x06\x16^a\\..*?[^\\.]\\..*?$\x06\x16q',
      ]);
      const { take } = await consume(connection, ['f']);
      expect(await raw.text('publish', ['/0.fan', GOLDEN])).toBe(1);
      expect(await take(1)).toHaveLength(1);
      const listener = await openRedis(readEndpoint(new BrokerUrl(`redis://127.0.0.1:${server.port}`)));
      const channels: string[] = [];
      listener.onMessage((channel) => channels.push(channel.toString()));
      await listener.text('psubscribe', ['*']);
      await connection.publish([
        { exchange: 'fan', routingKey: '', message },
        { exchange: 'fan', routingKey: 'worker.online', message },
      ]);
      expect(await take(2)).toHaveLength(2);
      await expect.poll(() => channels).toEqual(['/0.fan', '/0.fan/worker.online']);
      listener.close();
    });

    test('with global_keyprefix every key has it', async () => {
      const connection = await connect({ transportOptions: { global_keyprefix: 'shop:' } });
      await connection.declare({
        exchanges: [{ name: 'e', type: 'direct' }],
        queues: [{ name: 'q' }],
        bindings: [{ exchange: 'e', queue: 'q', routingKey: 'k' }],
      });
      await connection.publish([
        ...push('q', 'one', 'two'),
        { exchange: 'e', routingKey: 'k', message: { ...message, properties: { priority: 9 } }, delayMs: 60_000 },
      ]);
      const { take } = await consume(connection, ['q'], 1);
      await take(1);
      const keys = (await raw.text('keys', ['*'])) as string[];
      expect(keys.filter((key) => !key.startsWith('shop:'))).toEqual([]);
      expect(keys).toHaveLength(7);
    });
  });

  describe('waiting', () => {
    test('a push of anybody wakes an idle consumer at once, of any of its queues and priorities', async () => {
      const connection = await connect();
      const queues = ['one', 'two'];
      const { take } = await consume(connection, queues);
      const started = performance.now();
      for (let turn = 0; turn < 20; turn++) {
        await raw.text('lpush', [`${queues[turn % 2]}${turn % 3 === 0 ? '' : '\x06\x166'}`, GOLDEN]);
        await settle(connection, await take(1), 'ack');
      }
      // By polling alone it would be twenty times up to two seconds.
      expect(performance.now() - started).toBeLessThan(15_000);
    });

    test('it consumes nothing: what comes to a connection that died stays in the queue', async () => {
      const connection = await connect({ clientName: 'doomed' });
      const { consumer } = await consume(connection, ['q']);
      consumer.done.catch(() => undefined);
      const ids = await linksOf('doomed');
      for (const id of ids) await raw.text('client', ['kill', 'id', id]);
      await raw.text('lpush', ['q', GOLDEN]);
      await expect(connection.closed).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
      expect(await list('q')).toEqual([GOLDEN]);
    });

    test('losing either of its two links ends a connection', async () => {
      for (const index of [0, 1]) {
        const clientName = `half-${index}`;
        const connection = await connect({ clientName });
        await consume(connection, ['q']);
        const ids = await linksOf(clientName);
        await raw.text('client', ['kill', 'id', ids[index] as string]);
        await expect(connection.closed).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
      }
    });

    test('where hints are forbidden it polls, and says so', async () => {
      await raw.text('acl', ['setuser', 'plain', 'on', '>pw', '~*', '&*', '+@all', '-client|tracking']);
      const warnings: string[] = [];
      const logger: Logger = { ...silentLogger, warn: (_, text) => warnings.push(text) };
      const connection = await connect({ logger }, 'plain:pw@');
      const { take } = await consume(connection, ['q']);
      await raw.text('lpush', ['q', GOLDEN]);
      expect(await take(1)).toHaveLength(1);
      expect(warnings.join()).toMatch(/polled/);
    });
  });

  describe('leases', () => {
    test("a live consumer renews what it holds, for Python's eyes too", async () => {
      const connection = await connect({ leaseMs: 300 });
      await connection.publish(push('q', 'm'));
      const { take } = await consume(connection, ['q']);
      await take(1);
      const [tag] = (await raw.text('zrange', ['unacked_index', 0, -1])) as readonly string[];
      const score = async () => Number(await raw.text('zscore', ['unacked_index', tag as string]));
      const first = await score();
      await expect.poll(score, { interval: 20 }).toBeGreaterThan(first + 0.5);
    });

    test('what a dead consumer held comes back in its order, and only that', async () => {
      const dead = await connect({ leaseMs: 500, clientName: 'dead' });
      const alive = await connect({ leaseMs: 500 });
      await dead.publish(push('q', '1', '2', '3'));
      const held = await consume(dead, ['q']);
      await held.take(3);
      held.consumer.done.catch(() => undefined);
      await alive.publish(push('other', 'kept'));
      const other = await consume(alive, ['other']);
      await other.take(1);
      for (const id of await linksOf('dead')) await raw.text('client', ['kill', 'id', id]);
      await expect.poll(() => raw.text('llen', ['q']), { interval: 20 }).toBe(3);
      const heir = await consume(await connect(), ['q']);
      expect(texts(await heir.take(3))).toEqual(['1', '2', '3']);
      expect(other.deliveries).toHaveLength(0);
      await expect.poll(() => raw.text('zcard', ['lovage.leases']), { interval: 20 }).toBe(2);
    });
  });

  describe('what Python workers held too long', () => {
    const old = async (record: string, tag: string = randomUUID()): Promise<string> => {
      await raw.text('hset', ['unacked', tag, record]);
      await raw.text('zadd', ['unacked_index', 1_000_000, tag]);
      return tag;
    };
    const options = { transportOptions: { visibility_timeout: 60, unacked_restore_interval: 0.1 } };

    test('goes back to its queue, with its priority', async () => {
      await old(`[${GOLDEN.replace('"priority": 0', '"priority": 6')}, "", "q"]`);
      await consume(await connect(options), ['idle']);
      await expect.poll(() => raw.text('llen', ['q\x06\x166'])).toBe(1);
      expect(await raw.text('exists', ['unacked', 'unacked_index', 'unacked_mutex'])).toBe(0);
    });

    test('goes through the bindings of its exchange, and stays where there are none', async () => {
      await raw.text('sadd', ['_kombu.binding.e', 'k\x06\x16\x06\x16one', 'other\x06\x16\x06\x16two']);
      await raw.text('sadd', ['_kombu.binding.t', 'a.#\x06\x16^a\\..*?$\x06\x16three']);
      await old(`[${GOLDEN}, "e", "k"]`);
      await old(`[${GOLDEN}, "t", "a.b"]`);
      const lost = await old(`[${GOLDEN}, "gone", "k"]`);
      await consume(await connect(options), ['idle']);
      await expect
        .poll(async () => [(await list('one')).length, (await list('two')).length, (await list('three')).length], {
          timeout: 5000,
        })
        .toEqual([1, 0, 1]);
      expect(await raw.text('hkeys', ['unacked'])).toEqual([lost]);
    });

    test('is left alone while somebody else sweeps', async () => {
      await raw.text('set', ['unacked_mutex', 'somebody']);
      await old(`[${GOLDEN}, "", "q"]`);
      await consume(await connect(options), ['idle']);
      const sweeps = async () =>
        Number(/cmdstat_set:calls=(\d+)/.exec(String(await raw.text('info', ['commandstats'])))?.[1] ?? 0);
      const before = await sweeps();
      await expect.poll(sweeps).toBeGreaterThan(before);
      expect(await raw.text('get', ['unacked_mutex'])).toBe('somebody');
      expect(await raw.text('hlen', ['unacked'])).toBe(1);
      await raw.text('del', ['unacked_mutex']);
      await expect.poll(() => raw.text('llen', ['q'])).toBe(1);
    });
  });

  describe('delays', () => {
    test('a delayed message lies apart, comes in time by its priority, and goes with a purge', async () => {
      const connection = await connect();
      await connection.publish([
        { exchange: '', routingKey: 'q', message: { ...message, properties: { priority: 9 } }, delayMs: 300 },
        { exchange: '', routingKey: 'late', message, delayMs: 60_000 },
      ]);
      expect(await list('q\x06\x169')).toEqual([]);
      expect(await raw.text('zcard', ['lovage.delayed.q'])).toBe(1);
      expect(await connection.inspect('late')).toEqual({ ready: 1 });
      expect(await connection.purge('late')).toBe(1);
      const { take } = await consume(connection, ['q']);
      expect((await take(1))[0]?.message.properties.priority).toBe(9);
    });
  });

  describe('a server in trouble', () => {
    test('at its memory limit publishing is refused, consuming and acking go on', async () => {
      const connection = await connect();
      await connection.publish(push('q', ...Array.from({ length: 50 }, (_, index) => `m${index}`)));
      const used = Number(/used_memory:(\d+)/.exec(String(await raw.text('info', ['memory'])))?.[1]);
      await raw.text('config', ['set', 'maxmemory', Math.floor(used / 2)]);
      try {
        await expect(connection.publish(push('q', 'more'))).rejects.toMatchObject({
          code: 'ERR_PUBLISH',
          failures: [{ index: 0, error: { code: 'ERR_BLOCKED' } }],
        });
        const { take, consumer } = await consume(connection, ['q'], 20);
        for (let left = 50; left > 0; ) {
          const deliveries = await take(1);
          await settle(connection, deliveries.slice(0, 1), 'requeue');
          await settle(connection, deliveries.slice(1), 'ack');
          left -= deliveries.length - 1;
          if (left <= 1) break;
        }
        await consumer.cancel();
      } finally {
        await raw.text('config', ['set', 'maxmemory', 0]);
      }
    });

    test('a queue whose key is something else is refused, and the others are served', async () => {
      const connection = await connect();
      await raw.text('set', ['q', 'no list']);
      await expect(connection.publish([...push('q', 'x'), ...push('good', 'y')])).rejects.toMatchObject({
        code: 'ERR_PUBLISH',
        failures: [{ index: 0, error: { code: 'ERR_PRECONDITION_FAILED' } }],
      });
      const { take } = await consume(connection, ['good']);
      expect(texts(await take(1))).toEqual(['y']);
    });

    test('records that cannot be kept leave the messages in the queue', async () => {
      const connection = await connect();
      await raw.text('set', ['unacked', 'no hash']);
      await connection.publish(push('q', '1', '2'));
      const { consumer } = await consume(connection, ['q']);
      await expect(consumer.done).rejects.toMatchObject({ code: 'ERR_PRECONDITION_FAILED' });
      expect(await raw.text('llen', ['q'])).toBe(2);
      await raw.text('del', ['unacked']);
      const { take } = await consume(connection, ['q']);
      expect(texts(await take(2))).toEqual(['1', '2']);
    });

    test('scripts that were flushed are loaded again', async () => {
      const connection = await connect();
      await connection.publish(push('q', '1'));
      const { take } = await consume(connection, ['q']);
      await take(1);
      await raw.text('script', ['flush']);
      await connection.publish(push('q', '2'));
      expect(texts(await take(1))).toEqual(['2']);
    });
  });

  test('the guarantee names what a crash of the server may lose', async () => {
    expect((await connect()).capabilities.guarantee).toBe(
      'redis without persistence: a restart of the server loses all messages',
    );
    await raw.text('config', ['set', 'appendonly', 'yes']);
    await raw.text('config', ['set', 'maxmemory-policy', 'allkeys-lru']);
    const warnings: string[] = [];
    const connection = await connect({ logger: { ...silentLogger, warn: (_, text) => warnings.push(text) } });
    expect(connection.capabilities.guarantee).toBe(
      'redis, appendonly yes, appendfsync everysec: a crash of the server may lose the last second or two; maxmemory-policy allkeys-lru may evict messages',
    );
    expect(warnings.join()).toMatch(/noeviction/);
    await raw.text('config', ['set', 'appendonly', 'no']);
    await raw.text('config', ['set', 'maxmemory-policy', 'noeviction']);
    await raw.text('acl', ['setuser', 'noconf', 'on', '>pw', '~*', '&*', '+@all', '-config']);
    expect((await connect({}, 'noconf:pw@')).capabilities.guarantee).toMatch(/persistence unknown/);
  });
});
