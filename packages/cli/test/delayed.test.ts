import { join } from 'node:path';
import { Lovage } from '@lovage/core';
import type { Connection } from '@lovage/core/transport';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { endAll, type Running, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

const server = process.env.LOVAGE_TEST_AMQP_MANAGEMENT_URL;
const api = process.env.LOVAGE_TEST_AMQP_API_URL;
/** A virtual host of its own: delayed messages are counted for all of its queues together. */
const virtualHost = 'delayed';
const queue = 'mail';

/** What RabbitMQ keeps back in `celery_delayed_*`, to which no queue counts it. */
describe.skipIf(server === undefined || api === undefined)('messages that RabbitMQ delays', () => {
  const folder = projectFolder({}, ['core', 'transport-sql', 'transport-amqp']);
  const url = `${server?.replace(/\/*$/, '')}/${virtualHost}`;
  const sqlite = `sqla+sqlite:///${join(folder.path, 'moved.db')}`;
  let started: Running[] = [];

  async function ask(method: 'PUT' | 'DELETE', path: string, body?: object): Promise<void> {
    const { origin, username, password } = new URL(api as string);
    const response = await fetch(`${origin}/api/${path}`, {
      method,
      headers: {
        authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
        'content-type': 'application/json',
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    expect(response.ok, `${method} ${path}: ${response.status}`).toBe(true);
  }

  async function at<T>(broker: string, act: (connection: Connection) => Promise<T>): Promise<T> {
    // Its 28 queues take their time to declare.
    const brokerTransportOptions = broker === url ? { nativeDelayedDelivery: true, requestTimeoutMs: 60_000 } : {};
    const app = new Lovage('test', { broker, brokerTransportOptions, resolveFrom: folder.path });
    const link = app.connectBroker('read', { url: broker });
    try {
      return await act(await link.connection({ timeoutMs: 30_000 }));
    } finally {
      await link.close();
      await app.close();
    }
  }

  const delay = (connection: Connection, delayMs: number): Promise<void> =>
    connection.publish([
      {
        exchange: '',
        routingKey: queue,
        message: {
          body: Buffer.from('[[], {}, {}]'),
          contentType: 'application/json',
          contentEncoding: 'utf-8',
          headers: { task: 'tasks.mail', id: String(delayMs) },
          properties: {},
        },
        delayMs,
      },
    ]);

  const start = (...args: string[]): Running => {
    const running = startCommand(folder.path, args);
    started.push(running);
    return running;
  };
  const run = (...args: string[]): Running['ended'] => start('-b', url, ...args).ended;

  beforeAll(async () => {
    const permissions = { configure: '.*', write: '.*', read: '.*' };
    await ask('PUT', `vhosts/${virtualHost}`);
    await ask('PUT', `permissions/${virtualHost}/${new URL(api as string).username}`, permissions);
    await at(url, async (connection) => {
      await connection.declare({ queues: [{ name: queue }, { name: 'unused' }] });
      await delay(connection, 600_000);
    });
  }, 120_000);

  afterEach(async () => {
    await endAll(started);
    started = [];
  });
  afterAll(async () => {
    await ask('DELETE', `vhosts/${virtualHost}`);
    folder.remove();
  });

  test('are told before anything is moved, and by the exit code', async () => {
    const { code, out, err } = await start('migrate', url, sqlite, '-Q', queue, '-t', '0.1').ended;
    expect({ code, err }).toEqual({
      code: 1,
      err: 'Warning: The broker keeps back 1 message, of any of its queues, until their time (an ETA). They are not moved: call this again when they are due, or use -F.\n',
    });
    expect(out).toMatch(/^Moved 0 messages .*\n1 message of any queue is delayed at the source\.\n$/);
  }, 60_000);

  test('keep a queue that is to be deleted if it is empty, and are told where they do not count', async () => {
    const [kept, refused, listed] = await Promise.all([
      run('queues', 'delete', queue, '--if-empty', '-f'),
      run('amqp', 'queue.delete', queue, 'false', 'true'),
      run('queues', 'list', '-Q', queue),
    ]);
    const reason = '1 message for any queue waits for its time, maybe for this one';
    expect(kept).toMatchObject({ code: 1, out: `Kept mail: ${reason}.\n` });
    expect(refused).toMatchObject({ code: 1, err: `Error: The queue "mail" was not deleted: ${reason}.\n` });
    expect(listed).toMatchObject({ code: 0, err: expect.stringContaining('They are not counted above.') });
    const purged = await run('purge', '-f', '-Q', queue);
    expect(purged).toMatchObject({ code: 0, err: expect.stringContaining('They are not dropped.') });
  }, 60_000);

  test('are moved when they are due, as they were sent', async () => {
    const forever = start('migrate', url, sqlite, '-Q', queue, '-F');
    await forever.said('They are moved when they are due.');
    await at(url, (connection) => delay(connection, 1000));
    await at(sqlite, async (connection) => {
      await connection.declare({ queues: [{ name: queue }] });
      await expect
        .poll(() => connection.inspect(queue).then(({ ready }) => ready), { timeout: 50_000 })
        .toBeGreaterThanOrEqual(1);
      const { promise, resolve } = deferred();
      const consumer = await connection.consume([queue], ([first]) => resolve(first?.message.headers), { prefetch: 1 });
      expect(await promise).toEqual({ task: 'tasks.mail', id: '1000' });
      await consumer.cancel();
    });
    forever.child.kill('SIGTERM');
    expect((await forever.ended).code).toBe(0);
  }, 120_000);

  test('of nobody keep no queue that is unused; it is deleted in one step', async () => {
    expect(await run('amqp', 'queue.delete', 'unused', 'true')).toEqual({
      code: 0,
      out: '0 messages deleted.\nOK\n',
      err: '',
    });
    expect(await run('amqp', 'exchange.delete', 'no-such-exchange', 'true')).toMatchObject({ code: 0, out: 'OK\n' });
  }, 60_000);
});

function deferred(): { readonly promise: Promise<unknown>; readonly resolve: (value: unknown) => void } {
  let resolve!: (value: unknown) => void;
  const promise = new Promise((resolvePromise) => {
    resolve = resolvePromise;
  });
  return { promise, resolve };
}
