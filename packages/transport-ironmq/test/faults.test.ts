import { inspect } from 'node:util';
import {
  BrokerUrl,
  type Connection,
  type ConnectOptions,
  type Delivery,
  isLovageError,
  type Message,
  type PublishError,
} from '@lovage/core/transport';
import { ironmqTransport } from '@lovage/transport-ironmq';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { createIronMq } from './ironmq-server.mjs';

const server = createIronMq({ project: 'p', token: 'secret' });
const port = await server.listen();
const url = `ironmq://p:secret@127.0.0.1:${port}?protocol=http&min_reservation=1`;
const connections: Connection[] = [];
afterEach(async () => {
  server.fault();
  await Promise.all(connections.splice(0).map((connection) => connection.close()));
});
afterAll(() => server.close());

async function open(options: ConnectOptions = {}, at = url): Promise<Connection> {
  const connection = await ironmqTransport.connect(new BrokerUrl(at), options);
  connections.push(connection);
  return connection;
}

interface Consuming {
  readonly got: Delivery[];
  readonly lost: Delivery[];
  readonly arrived: (count: number) => Promise<void>;
}

async function consume(connection: Connection, queue: string, prefetch: number): Promise<Consuming> {
  const [got, lost]: [Delivery[], Delivery[]] = [[], []];
  await connection.consume([queue], (deliveries) => got.push(...deliveries), {
    prefetch,
    onLeaseLost: (deliveries) => lost.push(...deliveries),
  });
  const arrived = (count: number) => vi.waitUntil(() => got.length >= count, { timeout: 50_000 }).then(() => undefined);
  return { got, lost, arrived };
}

const textOf = ({ message }: Delivery) => Buffer.from(message.body).toString();

