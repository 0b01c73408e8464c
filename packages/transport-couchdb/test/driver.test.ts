import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomUUID } from 'node:crypto';
import {
  BrokerUrl,
  type Connection,
  type ConnectOptions,
  type Delivery,
  isLovageError,
  type Message,
  type PublishError,
} from '@lovage/core/transport';
import { type CouchDatabase, type CouchDocument, openCouchDatabase, readCouchEndpoint } from '@lovage/couchdb';
import { couchdbTransport } from '@lovage/transport-couchdb';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('couchdb');

describe.skipIf(url === undefined)('CouchDB', async () => {
  const target = url ?? 'couchdb://none';
  const database: CouchDatabase | undefined =
    url === undefined ? undefined : await openCouchDatabase(readCouchEndpoint(new BrokerUrl(url), 'kombu_default'));
  const connections: Connection[] = [];
  const servers: Server[] = [];
  afterEach(async () => {
    await Promise.all(connections.splice(0).map((connection) => connection.close()));
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
  });
  afterAll(() => database?.close());

  async function open(options: ConnectOptions = {}, at = target): Promise<Connection> {
    const connection = await couchdbTransport.connect(new BrokerUrl(at), options);
    connections.push(connection);
    return connection;
  }

  /** What the tables of documents say of one queue. */
  async function documentsOf(queue: string): Promise<readonly CouchDocument[]> {
    const prefix = `m:${queue}:`;
    const rows = (await database?.range(prefix, `${prefix}\ufff0`, { include_docs: true })) ?? [];
    return rows.flatMap(({ doc }) => doc ?? []);
  }

  async function take(connection: Connection, queue: string, count: number): Promise<Delivery[]> {
    const got: Delivery[] = [];
    let onArrival = (): void => {};
    const arrived = new Promise<void>((resolve) => {
      onArrival = resolve;
    });
    const sink = (deliveries: readonly Delivery[]): void => {
      got.push(...deliveries);
      if (got.length >= count) onArrival();
    };
    const consumer = await connection.consume([queue], sink, { prefetch: count });
    await arrived;
    await consumer.cancel();
    return got;
  }

  test('a waiting message has the fields of Kombu, and one that is held is nothing to Kombu', async () => {
    const queue = `layout-${randomUUID()}`;
    const connection = await open();
    await connection.publish([toQueue(queue, 'hello', 3)]);
    const [waiting] = await documentsOf(queue);
    expect(waiting).toMatchObject({ queue, priority: 3, at: expect.any(Number) as number });
    expect(JSON.parse(String(waiting?.['payload']))).toMatchObject({
      body: Buffer.from('hello').toString('base64'),
      properties: { delivery_info: { exchange: '', routing_key: queue }, body_encoding: 'base64' },
    });
    const [delivery] = await take(connection, queue, 1);
    const [held] = await documentsOf(queue);
    expect(held).toMatchObject({ held: queue, owner: expect.any(String) as string, deliveries: 1 });
    expect(held).not.toHaveProperty('queue');
    await connection.settle([{ delivery: delivery as Delivery, outcome: 'ack' }]);
    expect(await documentsOf(queue)).toEqual([]);
  });

  test('what is too large is refused with the limit, and the rest of the batch is kept', async () => {
    const queue = `large-${randomUUID()}`;
    const connection = await open({ transportOptions: { max_document_size: 20_000 } });
    const publishing = connection.publish([
      toQueue(queue, 'small'),
      toQueue(queue, 'x'.repeat(20_000)),
      toQueue(queue, 'small too'),
    ]);
    const error = (await publishing.catch((thrown: unknown) => thrown)) as PublishError;
    expect(error.failures.map(({ index }) => index)).toEqual([1]);
    expect(isLovageError(error.failures[0]?.error, 'ERR_TOO_LARGE')).toBe(true);
    expect(error.failures[0]?.error).toMatchObject({ limitBytes: expect.any(Number) as number });
    expect((await connection.inspect(queue)).ready).toBe(2);
    await connection.purge(queue);
  });

  test('a server that does its work and then answers 500 loses no message and doubles none', async () => {
    const queue = `doubtful-${randomUUID()}`;
    const link = await doubtful(target);
    servers.push(link.server);
    const connection = await open({ leaseMs: 1000 }, link.url);
    link.failOnce(/"payload":/);
    await connection.publish([toQueue(queue, 'm')]);
    link.failOnce(/"lease_ms":/, /"held":/);
    const [delivery] = await take(connection, queue, 1);
    expect(Buffer.from((delivery as Delivery).message.body).toString()).toBe('m');
    link.failOnce(/"lease_ms":/);
    await vi.waitUntil(() => link.failures === 4, { timeout: 50_000 });
    link.failOnce(/"queue":/);
    await connection.settle([{ delivery: delivery as Delivery, outcome: 'requeue' }]);
    const [again] = await take(connection, queue, 1);
    expect(again?.deliveryCount).toBe(2);
    link.failOnce(/"_deleted":/);
    await connection.settle([{ delivery: again as Delivery, outcome: 'ack' }]);
    expect(link.failures).toBe(6);
    const third = await open();
    expect((await third.inspect(queue)).ready).toBe(0);
  });

  test('a queue that cannot be read holds up nothing of the others', async () => {
    const queues = [`first-${randomUUID()}`, `second-${randomUUID()}`] as const;
    const link = await doubtful(target);
    servers.push(link.server);
    const connection = await open({}, link.url);
    await connection.publish(queues.map((queue) => toQueue(queue, queue)));
    link.blockOnce(new RegExp(`_view/.*${queues[1]}`));
    const got: Delivery[] = [];
    await connection.consume(queues, (deliveries) => got.push(...deliveries), { prefetch: 10 });
    await expect.poll(() => got.map(({ queue }) => queue).toSorted()).toEqual(queues);
    expect(link.failures).toBe(1);
    await connection.settle(got.map((delivery) => ({ delivery, outcome: 'ack' })));
  });

  test('a claim of unknown outcome ends the connection, and so its lease', async () => {
    const queue = `unknown-${randomUUID()}`;
    const link = await doubtful(target);
    servers.push(link.server);
    const connection = await open({ leaseMs: 500 }, link.url);
    await connection.publish([toQueue(queue, 'm')]);
    link.blockOnce(/"held":/);
    await connection.consume([queue], () => {}, { prefetch: 1 });
    await expect(connection.closed).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    const other = await open({ leaseMs: 500 });
    const deliveries = await take(other, queue, 1);
    await other.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' })));
  });

  test('a document that CouchDB did not write is settled again', async () => {
    const queue = `settled-${randomUUID()}`;
    const link = await doubtful(target);
    servers.push(link.server);
    const connection = await open({}, link.url);
    await connection.publish([toQueue(queue, 'm')]);
    const [delivery] = (await take(connection, queue, 1)) as [Delivery];
    link.refuseOnce(/"_deleted":/);
    const ack = () => connection.settle([{ delivery, outcome: 'ack' }]);
    await expect(ack()).rejects.toMatchObject({ code: 'ERR_BLOCKED' });
    await ack();
    expect(await documentsOf(queue)).toEqual([]);
  });

  test('a message that could be stored but not held is refused', async () => {
    const queue = `brim-${randomUUID()}`;
    const connection = await open({ transportOptions: { max_document_size: 20_000 } });
    await connection.publish([toQueue(queue, '')]);
    const [{ _rev: _, ...empty } = {}] = await documentsOf(queue);
    // Base64, and some room for the digits of the time.
    const fitting = Math.floor((20_000 - 16 - JSON.stringify(empty).length) / 4) * 3;
    const error: unknown = await connection
      .publish([toQueue(queue, 'x'.repeat(fitting))])
      .catch((thrown: unknown) => thrown);
    expect((error as PublishError).failures[0]?.error).toMatchObject({ code: 'ERR_TOO_LARGE' });
    await connection.purge(queue);
  });

  test('a temporary queue that nobody renewed goes, with its bindings and messages', async () => {
    const [queue, exchange] = [`gone-${randomUUID()}`, `events-${randomUUID()}`];
    const connection = await open({ leaseMs: 300 });
    await connection.declare({
      exchanges: [{ name: exchange, type: 'topic' }],
      queues: [{ name: queue }],
      bindings: [{ queue, exchange, routingKey: '#' }],
    });
    await connection.publish([toQueue(queue, 'left')]);
    await database?.write([{ _id: `lovage:queue:${queue}`, name: queue, expires_at: Date.now() - 1 }]);
    const other = await open({ leaseMs: 300 });
    await other.declare({ queues: [{ name: `mine-${randomUUID()}`, autoDelete: true }] });
    await expect.poll(async () => (await other.inspect(queue)).ready).toBe(0);
    const prefix = `lovage:binding:${exchange}:`;
    await expect.poll(() => database?.range(prefix, `${prefix}\ufff0`)).toEqual([]);
  });

  test('a wrong password is an AuthError that does not show it', async () => {
    const wrong = target.replace(/:[^:@]*@/, ':notthis@');
    const error: unknown = await couchdbTransport.connect(new BrokerUrl(wrong), {}).catch((thrown: unknown) => thrown);
    expect(isLovageError(error, 'ERR_AUTH')).toBe(true);
    expect(String(error)).not.toContain('notthis');
  });

  test('what is no CouchDB is refused', async () => {
    const server = createServer((_, reply) => reply.end('{}')).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const error: unknown = await couchdbTransport
      .connect(new BrokerUrl(`couchdb://127.0.0.1:${port}`), {})
      .catch((thrown: unknown) => thrown);
    expect(isLovageError(error, 'ERR_CONNECT')).toBe(true);
    expect(String(error)).toMatch(/is no CouchDB/);
  });
});

