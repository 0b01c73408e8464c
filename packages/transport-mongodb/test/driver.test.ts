import { type Delivery, BrokerUrl, type Connection, type ConnectOptions, silentLogger } from '@lovage/core/transport';
import { mongodbTransport } from '@lovage/transport-mongodb';
import { type Db, MongoClient } from 'mongodb';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { consume, settle } from '../../conformance/test/consuming.ts';
import { mongodbUrl } from '../../mongodb/test/mongodb-url.ts';

const url = mongodbUrl('lovage_driver');
const message = {
  body: new TextEncoder().encode('body'),
  contentType: 'text/plain',
  contentEncoding: 'utf-8',
  headers: {},
  properties: {},
};

describe.skipIf(url === undefined)('the MongoDB transport', () => {
  let client: MongoClient;
  let db: Db;
  const connections: Connection[] = [];

  beforeAll(async () => {
    client = await new MongoClient(url as string).connect();
    db = client.db();
  });
  beforeEach(() => db.dropDatabase());
  afterEach(async () => {
    await Promise.all(connections.splice(0).map((connection) => connection.close()));
  });
  afterAll(async () => {
    await db.dropDatabase();
    await client.close();
  });

  async function connect(options: ConnectOptions = {}): Promise<Connection> {
    const connection = await mongodbTransport.connect(new BrokerUrl(url as string), options);
    connections.push(connection);
    return connection;
  }

  const push = (queue: string, ...priorities: (number | undefined)[]) =>
    priorities.map((priority) => ({
      exchange: '',
      routingKey: queue,
      message: { ...message, properties: priority === undefined ? {} : { priority } },
    }));

  /** As Kombu takes one. Source: kombu/transport/mongodb.py, _get. */
  const kombuTakes = (queue: string) =>
    db.collection('messages').findOneAndDelete({ queue }, { sort: { priority: 1 } });

  describe("Kombu's collections", () => {
    test('hold a message as Kombu writes it, under its indexes', async () => {
      const connection = await connect();
      await connection.publish(push('q', 3, undefined));
      const documents = await db.collection('messages').find().sort({ priority: 1 }).toArray();
      expect(documents.map(({ queue, priority }) => ({ queue, priority }))).toEqual([
        { queue: 'q', priority: 6 },
        { queue: 'q', priority: 9 },
      ]);
      const envelope = JSON.parse(documents[0]?.payload) as Record<string, unknown>;
      expect(envelope).toMatchObject({
        body: Buffer.from('body').toString('base64'),
        'content-type': 'text/plain',
        properties: { body_encoding: 'base64', priority: 3, delivery_info: { exchange: '', routing_key: 'q' } },
      });
      const names = async (name: string) => (await db.collection(name).indexes()).map((index) => index.name);
      expect(new Set(await names('messages'))).toEqual(
        new Set(['_id_', 'lovage_owner_1', 'lovage_queue_1_lovage_due_1', 'queue_1_priority_1__id_1']),
      );
      expect(new Set(await names('messages.routing'))).toEqual(new Set(['_id_', 'queue_1_exchange_1']));
      expect(new Set(await names('messages.broadcast'))).toEqual(new Set(['_id_', 'queue_1']));
      const [broadcast] = await db.listCollections({ name: 'messages.broadcast' }).toArray();
      expect((broadcast as { options?: unknown } | undefined)?.options).toMatchObject({ capped: true, size: 100_000 });
    });

    test('a message that is held is out of sight of Kombu, and comes back as it was', async () => {
      const connection = await connect();
      await connection.publish(push('q', 5));
      const before = await db.collection('messages').findOne();
      const { take, consumer } = await consume(connection, ['q']);
      const held = await take(1);
      expect(await kombuTakes('q')).toBeNull();
      expect(await db.collection('messages').countDocuments({ queue: 'q' })).toBe(0);
      expect((await db.collection('messages').deleteMany({ queue: 'q' })).deletedCount).toBe(0);
      expect(await db.collection('messages').countDocuments()).toBe(1);
      await consumer.cancel();
      await settle(connection, held, 'requeue');
      expect(await kombuTakes('q')).toEqual({ ...before, lovage_deliveries: 1 });
    });

    test('an ack leaves nothing', async () => {
      const connection = await connect();
      await connection.publish(push('q', undefined, undefined));
      const { take } = await consume(connection, ['q'], 1);
      await settle(connection, await take(1), 'ack');
      await settle(connection, await take(1), 'ack');
      expect(await db.collection('messages').countDocuments()).toBe(0);
      await connection.close();
      expect(await db.collection('messages.lovage_consumers').countDocuments()).toBe(0);
    });

    test('the highest priority goes first, and with two queues none waits for the other', async () => {
      const connection = await connect();
      await connection.publish(push('q', 0, 9, 5));
      const { take, consumer } = await consume(connection, ['q'], 1);
      const order: (number | undefined)[] = [];
      for (let count = 0; count < 3; count++) {
        const [delivery] = await take(1);
        order.push(delivery?.message.properties.priority);
        await settle(connection, [delivery as Delivery], 'ack');
      }
      expect(order).toEqual([9, 5, 0]);
      await consumer.cancel();
      await connection.publish([...push('full', ...Array<undefined>(20).fill(undefined)), ...push('other', undefined)]);
      const both = await consume(connection, ['full', 'other'], 4);
      expect((await both.take(4)).map(({ queue }) => queue)).toContain('other');
    });

    test("bindings are Kombu's, and read from its rows", async () => {
      const connection = await connect();
      await connection.declare({
        exchanges: [
          { name: 'direct', type: 'direct' },
          { name: 'topic', type: 'topic' },
        ],
        queues: [{ name: 'q' }],
        bindings: [
          { exchange: 'direct', queue: 'q', routingKey: 'k' },
          { exchange: 'topic', queue: 'q', routingKey: 'a.*.#' },
        ],
      });
      const rows = () =>
        db
          .collection('messages.routing')
          .find({}, { projection: { _id: 0 } })
          .sort({ exchange: 1 })
          .toArray();
      expect(await rows()).toEqual([
        { exchange: 'direct', queue: 'q', routing_key: 'k', pattern: null },
        { exchange: 'topic', queue: 'q', routing_key: 'a.*.#', pattern: '^a\\..*?[^\\.]\\..*?$' },
      ]);
      await db
        .collection('messages.routing')
        .insertOne({ exchange: 'direct', queue: 'python', routing_key: 'k', pattern: null });
      await connection.publish([{ exchange: 'direct', routingKey: 'k', message }]);
      expect(new Set(await db.collection('messages').distinct('queue'))).toEqual(new Set(['python', 'q']));
      await connection.remove({ queues: [{ name: 'q' }] });
      expect((await rows()).map(({ queue }) => queue)).toEqual(['python']);
    });

    test('broadcasts are rows of the capped collection, both ways, and none of ours beside them', async () => {
      const connection = await connect();
      await db.collection('messages.broadcast').insertOne({ queue: 'fan', payload: 'old' });
      await connection.declare({
        exchanges: [{ name: 'fan', type: 'fanout' }],
        queues: [{ name: 'f' }],
        bindings: [{ exchange: 'fan', queue: 'f', routingKey: '' }],
      });
      const { take, deliveries } = await consume(connection, ['f']);
      await connection.publish([{ exchange: 'fan', routingKey: 'x', message }]);
      const [own] = await take(1);
      const rows = await db.collection('messages.broadcast').find().toArray();
      expect(rows.map(({ queue }) => queue)).toEqual(['fan', 'fan']);
      const { payload } = rows[1] as unknown as { payload: string };
      // As Kombu writes it. Source: kombu/transport/mongodb.py, _put_fanout.
      await db.collection('messages.broadcast').insertOne({ payload, queue: 'fan' });
      const [theirs] = await take(1);
      expect([own, theirs].map((delivery) => Buffer.from(delivery?.message.body ?? []).toString())).toEqual([
        'body',
        'body',
      ]);
      expect(deliveries).toEqual([]);
    });

    test('a broadcast into a collection that is still empty arrives', async () => {
      const connection = await connect();
      await connection.declare({
        exchanges: [{ name: 'fan', type: 'fanout' }],
        queues: [{ name: 'f' }],
        bindings: [{ exchange: 'fan', queue: 'f', routingKey: '' }],
      });
      const { take } = await consume(connection, ['f']);
      await connection.publish([{ exchange: 'fan', routingKey: '', message }]);
      await take(1);
    });
  });

  describe('leases', () => {
    test('what a dead consumer held goes back; what a frozen one takes under its old name too', async () => {
      const connection = await connect({ leaseMs: 400 });
      await connection.publish(push('q', undefined));
      // As a consumer leaves them that died: one with a record, one without.
      await db.collection('messages').insertMany(
        ['dead', 'gone'].map((owner) => ({
          lovage_queue: owner,
          payload: '{}',
          priority: 9,
          lovage_owner: owner,
          lovage_deliveries: 3,
        })),
      );
      await db
        .collection('messages.lovage_consumers')
        .insertOne({ _id: 'dead', until: new Date(Date.now() - 1) } as object);
      const { take } = await consume(connection, ['dead', 'gone']);
      const back = await take(2);
      expect(new Map(back.map(({ queue, deliveryCount }) => [queue, deliveryCount]))).toEqual(
        new Map([
          ['dead', 4],
          ['gone', 4],
        ]),
      );
    });

    test('one that was declared dead is told, acks nothing, and goes on under another name', async () => {
      const connection = await connect({ leaseMs: 1000 });
      await connection.publish(push('q', undefined));
      const lost: Delivery[] = [];
      const deliveries: Delivery[] = [];
      await connection.consume(['q'], (batch) => void deliveries.push(...batch), {
        prefetch: 1,
        onLeaseLost: (gone) => lost.push(...gone),
      });
      await expect.poll(() => deliveries.length).toBe(1);
      await db.collection('messages.lovage_consumers').updateMany({}, { $set: { dead: true, until: new Date(0) } });
      await settle(connection, [], 'ack');
      await expect.poll(() => lost.length).toBe(1);
      // It comes again, to itself: it is the only one.
      await expect.poll(() => deliveries.length).toBe(2);
      await settle(connection, [deliveries[0] as Delivery], 'ack');
      expect(await db.collection('messages').countDocuments()).toBe(1);
      await settle(connection, [deliveries[1] as Delivery], 'ack');
      await expect.poll(() => db.collection('messages').countDocuments()).toBe(0);
    });
  });

  describe('waiting', () => {
    test('whoever puts a message there, an idle consumer has it at once', async () => {
      const connection = await connect();
      const { take } = await consume(connection, ['q', 'other']);
      await connection.publish(push('q', undefined));
      await settle(connection, await take(1), 'ack');
      const writer = await connect();
      const started = performance.now();
      for (let turn = 0; turn < 10; turn++) {
        await writer.publish(push(turn % 2 === 0 ? 'q' : 'other', undefined));
        await settle(connection, await take(1), 'ack');
      }
      // By the safety poll alone it would be ten times up to five seconds.
      expect(performance.now() - started).toBeLessThan(15_000);
    });

    test('without change streams it polls', async () => {
      const connection = await connect({ transportOptions: { change_streams: false } });
      const { take } = await consume(connection, ['q']);
      const writer = await connect();
      for (let turn = 0; turn < 3; turn++) {
        await writer.publish(push('q', undefined));
        await settle(connection, await take(1), 'ack');
      }
    });

    test('a delayed message is out of sight until it is due, in the order of the times', async () => {
      const connection = await connect();
      const publications = [1400, 700].map((delayMs, index) => ({
        ...(push('q', index)[0] as ReturnType<typeof push>[0]),
        delayMs,
      }));
      await connection.publish(publications);
      expect(await kombuTakes('q')).toBeNull();
      expect(await connection.inspect('q')).toMatchObject({ ready: 2 });
      const { take } = await consume(await connect(), ['q']);
      expect((await take(2)).map(({ message: { properties } }) => properties.priority)).toEqual([1, 0]);
    });
  });

  describe('expiry', () => {
    test('with "ttl" the fields and records are those of Kombu', async () => {
      const connection = await connect({ transportOptions: { ttl: true } });
      await connection.declare({
        exchanges: [{ name: 'e', type: 'direct' }],
        queues: [{ name: 'q', arguments: { 'x-message-ttl': 60_000, 'x-expires': 120_000 } }, { name: 'plain' }],
        bindings: [{ exchange: 'e', queue: 'q', routingKey: 'k' }],
      });
      const near = (ms: number) => (value: unknown) =>
        value instanceof Date && Math.abs(value.getTime() - Date.now() - ms) < 20_000;
      const [record] = await db
        .collection('messages.queues')
        .find({ _id: 'q' } as object)
        .toArray();
      expect(record?.options).toMatchObject({ arguments: { 'x-message-ttl': 60_000, 'x-expires': 120_000 } });
      expect(record?.expire_at).toSatisfy(near(120_000));
      expect((await db.collection('messages.routing').findOne())?.expire_at).toSatisfy(near(120_000));
      await connection.publish([
        ...push('q', undefined),
        { exchange: '', routingKey: 'plain', message: { ...message, properties: { expiration: '90000' } } },
        ...push('plain', undefined),
      ]);
      const expiries = await db.collection('messages').find().sort({ _id: 1 }).toArray();
      expect(expiries[0]?.expire_at).toSatisfy(near(60_000));
      expect(expiries[1]?.expire_at).toSatisfy(near(90_000));
      expect(expiries[2]).not.toHaveProperty('expire_at');
      const indexes = await db.collection('messages').indexes();
      expect(indexes.find(({ name }) => name === 'expire_at_1')).toMatchObject({ expireAfterSeconds: 0 });
      // A TTL index must not delete what somebody is working on.
      const { take, consumer } = await consume(connection, ['q']);
      const held = await take(1);
      expect(await db.collection('messages').findOne({ lovage_queue: 'q' })).not.toHaveProperty('expire_at');
      await consumer.cancel();
      await settle(connection, held, 'requeue');
      expect((await db.collection('messages').findOne({ queue: 'q' }))?.expire_at).toEqual(expiries[0]?.expire_at);
    });

    test('a queue of a process goes with its bindings when nobody renews it', async () => {
      const owner = await connect();
      await owner.declare({
        exchanges: [{ name: 'e', type: 'direct' }],
        queues: [{ name: 'own', autoDelete: true }],
        bindings: [{ exchange: 'e', queue: 'own', routingKey: 'k' }],
      });
      await owner.publish([{ exchange: 'e', routingKey: 'k', message }]);
      // The owner renews it once more when it has just declared it; others look when they begin to consume.
      const bindingsOnceExpired = async (): Promise<number> => {
        await db
          .collection('messages.lovage_queues')
          .updateMany({ _id: 'own' } as object, { $set: { expire_at: new Date(0) } });
        await consume(await connect(), ['other']);
        return db.collection('messages.routing').countDocuments();
      };
      await expect.poll(bindingsOnceExpired, { interval: 200 }).toBe(0);
      await expect.poll(() => db.collection('messages').countDocuments()).toBe(0);
    });
  });

  describe('opening', () => {
    const failure = async (raw: string, options: ConnectOptions = {}): Promise<{ code: string; message: string }> => {
      try {
        await (await mongodbTransport.connect(new BrokerUrl(raw), options)).close();
      } catch (error) {
        expect(JSON.stringify(error) + String(error) + String((error as Error).stack)).not.toContain('s3cret');
        return error as { code: string; message: string };
      }
      throw new Error(`${raw} was accepted`);
    };

    test('wrong URLs and options are errors that show the right form, without secrets', async () => {
      for (const raw of [
        'mongodb://u:s3cret@localhost/a.b',
        'mongodb://u:s3cret@localhost:27017/db?nonsense=1',
        'mongodb://u:s3cret@localhost:27017/db?replicaSet',
        'mongodb+srv://u:s3cret@a.example,b.example/db',
        'mongodb+srv://u:s3cret@a.example:27017/db',
        'mongodb://u:s3cret@localhost:27017/db?tls=maybe',
      ]) {
        const error = await failure(raw);
        expect(error).toMatchObject({ code: 'ERR_CONFIG' });
        expect(error.message).toContain('Expected');
      }
      for (const transportOptions of [{ leaseMs: 5 }, { messages_collection: '' }, { ttll: true }]) {
        expect(await failure(url as string, { transportOptions })).toMatchObject({ code: 'ERR_CONFIG' });
      }
    });

    test('a server that is not there is known at once', async () => {
      const started = performance.now();
      expect(await failure('mongodb://u:s3cret@127.0.0.1:1/db')).toMatchObject({ code: 'ERR_CONNECT' });
      expect(performance.now() - started).toBeLessThan(15_000);
    });

    test('options of pymongo have no effect, and the guarantee says what holds', async () => {
      const raw = `${url}&w=1&uuidRepresentation=standard&connect=false`;
      const connection = await mongodbTransport.connect(new BrokerUrl(raw), { logger: silentLogger });
      connections.push(connection);
      expect(connection.capabilities.guarantee).toMatch(/^mongodb, /);
      expect(connection.capabilities.maxMessageBytes).toBeGreaterThan(16_000_000);
    });
  });
});