describe('IronMQ in trouble', () => {
  test.each([500, 503, 429])('%i: every call is tried again, and nothing is lost', async (status) => {
    const queue = `busy-${status}`;
    const connection = await open();
    await connection.declare({ queues: [{ name: queue }] });
    server.fault({ match: queue, times: 2, kind: 'status', status });
    await connection.publish([toQueue(queue, 'm')]);
    server.fault({ match: 'reservations', times: 2, kind: 'status', status });
    const { got, arrived } = await consume(connection, queue, 1);
    await arrived(1);
    server.fault({ match: 'DELETE', times: 2, kind: 'status', status });
    await connection.settle([{ delivery: got[0] as Delivery, outcome: 'ack' }]);
    expect((await connection.inspect(queue)).ready).toBe(0);
  });

  test('Retry-After is kept', async () => {
    const connection = await open();
    server.fault({ match: 'POST', times: 1, kind: 'status', status: 429, retryAfter: 1 });
    const startedAt = performance.now();
    await connection.publish([toQueue('retry-after', 'm')]);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(990);
  });

  test('a service that takes a message and answers 500 has it twice, never not at all', async () => {
    const connection = await open();
    server.fault({ match: 'messages', times: 1, kind: 'statusAfter', status: 500 });
    await connection.publish([toQueue('doubtful', 'm')]);
    expect((await connection.inspect('doubtful')).ready).toBe(2);
  });

  test('a delete that was done and answered 500 is done', async () => {
    const connection = await open();
    await connection.publish([toQueue('deleted', 'a'), toQueue('deleted', 'b')]);
    const { got, arrived } = await consume(connection, 'deleted', 2);
    await arrived(2);
    server.fault({ match: 'DELETE', times: 1, kind: 'statusAfter', status: 500 });
    await connection.settle(got.map((delivery) => ({ delivery, outcome: 'ack' as const })));
    await connection.close();
    expect((await (await open()).inspect('deleted')).ready).toBe(0);
  });

  test('a reservation that is over is told, and its ack does not reach who has it now', async () => {
    const connection = await open({ leaseMs: 1000 });
    await connection.publish([toQueue('expired', 'm')]);
    const first = await consume(connection, 'expired', 1);
    await first.arrived(1);
    const other = await open({ leaseMs: 1000 });
    const second = await consume(other, 'expired', 1);
    server.expire('expired');
    await second.arrived(1);
    expect(second.got[0]?.redelivered).toBe(true);
    await vi.waitUntil(() => first.lost.length === 1, { timeout: 50_000 });
    await connection.settle([{ delivery: first.got[0] as Delivery, outcome: 'ack' }]);
    await other.settle([{ delivery: second.got[0] as Delivery, outcome: 'requeue' }]);
    const again = await consume(connection, 'expired', 1);
    await again.arrived(1);
  });

  test('one reservation of a batch that is over keeps none of the others', async () => {
    const connection = await open();
    await connection.publish(['a', 'b', 'c'].map((text) => toQueue('batch', text)));
    const { got, arrived } = await consume(connection, 'batch', 3);
    await arrived(3);
    // One is gone already, by another hand.
    await connection.settle([{ delivery: got[1] as Delivery, outcome: 'requeue' }]);
    const stolen = await open();
    const { got: theirs, arrived: theirArrival } = await consume(stolen, 'batch', 1);
    await Promise.race([theirArrival(1), arrived(4)]);
    server.fault({ match: 'DELETE .*messages$', times: 1, kind: 'status', status: 403 });
    await connection.settle([got[0], got[2]].map((delivery) => ({ delivery: delivery as Delivery, outcome: 'ack' })));
    await stolen.settle(theirs.map((delivery) => ({ delivery, outcome: 'ack' as const })));
    await connection.settle(got.slice(3).map((delivery) => ({ delivery, outcome: 'ack' as const })));
    await Promise.all([connection.close(), stolen.close()]);
    expect((await (await open()).inspect('batch')).ready).toBe(0);
  });

  test('what the service delivers twice is delivered twice', async () => {
    const connection = await open();
    await connection.publish([toQueue('double', 'm')]);
    server.double('double');
    const { got, arrived } = await consume(connection, 'double', 2);
    await arrived(2);
    expect(got.map(textOf)).toEqual(['m', 'm']);
    await connection.settle(got.map((delivery) => ({ delivery, outcome: 'ack' as const })));
    expect((await connection.inspect('double')).ready).toBe(0);
  });

  test.each(['cutBefore', 'cutAfter'] as const)(
    'a response that breaks (%s) is a loss, and the messages come again',
    async (kind) => {
      const queue = `cut-${kind}`;
      const connection = await open({ leaseMs: 1000 });
      await connection.publish([toQueue(queue, 'm')]);
      server.fault({ match: 'reservations', times: 1, kind });
      const { got } = await consume(connection, queue, 1);
      await expect(connection.closed).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
      expect(got).toEqual([]);
      const heir = await consume(await open(), queue, 1);
      await heir.arrived(1);
    },
  );

  test('a slow response is waited for, and nobody else gets the message meanwhile', async () => {
    const connection = await open();
    await connection.publish([toQueue('slow', 'm')]);
    server.fault({ match: 'reservations', times: 1, kind: 'slow', ms: 500 });
    const { got, arrived } = await consume(connection, 'slow', 1);
    await arrived(1);
    expect(got.map(textOf)).toEqual(['m']);
  });

  test('too large is refused with the limit, and the rest of the batch is kept', async () => {
    const connection = await open();
    const big = 'x'.repeat(250_000);
    const batch = [toQueue('large', 'a'), toQueue('large', big), toQueue('large', 'b')];
    const error = (await connection.publish(batch).catch((thrown: unknown) => thrown)) as PublishError;
    expect(error.failures.map(({ index }) => index)).toEqual([1]);
    expect(error.failures[0]?.error).toMatchObject({ code: 'ERR_TOO_LARGE', limitBytes: expect.any(Number) as number });
    expect((await connection.inspect('large')).ready).toBe(2);
  });

  test('many large messages go in several requests', async () => {
    const connection = await open();
    await connection.publish(Array.from({ length: 10 }, () => toQueue('many', 'x'.repeat(60_000))));
    expect((await connection.inspect('many')).ready).toBe(10);
  });

  test('a queue that is not there any more is asked for now and then only', async () => {
    const connection = await open();
    const fault = { match: 'gone/reservations', times: 1000, kind: 'status' as const, status: 404 };
    server.fault(fault);
    const startedAt = performance.now();
    await consume(connection, 'gone', 1);
    await vi.waitUntil(() => fault.times <= 997, { timeout: 50_000, interval: 5 });
    // Pauses of 250 ms and 500 ms.
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(740);
  });

  test('a queue that cannot be read holds up nothing of the others', async () => {
    const connection = await open();
    await connection.declare({ queues: [{ name: 'sound' }, { name: 'unsound' }] });
    await connection.publish([toQueue('sound', 'm')]);
    server.fault({ match: 'unsound/reservations', times: 1, kind: 'status', status: 503, retryAfter: 60 });
    const got: Delivery[] = [];
    await connection.consume(['sound', 'unsound'], (deliveries) => got.push(...deliveries), { prefetch: 10 });
    await vi.waitUntil(() => got.length > 0, { timeout: 50_000 });
    expect(got[0]?.deliveryCount).toBe(1);
    await connection.settle(got.map((delivery) => ({ delivery, outcome: 'ack' })));
  });

  test('a push queue cannot be consumed', async () => {
    await fetch(`http://127.0.0.1:${port}/3/projects/p/queues/pushed`, {
      method: 'PUT',
      headers: { authorization: 'OAuth secret' },
      body: JSON.stringify({ queue: { type: 'multicast' } }),
    });
    const connection = await open();
    await expect(connection.declare({ queues: [{ name: 'pushed' }] })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
    });
  });

  test('a wrong token is an AuthError that does not show it', async () => {
    const error: unknown = await open({}, url.replace('secret', 'notthis')).catch((thrown: unknown) => thrown);
    expect(isLovageError(error, 'ERR_AUTH')).toBe(true);
    expect(inspect(error, { depth: 10 })).not.toContain('notthis');
  });
});

function toQueue(queue: string, text: string) {
  const message: Message = {
    body: new TextEncoder().encode(text),
    contentType: 'text/plain',
    contentEncoding: 'utf-8',
    headers: {},
    properties: { deliveryMode: 2 },
  };
  return { exchange: '', routingKey: queue, message };
}
