import { once } from 'node:events';
import { createServer } from 'node:net';
import { openFaultyLink, type ServerProcess } from '@lovage/conformance';
import { BrokerUrl, type Connection, type ConnectOptions, type Publication } from '@lovage/core/transport';
import { beanstalkTransport } from '@lovage/transport-beanstalk';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { consume, settle, texts } from '../../conformance/test/consuming.ts';
import { put, say } from './raw.ts';
import { hasBeanstalkd, startBeanstalkd } from './servers.ts';

const message = {
  body: Buffer.from('{"a": 1}'),
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  headers: { id: 'é' },
  properties: { correlationId: 'c' },
};

/** What Kombu 3.0 puts, with the priority where that version had it. */
const KOMBU_3 = Buffer.from(
  JSON.stringify({
    body: Buffer.from('[1, 2]').toString('base64'),
    'content-encoding': 'utf-8',
    'content-type': 'application/json',
    headers: {},
    properties: {
      body_encoding: 'base64',
      correlation_id: 'c',
      delivery_info: { priority: 0, routing_key: 'q', exchange: 'q' },
      delivery_mode: 2,
      delivery_tag: 1,
      reply_to: '',
    },
  }),
);

const push = (queue: string, ...bodies: string[]): Publication[] =>
  bodies.map((body) => ({ exchange: '', routingKey: queue, message: { ...message, body: Buffer.from(body) } }));