function toQueue(queue: string, text: string, priority = 0) {
  const message: Message = {
    body: new TextEncoder().encode(text),
    contentType: 'text/plain',
    contentEncoding: 'utf-8',
    headers: {},
    properties: { deliveryMode: 2, priority },
  };
  return { exchange: '', routingKey: queue, message };
}

interface Fault {
  /** In the path or the body of a request. */
  readonly pattern: RegExp;
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether the request is carried out. */
  readonly isDone: boolean;
  readonly answer: (body: string) => unknown;
}

/** A proxy that can answer the next request that looks so otherwise than the server does. */
async function doubtful(target: string) {
  const { host, port } = new BrokerUrl(target);
  let faults: Fault[] = [];
  let failures = 0;
  const server = createServer((incoming, reply) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      const body = Buffer.concat(chunks);
      const { method, url: path, headers } = incoming;
      const fault = faults.find(({ pattern }) => pattern.test(`${path} ${body.toString()}`));
      const fail = ({ status, headers: extra, answer }: Fault): void => {
        faults = faults.filter((one) => one !== fault);
        failures++;
        reply.writeHead(status, extra).end(JSON.stringify(answer(body.toString())));
      };
      if (fault?.isDone === false) return fail(fault);
      const outgoing = request({ host, port, method, path, headers }, (answer) => {
        if (fault !== undefined) {
          answer.resume();
          answer.on('end', () => fail(fault));
          return;
        }
        reply.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(reply);
      });
      outgoing.on('error', () => reply.destroy());
      reply.on('close', () => outgoing.destroy());
      outgoing.end(body);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port: own } = server.address() as AddressInfo;
  const boom = () => ({ error: 'boom' });
  const refusal = (body: string) =>
    (JSON.parse(body) as { docs: CouchDocument[] }).docs.map(({ _id }) => ({
      id: _id,
      error: 'timeout',
      reason: 'busy',
    }));
  return {
    server,
    url: target.replace(/@[^/]*/, `@127.0.0.1:${own}`),
    /** 500, after it was done. */
    failOnce: (...patterns: RegExp[]) =>
      faults.push(...patterns.map((pattern) => ({ pattern, status: 500, isDone: true, answer: boom }))),
    /** Too busy for longer than anybody asks again, after it was done. */
    blockOnce: (pattern: RegExp) =>
      faults.push({ pattern, status: 503, headers: { 'retry-after': '60' }, isDone: true, answer: boom }),
    /** Written is no document of the request, and each answer says so. */
    refuseOnce: (pattern: RegExp) => faults.push({ pattern, status: 201, isDone: false, answer: refusal }),
    get failures() {
      return failures;
    },
  };
}
