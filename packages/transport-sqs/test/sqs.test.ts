import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CreateQueueCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { openFaultyLink } from '@lovage/conformance';
import { BrokerUrl, type Connection, type Publication } from '@lovage/core/transport';
import { sqsTransport } from '@lovage/transport-sqs';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { consume, settle, texts } from '../../conformance/test/consuming.ts';

const url = process.env['LOVAGE_TEST_SQS_URL'] ?? 'sqs://key:secret@127.0.0.1:1';
const { host, port = 80 } = new BrokerUrl(url);
const endpoint = `http://${host}:${port}`;
const client = new SQSClient({
  endpoint,
  region: 'us-east-1',
  credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
});
afterAll(() => client.destroy());

describe.skipIf(process.env['LOVAGE_TEST_SQS_URL'] === undefined)('the SQS transport', () => {
  const open: Connection[] = [];
  const queues: string[] = [];
  afterEach(async () => {
    await Promise.all(open.splice(0).map((connection) => connection.close()));
    // Those whose name is another one in SQS stay: the server goes with the tests.
    await Promise.allSettled(
      queues.splice(0).map(async (name) => client.send(new DeleteQueueCommand({ QueueUrl: await urlOf(name) }))),
    );
  });

  async function connect(transportOptions: Record<string, unknown> = {}, to = url, more = {}): Promise<Connection> {
    // A wait of one second at most: closing waits for it.
    const options = { transportOptions: { waitTimeSeconds: 1, ...transportOptions }, ...more };
    const connection = await sqsTransport.connect(new BrokerUrl(to), options);
    open.push(connection);
    return connection;
  }

  async function queue(connection: Connection, end = ''): Promise<string> {
    const name = `q-${randomUUID().slice(0, 8)}${end}`;
    await connection.declare({ queues: [{ name }] });
    queues.push(name);
    return name;
  }

  const publication = (to: string, body: string | Uint8Array, headers: Record<string, unknown> = {}): Publication => ({
    exchange: '',
    routingKey: to,
    message: {
      body: Buffer.from(body),
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      headers,
      properties: { correlationId: 'c' },
    },
  });
  const urlOf = async (name: string) =>
    (await client.send(new GetQueueUrlCommand({ QueueName: name }))).QueueUrl as string;
  const send = async (name: string, body: string) =>
    client.send(new SendMessageCommand({ QueueUrl: await urlOf(name), MessageBody: body }));
  const attributes = async (name: string) =>
    (await client.send(new GetQueueAttributesCommand({ QueueUrl: await urlOf(name), AttributeNames: ['All'] })))
      .Attributes ?? {};

  describe('layout', () => {
    test('a message is the envelope in base64, with the body in base64 again', async () => {
      const connection = await connect();
      const name = await queue(connection);
      await connection.publish([publication(name, '{"a": 1}', { id: 'é' })]);
      const { Messages } = await client.send(new ReceiveMessageCommand({ QueueUrl: await urlOf(name) }));
      const text = Buffer.from(Messages?.[0]?.Body ?? '', 'base64').toString();
      const envelope = JSON.parse(text) as { properties: { delivery_tag: unknown } };
      expect(envelope).toEqual({
        body: Buffer.from('{"a": 1}').toString('base64'),
        'content-encoding': 'utf-8',
        'content-type': 'application/json',
        headers: { id: 'é' },
        properties: {
          correlation_id: 'c',
          delivery_mode: 2,
          delivery_info: { exchange: '', routing_key: name },
          priority: 0,
          body_encoding: 'base64',
          delivery_tag: envelope.properties.delivery_tag,
        },
      });
    });

    test('queues get prefix, mangled name, visibility timeout, attributes of their own', async () => {
      const connection = await connect({
        queue_name_prefix: 'pre-',
        visibility_timeout: 77,
        'sqs-creation-attributes': { DelaySeconds: '3' },
      });
      const name = await queue(connection, '.eu@x');
      queues.pop();
      expect(await attributes(`pre-${name.replace('.', '-').replace('@', '_')}`)).toMatchObject({
        VisibilityTimeout: '77',
        DelaySeconds: '3',
      });
    });

    test('two names that are one in SQS are refused', async () => {
      const connection = await connect();
      const name = await queue(connection, '.x');
      await expect(connection.declare({ queues: [{ name: name.replace('.', '-') }] })).rejects.toMatchObject({
        code: 'ERR_PRECONDITION_FAILED',
      });
    });

    test('text that is no base64 and what other programs send are read as Kombu reads them', async () => {
      const connection = await connect();
      const name = await queue(connection);
      const event = '{"Records": [{"eventName": "ObjectCreated:Put"}]}';
      const { take } = await consume(connection, name);
      await send(name, '{"body": "eHl6", "headers": {}, "properties": {"body_encoding": "base64"}}');
      await send(name, event);
      const deliveries = await take(2);
      expect(new Set(texts(deliveries))).toEqual(new Set(['xyz', event]));
      expect(deliveries.map(({ malformed }) => malformed)).toEqual([undefined, undefined]);
      await settle(connection, deliveries, 'ack');
    });
  });

  describe('FIFO queues', () => {
    test('keep their order, beyond ten messages, and are made with their suffix', async () => {
      const connection = await connect();
      const name = await queue(connection, '.fifo');
      expect((await attributes(name))['FifoQueue']).toBe('true');
      const bodies = Array.from({ length: 35 }, (_, index) => `m${index}`);
      await connection.publish(bodies.map((body) => publication(name, body)));
      const { take } = await consume(connection, name, 5);
      const seen: string[] = [];
      while (seen.length < bodies.length) {
        const deliveries = await take(1);
        seen.push(...texts(deliveries));
        await settle(connection, deliveries, 'ack');
      }
      expect(seen).toEqual(bodies);
    });

    test('headers name the group and the deduplication', async () => {
      const connection = await connect();
      const name = await queue(connection, '.fifo');
      const headers = (group: string, id: string) => ({ MessageGroupId: group, MessageDeduplicationId: id });
      await connection.publish([
        publication(name, 'a', headers('one', '1')),
        publication(name, 'again', headers('one', '1')),
        publication(name, 'b', headers('two', '2')),
      ]);
      const { take } = await consume(connection, name);
      // One of another group comes although the first group is held.
      const deliveries = await take(2);
      expect(texts(deliveries)).toEqual(['a', 'b']);
      await settle(connection, deliveries, 'ack');
      expect((await connection.inspect(name)).ready).toBe(0);
    });

    test('refuse a delay', async () => {
      const connection = await connect();
      const name = await queue(connection, '.fifo');
      await expect(connection.publish([{ ...publication(name, 'a'), delayMs: 1000 }])).rejects.toMatchObject({
        failures: [{ index: 0, error: { code: 'ERR_UNSUPPORTED' } }],
      });
    });
  });

  describe('sizes', () => {
    test('messages whose sum is more than a batch takes go in several', async () => {
      const connection = await connect();
      const name = await queue(connection);
      const bodies = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(300_000));
      await connection.publish(bodies.map((body) => publication(name, body)));
      const { take } = await consume(connection, name);
      const deliveries = await take(4);
      expect(new Set(texts(deliveries))).toEqual(new Set(bodies));
      await settle(connection, deliveries, 'ack');
    });

    test('one that is too large is refused with the limit, by its index', async () => {
      const connection = await connect();
      const name = await queue(connection);
      const sent = connection.publish([publication(name, 'ok'), publication(name, 'x'.repeat(600_000))]);
      await expect(sent).rejects.toMatchObject({
        failures: [{ index: 1, error: { code: 'ERR_TOO_LARGE', limitBytes: 786_432 } }],
      });
      expect((await connection.inspect(name)).ready).toBe(1);
    });
  });

  describe('requests', () => {
    /** Counts commands by what the SDK logs of them. */
    function counter() {
      const counts = new Map<string, number>();
      const count = ({ commandName }: { commandName?: string }): void => {
        if (commandName !== undefined) counts.set(commandName, (counts.get(commandName) ?? 0) + 1);
      };
      const ignore = (): void => {};
      const logger = { info: count, debug: ignore, warn: ignore, error: ignore, trace: ignore };
      return { counts, clientConfig: { logger } };
    }

    test('an idle consumer waits in SQS, longer and longer, and is woken by a message', async () => {
      const { counts, clientConfig } = counter();
      const connection = await connect({ waitTimeSeconds: 20, clientConfig });
      const name = await queue(connection);
      const { take } = await consume(connection, name);
      // The promise is about this time: waits of one, two and four seconds.
      await sleep(3500);
      expect(counts.get('ReceiveMessageCommand') ?? 0).toBeLessThanOrEqual(3);
      const since = performance.now();
      await connection.publish([publication(name, 'm')]);
      await settle(connection, await take(1), 'ack');
      expect(performance.now() - since).toBeLessThan(2500);
    });

    test('many messages go, come and are acknowledged ten at a time', async () => {
      const { counts, clientConfig } = counter();
      const connection = await connect({ clientConfig });
      const name = await queue(connection);
      await connection.publish(Array.from({ length: 100 }, (_, index) => publication(name, String(index))));
      expect(counts.get('SendMessageBatchCommand')).toBe(10);
      const { take } = await consume(connection, name);
      const deliveries = await take(100);
      expect(counts.get('ReceiveMessageCommand')).toBeLessThanOrEqual(20);
      await Promise.all(deliveries.map((delivery) => settle(connection, [delivery], 'ack')));
      expect(counts.get('DeleteMessageBatchCommand')).toBeLessThanOrEqual(12);
      expect(counts.get('DeleteMessageCommand')).toBeUndefined();
    });

    test('what a wait brings beyond the room of the next consumer goes back at once', async () => {
      const [connection, other] = [await connect(), await connect()];
      const name = await queue(connection);
      await connection.publish([publication(name, '1'), publication(name, '2')]);
      const { consumer } = await consume(connection, name, 10);
      // What it has asked for by then brings both, and is taken over.
      await consumer.cancel();
      const narrow = await consume(connection, name, 1);
      const first = await narrow.take(1);
      const second = await (await consume(other, name, 1)).take(1);
      expect(texts([...first, ...second]).toSorted()).toEqual(['1', '2']);
      await settle(connection, first, 'ack');
      await settle(other, second, 'ack');
    });

    test('what a wait of a cancelled consumer brings goes back at once', async () => {
      const connection = await connect();
      const other = await connect();
      const name = await queue(connection);
      const { consumer, deliveries } = await consume(connection, name);
      await expect.poll(async () => (await attributes(name))['QueueArn']).toBeDefined();
      await consumer.cancel();
      await connection.publish([publication(name, 'm')]);
      const { take } = await consume(other, name);
      const since = performance.now();
      await settle(other, await take(1), 'ack');
      // Long before the lease of 30 s that SQS granted to the wait.
      expect(performance.now() - since).toBeLessThan(20_000);
      expect(texts(deliveries)).toEqual([]);
    });
  });

  test('several queues: all are waited for, also with fewer free slots than queues', async () => {
    const connection = await connect();
    const names = [await queue(connection), await queue(connection), await queue(connection)];
    const { take } = await consume(connection, names, 1);
    for (const name of names) {
      await connection.publish([publication(name, name)]);
      const deliveries = await take(1);
      expect(texts(deliveries)).toEqual([name]);
      await settle(connection, deliveries, 'ack');
    }
  });

  test('a session outlives cut sockets: what it holds stays its own, and more comes', async () => {
    const link = await openFaultyLink({ host, port });
    const connection = await connect({}, `sqs://key:secret@127.0.0.1:${link.port}`, { leaseMs: 2000 });
    const name = await queue(connection);
    await connection.publish([publication(name, 'held')]);
    const { take, deliveries } = await consume(connection, name);
    const held = await take(1);
    for (const fault of ['cut', 'reset', 'halfClose'] as const) {
      link[fault]();
      await connection.publish([publication(name, fault)]);
      const more = await take(1);
      expect(texts(more)).toEqual([fault]);
      await settle(connection, more, 'ack');
    }
    // Longer than the lease, which is renewed over new sockets.
    await sleep(2500);
    link.cut();
    await settle(connection, held, 'ack');
    // What was sent over a link that broke before the answer may have been sent twice; what is held never comes again.
    expect(texts(deliveries)).not.toContain('held');
    await connection.close();
    await link.close();
  });

  test('a queue that somebody removes is made again, by who sends and by who receives', async () => {
    // ElasticMQ never answers a wait for a queue that was removed: it is given up after a heartbeat.
    const connection = await connect({}, url, { heartbeatSeconds: 1 });
    const name = await queue(connection);
    const other = await queue(connection);
    const { take } = await consume(connection, name);
    await client.send(new DeleteQueueCommand({ QueueUrl: await urlOf(name) }));
    await client.send(new DeleteQueueCommand({ QueueUrl: await urlOf(other) }));
    await connection.publish([publication(other, 'sent'), publication(name, 'received')]);
    expect((await connection.inspect(other)).ready).toBe(1);
    const deliveries = await take(1);
    expect(texts(deliveries)).toEqual(['received']);
    await settle(connection, deliveries, 'ack');
  });

  describe('predefined queues', () => {
    test('are used by their URL, and no others', async () => {
      const name = `pre-${randomUUID().slice(0, 8)}`;
      const made = await client.send(new CreateQueueCommand({ QueueName: name }));
      const predefined_queues = { jobs: { url: made.QueueUrl, access_key_id: 'a', secret_access_key: 'b' } };
      const connection = await connect({ predefined_queues });
      await connection.publish([publication('jobs', 'm')]);
      const { take } = await consume(connection, 'jobs');
      await settle(connection, await take(1), 'ack');
      await expect(connection.declare({ queues: [{ name: 'others' }] })).rejects.toThrow(
        /"others" is not among the "predefined_queues"\. Expected one of: jobs/,
      );
      await connection.remove({ queues: [{ name: 'jobs' }] });
      expect(await urlOf(name)).toBe(made.QueueUrl);
    });

    test('the back-off policy hides a message that was given back, for its tasks only', async () => {
      const name = `pre-${randomUUID().slice(0, 8)}`;
      const made = await client.send(new CreateQueueCommand({ QueueName: name }));
      const connection = await connect({
        predefined_queues: { [name]: { url: made.QueueUrl, backoff_policy: { 1: 2 }, backoff_tasks: ['slow'] } },
      });
      await connection.publish([publication(name, 'a', { task: 'slow' }), publication(name, 'b', { task: 'fast' })]);
      const { take } = await consume(connection, name);
      const first = await take(2);
      const since = performance.now();
      await settle(connection, first, 'requeue');
      const fast = await take(1);
      expect(texts(fast)).toEqual(['b']);
      const slow = await take(1);
      expect(texts(slow)).toEqual(['a']);
      expect(performance.now() - since).toBeGreaterThan(1500);
      await settle(connection, [...fast, ...slow], 'ack');
    });
  });

  test("a redrive policy is SQS' own: what is given back too often moves to its dead letter queue", async () => {
    const connection = await connect();
    const dead = await queue(connection);
    const { QueueArn } = await attributes(dead);
    const redriven = await connect({
      'sqs-creation-attributes': {
        RedrivePolicy: JSON.stringify({ deadLetterTargetArn: QueueArn, maxReceiveCount: 2 }),
      },
    });
    const name = await queue(redriven);
    await redriven.publish([publication(name, 'poison')]);
    const { take } = await consume(redriven, name);
    for (const count of [1, 2]) {
      const deliveries = await take(1);
      expect(deliveries[0]?.deliveryCount).toBe(count);
      await settle(redriven, deliveries, 'requeue');
    }
    const letters = await consume(connection, dead);
    const got = await letters.take(1);
    expect(texts(got)).toEqual(['poison']);
    await settle(connection, got, 'ack');
  });

  test('a server that is not there is a ConnectError, without the secret', async () => {
    const attempt = sqsTransport.connect(new BrokerUrl('sqs://key:geheim@127.0.0.1:1'), {});
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_CONNECT' });
    await expect(attempt).rejects.not.toThrow(/geheim/);
  });
});