describe.skipIf(!hasBeanstalkd)('the Beanstalk transport', () => {
  let server: ServerProcess;
  const open: Connection[] = [];

  beforeAll(async () => {
    server = await startBeanstalkd();
  });
  afterAll(() => server?.stop());
  afterEach(async () => {
    await Promise.all(open.splice(0).map((connection) => connection.close()));
  });

  async function connect(options: ConnectOptions = {}, port = server.port): Promise<Connection> {
    const connection = await beanstalkTransport.connect(new BrokerUrl(`beanstalk://127.0.0.1:${port}`), options);
    open.push(connection);
    return connection;
  }

  const stats = async (tube: string, name: string): Promise<number> =>
    Number(new RegExp(`${name}: (\\d+)`).exec(await say(server.port, `stats-tube ${tube}\r\n`))?.[1]);

  test('a message is one envelope in the tube of its queue, and its priority is the job’s', async () => {
    const connection = await connect({ leaseMs: 45_000 });
    await connection.publish([
      { exchange: '', routingKey: 'layout', message: { ...message, properties: { priority: 7 } } },
    ]);
    const said = await say(server.port, 'use layout\r\npeek-ready\r\n');
    const envelope = JSON.parse(/\{.*\}/.exec(said)?.[0] ?? '') as { properties: object };
    expect(envelope).toMatchObject({ body: message.body.toString('base64'), properties: { priority: 7 } });
    const id = /FOUND (\d+)/.exec(said)?.[1];
    const job = await say(server.port, `stats-job ${id}\r\n`);
    expect(job).toMatch(/pri: 7\n/);
    expect(job).toMatch(/ttr: 45\n/);
    expect(await connection.purge('layout')).toBe(1);
  });

  test('what Kombu 3 put is read, and 0 is served first', async () => {
    await put(server.port, 'kombu', KOMBU_3);
    const connection = await connect();
    await connection.publish([
      { exchange: '', routingKey: 'kombu', message: { ...message, properties: { priority: 9 } } },
      { exchange: '', routingKey: 'kombu', message: { ...message, properties: { priority: 3 } } },
    ]);
    const { take } = await consume(connection, ['kombu'], 1);
    const order: unknown[] = [];
    while (order.length < 3) {
      const taken = await take(1);
      order.push(taken[0]?.message.properties.priority ?? texts(taken)[0]);
      await settle(connection, taken, 'ack');
    }
    expect(order).toEqual(['[1, 2]', 3, 9]);
  });

  test('queues of any name are consumed together', async () => {
    const connection = await connect();
    const names = ['w@h.celery.pidbox', 'a b', '-x', 'größe', 'default'];
    const { take } = await consume(connection, names);
    await connection.publish(names.flatMap((name) => push(name, name)));
    const all = await take(names.length);
    expect(all.map(({ queue }) => queue).sort()).toEqual([...names].sort());
    await settle(connection, all, 'ack');
  });

  test('a waiting consumer settles at once, and leaves nothing behind', async () => {
    const connection = await connect();
    const { take, consumer } = await consume(connection, ['busy']);
    const startedAt = performance.now();
    for (let turn = 0; turn < 20; turn++) {
      await connection.publish(push('busy', `${turn}`));
      const taken = await take(1);
      // Let the consumer go into its wait before it is disturbed.
      await expect.poll(() => stats('busy', 'current-waiting')).toBe(1);
      await settle(connection, taken, turn % 2 === 0 ? 'ack' : 'requeue');
      if (turn % 2 === 1) await settle(connection, await take(1), 'ack');
    }
    // Without waking up, each would take up to four seconds.
    expect(performance.now() - startedAt).toBeLessThan(25_000);
    await consumer.cancel();
    await connection.close();
    await expect.poll(() => say(server.port, 'list-tubes\r\n')).not.toMatch(/lovage\.wake/);
  });

  test('what a killed consumer left of its wake-ups is swept', async () => {
    await put(server.port, 'lovage.wake.dead', Buffer.from('lovage.wake.dead'));
    await consume(await connect(), ['any']);
    await expect.poll(() => say(server.port, 'list-tubes\r\n')).not.toMatch(/lovage\.wake\.dead/);
  });

  test('a job with a shorter lease than ours is kept as long as it runs', async () => {
    await put(server.port, 'short', KOMBU_3, 2);
    const connection = await connect({ leaseMs: 60_000 });
    const { take } = await consume(connection, ['short'], 1);
    const taken = await take(1);
    const reserved = () => stats('short', 'current-jobs-reserved');
    const until = performance.now() + 3000;
    while (performance.now() < until) {
      expect(await reserved()).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await settle(connection, taken, 'ack');
    expect(await reserved()).toBe(0);
  });

  test('delayed messages count, and go with a purge; held ones stay', async () => {
    const connection = await connect();
    await connection.publish([
      ...push('purged', 'held', 'ready'),
      ...push('purged', 'late', 'later').map((publication) => ({ ...publication, delayMs: 60_000 })),
    ]);
    expect(await connection.inspect('purged')).toMatchObject({ ready: 4 });
    const { take } = await consume(connection, ['purged'], 1);
    const held = await take(1);
    expect(await connection.purge('purged')).toBe(3);
    expect(await stats('purged', 'current-jobs-reserved')).toBe(1);
    await settle(connection, held, 'ack');
  });

  test('a message that is too large names the limit of this server', async () => {
    const small = await startBeanstalkd(['-z', '1000']);
    try {
      const connection = await connect({}, small.port);
      expect(connection.capabilities.maxMessageBytes).toBe(1000);
      await expect(connection.publish(push('q', 'x'.repeat(2000), 'y'))).rejects.toMatchObject({
        failures: [{ index: 0, error: { code: 'ERR_TOO_LARGE', limitBytes: 1000 } }],
      });
      expect(await connection.inspect('q')).toMatchObject({ ready: 1 });
    } finally {
      await small.stop();
    }
  });

  test('a server in drain mode takes no messages, and those it has are served to the end', async () => {
    const draining = await startBeanstalkd();
    try {
      // It cannot wake itself then; its waits are short with a short lease.
      const connection = await connect({ leaseMs: 3000 }, draining.port);
      await connection.publish(push('q', '1', '2'));
      const { take } = await consume(connection, ['q'], 5);
      const both = await take(2);
      draining.signal('SIGUSR1');
      await expect
        .poll(() => connection.publish(push('other', 'x')).catch((error: unknown) => error))
        .toMatchObject({ failures: [{ index: 0, error: { code: 'ERR_BLOCKED', retryable: true } }] });
      await settle(connection, both, 'ack');
      expect(await connection.inspect('q')).toMatchObject({ ready: 0 });
    } finally {
      await draining.stop();
    }
  });

  test('killed and started again with its binlog it has every message that was confirmed', async () => {
    const durable = await startBeanstalkd([], true);
    try {
      const first = await connect({}, durable.port);
      expect(first.capabilities.guarantee).toMatch(/with a binlog/);
      await first.publish([
        ...push('q', ...Array.from({ length: 100 }, (_, index) => `${index}`)),
        ...push('q', 'late').map((publication) => ({ ...publication, delayMs: 1000 })),
      ]);
      const held = await consume(first, ['q'], 5);
      held.consumer.done.catch(() => undefined);
      await held.take(5);
      await durable.restart();
      await expect(first.closed).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
      const { take } = await consume(await connect({}, durable.port), ['q'], 0);
      expect(new Set(texts(await take(101))).size).toBe(101);
    } finally {
      await durable.stop();
    }
    expect((await connect()).capabilities.guarantee).toMatch(/a restart of the server loses all/);
  });

  test('a connection that cannot get its link for fetching is lost', async () => {
    const link = await openFaultyLink({ host: '127.0.0.1', port: server.port });
    try {
      const connection = await connect({}, link.port);
      await connection.inspect('q');
      await link.refuse();
      const { consumer } = await consume(connection, ['q']);
      await expect(consumer.done).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
      await expect(connection.closed).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    } finally {
      await link.close();
    }
  });

  test('a server that dies during a purge fails the purge, and nothing else', async () => {
    const stats = '---\nversion: "1.13"\nmax-job-size: 65535\n';
    const dying = createServer((socket) => {
      socket.on('data', (chunk) => {
        if (chunk.toString().startsWith('stats\r\n')) socket.write(`OK ${stats.length}\r\n${stats}\r\n`);
        else socket.destroy();
      });
    }).listen(0, '127.0.0.1');
    await once(dying, 'listening');
    try {
      const connection = await connect({}, (dying.address() as { port: number }).port);
      // A rejection that nobody handles fails this file.
      await expect(connection.purge('q')).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    } finally {
      dying.close();
    }
  });

  test('who speaks another protocol is no broker', async () => {
    const other = createServer((socket) => {
      socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
      socket.on('error', () => undefined);
    }).listen(0, '127.0.0.1');
    await once(other, 'listening');
    try {
      await expect(connect({}, (other.address() as { port: number }).port)).rejects.toMatchObject({
        code: 'ERR_CONNECT',
      });
    } finally {
      other.close();
    }
  });
});
