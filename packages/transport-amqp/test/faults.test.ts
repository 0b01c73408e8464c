import { execFile } from 'node:child_process';
import { createServer, connect as connectTcp, type AddressInfo, type Socket } from 'node:net';
import { promisify } from 'node:util';
import { BrokerUrl, type Connection, isLovageError } from '@lovage/core/transport';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { connect, consumeInto, eventually, failureOf, newName, textMessage, textOf, toQueue } from './broker.ts';

const SERVICES = new URL('../../../scripts/services.mjs', import.meta.url).href;

interface Services {
  readonly env: Readonly<Record<string, string>>;
  readonly skipped: Readonly<Record<string, string>>;
  stop(): Promise<void>;
  restart(name: string): Promise<void>;
}

/** A server of our own: it is killed, and its memory limit lowered. */
async function startPrivateRabbit(): Promise<Services> {
  const { startServices } = (await import(SERVICES)) as { startServices: (names: string[]) => Promise<Services> };
  return startServices(['amqp-private']);
}

describe('RabbitMQ under faults', () => {
  let services: Services;
  let url: string;
  const open: Connection[] = [];

  beforeAll(async () => {
    // Its control environment is known only for a server that was started here.
    delete process.env['LOVAGE_TEST_AMQP_PRIVATE_URL'];
    services = await startPrivateRabbit();
    url = services.env['LOVAGE_TEST_AMQP_PRIVATE_URL'] ?? '';
  }, 120_000);

  afterEach(async () => {
    await Promise.all(open.splice(0).map((connection) => connection.close()));
  });

  afterAll(() => services.stop(), 30_000);

  async function connectHere(options: Parameters<typeof connect>[0] = {}, to: string = url): Promise<Connection> {
    const connection = await connect(options, to);
    open.push(connection);
    return connection;
  }

  async function control(...args: string[]): Promise<void> {
    const env = {
      ...process.env,
      ...(JSON.parse(services.env['LOVAGE_TEST_RABBITMQCTL_ENV'] ?? '{}') as Record<string, string>),
    };
    await promisify(execFile)('/usr/lib/rabbitmq/bin/rabbitmqctl', args, { env });
  }

  test('no confirmed message is lost when the broker is killed while publishing', {
    timeout: 120_000,
  }, async (context) => {
    if (services.skipped['amqp-private'] !== undefined) context.skip(services.skipped['amqp-private']);
    const queue = newName('killed');
    const first = await connectHere();
    await first.declare({ queues: [{ name: queue }] });
    const confirmed = new Set<string>();
    let rejected = 0;
    let next = 0;
    const writers = Array.from({ length: 500 }, async () => {
      for (;;) {
        const text = String(next++);
        const message = textMessage(text, { properties: { deliveryMode: 2 } });
        try {
          await first.publish([toQueue(queue, text, { message })]);
          confirmed.add(text);
        } catch {
          rejected++;
          return;
        }
      }
    });
    await eventually(async () => confirmed.size > 5000, 60_000);
    const lost = failureOf(first.closed);
    const restarted = services.restart('amqp-private');
    await Promise.all(writers);
    expect(await lost).toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    expect(rejected).toBe(500);
    await restarted;

    const second = await connectHere();
    await eventually(async () => (await second.inspect(queue)).ready >= confirmed.size);
    const seen = new Set<string>();
    const { ready } = await second.inspect(queue);
    const { inbox, consumer } = await consumeInto(second, [queue], 0);
    for (const delivery of await inbox.take(ready, 60_000)) seen.add(textOf(delivery));
    await second.settle(inbox.all.map((delivery) => ({ delivery, outcome: 'ack' as const })));
    await consumer.cancel();
    expect([...confirmed].filter((text) => !seen.has(text))).toEqual([]);
    // Beyond the confirmed ones only what was on its way at the kill.
    expect(seen.size - confirmed.size).toBeLessThanOrEqual(500);
  });

  test('a memory alarm blocks publishing, not consuming, and passes', { timeout: 60_000 }, async (context) => {
    if (services.skipped['amqp-private'] !== undefined) context.skip(services.skipped['amqp-private']);
    const queue = newName('alarm');
    const connection = await connectHere({ transportOptions: { blockedTimeoutMs: 300 } });
    await connection.declare({ queues: [{ name: queue }] });
    await connection.publish(Array.from({ length: 10 }, (_, index) => toQueue(queue, String(index))));
    const { inbox, consumer } = await consumeInto(connection, [queue], 2);
    const held = await inbox.take(2);
    await control('set_vm_memory_high_watermark', '0.0000001');
    try {
      // The server tells of the alarm when the first message comes in; the next ones are not even written.
      const outcomes = await Promise.allSettled(
        Array.from({ length: 3 }, (_, index) => connection.publish([toQueue(queue, `blocked${index}`)])),
      );
      for (const outcome of outcomes) {
        const error = (outcome as PromiseRejectedResult).reason as {
          failures: { error: unknown }[];
          retryable: boolean;
        };
        expect(isLovageError(error.failures[0]?.error, 'ERR_BLOCKED')).toBe(true);
        expect(error.retryable).toBe(true);
      }
      const start = performance.now();
      await failureOf(connection.publish([toQueue(queue, 'blocked at once')]));
      expect(performance.now() - start).toBeLessThan(10_000);
      await connection.settle(held.map((delivery) => ({ delivery, outcome: 'ack' as const })));
      for (let index = 2; index < 10; index++) {
        const delivery = await inbox.takeOne();
        await connection.settle([{ delivery: delivery, outcome: 'ack' }]);
      }
      await connection.inspect(queue);
      const patient = await connectHere({ transportOptions: { blockedTimeoutMs: 30_000, publishTimeoutMs: 30_000 } });
      const waiting = patient.publish(Array.from({ length: 2000 }, (_, index) => toQueue(queue, `patient${index}`)));
      await control('set_vm_memory_high_watermark', '0.4');
      await waiting;
      await connection.publish([toQueue(queue, 'again')]);
    } finally {
      await control('set_vm_memory_high_watermark', '0.4');
    }
    await consumer.cancel();
  });

  test('closing under an alarm does not hang', { timeout: 60_000 }, async (context) => {
    if (services.skipped['amqp-private'] !== undefined) context.skip(services.skipped['amqp-private']);
    const connection = await connectHere();
    await control('set_vm_memory_high_watermark', '0.0000001');
    try {
      const published = failureOf(connection.publish([toQueue(newName('x'), 'x')]));
      const start = performance.now();
      await connection.close();
      expect(performance.now() - start).toBeLessThan(20_000);
      expect(await published).toMatchObject({ code: 'ERR_PUBLISH' });
    } finally {
      await control('set_vm_memory_high_watermark', '0.4');
    }
  });

  test('a connection that the server closes is told to everything that waits', {
    timeout: 60_000,
  }, async (context) => {
    if (services.skipped['amqp-private'] !== undefined) context.skip(services.skipped['amqp-private']);
    const queue = newName('forced');
    const connection = await connectHere();
    await connection.declare({ queues: [{ name: queue }] });
    await connection.publish([toQueue(queue, 'x')]);
    const { inbox } = await consumeInto(connection, [queue], 1);
    const delivery = await inbox.takeOne();
    const lost = failureOf(connection.closed);
    await control('close_all_connections', 'test');
    expect(await lost).toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await expect(connection.settle([{ delivery: delivery, outcome: 'ack' }])).rejects.toMatchObject({
      code: 'ERR_CONNECTION_LOST',
    });
    expect(await failureOf(connection.publish([toQueue(queue, 'x')]))).toMatchObject({
      code: 'ERR_PUBLISH',
      retryable: true,
    });
  });

  test('a link that went silent is noticed within two heartbeats, and everything waiting is told', {
    timeout: 60_000,
  }, async (context) => {
    if (services.skipped['amqp-private'] !== undefined) context.skip(services.skipped['amqp-private']);
    const { port: serverPort = 0 } = new BrokerUrl(url);
    const link = await openSilenceableLink(serverPort);
    const queue = newName('silent');
    const connection = await connectHere({ heartbeatSeconds: 1 }, url.replace(`:${serverPort}`, `:${link.port}`));
    await connection.declare({ queues: [{ name: queue }] });
    await connection.publish([toQueue(queue, 'before')]);
    const { consumer } = await consumeInto(connection, [queue], 1);
    link.silence();
    const start = performance.now();
    const published = failureOf(connection.publish([toQueue(queue, 'into the void')]));
    expect(await failureOf(connection.closed)).toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(await published).toMatchObject({ code: 'ERR_PUBLISH', retryable: true });
    expect(await failureOf(consumer.done)).toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await connection.close();
    await link.close();
  });

  test('a connection survives many heartbeats of idling', { timeout: 60_000 }, async (context) => {
    if (services.skipped['amqp-private'] !== undefined) context.skip(services.skipped['amqp-private']);
    const connection = await connectHere({ heartbeatSeconds: 1 });
    const queue = newName('idle');
    await connection.declare({ queues: [{ name: queue }] });
    const { inbox } = await consumeInto(connection, [queue], 1);
    const late = await connectHere({ heartbeatSeconds: 1, transportOptions: { publishTimeoutMs: 5000 } });
    await failureOf(inbox.take(1, 5000));
    await late.publish([toQueue(queue, 'after idling')]);
    expect((await inbox.take(1)).map(textOf)).toEqual(['after idling']);
  });
});

/** A TCP link that can stop carrying bytes in both directions without closing. */
async function openSilenceableLink(
  serverPort: number,
): Promise<{ readonly port: number; silence(): void; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  let silent = false;
  const server = createServer((client) => {
    const upstream = connectTcp(serverPort, '127.0.0.1');
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on('error', () => {});
      from.on('data', (bytes) => {
        if (!silent) to.write(bytes);
      });
      from.on('close', () => {
        if (!silent) to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    silence: () => {
      silent = true;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
