import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Lovage } from '@lovage/core';
import type { Connection, Delivery, Message } from '@lovage/core/transport';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { endAll, type Running, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

const redis = process.env.LOVAGE_TEST_REDIS_URL;
const amqp = process.env.LOVAGE_TEST_AMQP_URL;
const mark = randomUUID().slice(0, 8);
const queue = `move-${mark}`;

interface Report {
  readonly moved: number;
  readonly queues: Readonly<Record<string, number>>;
  readonly skipped: number;
  readonly failed: readonly { readonly task: string | null; readonly error: string }[];
  readonly left: Readonly<Record<string, number | null>>;
  readonly delayed: number | null;
  readonly missing: readonly string[];
}

const folder = projectFolder({}, ['core', 'transport-sql', 'transport-redis', 'transport-amqp']);
let started: Running[] = [];

afterEach(async () => {
  await endAll(started);
  started = [];
});
afterAll(() => folder.remove());

/** Leases are short, so that what a killed process held comes back soon. */
function migrate(...args: string[]): Running {
  const running = startCommand(folder.path, ['migrate', ...args], { env: { LOVAGE_LEASE_SECONDS: '1' } });
  started.push(running);
  return running;
}

/** Other tests delay messages on the same RabbitMQ: that is told, and is no failure of these. */
const DELAYED = /^Warning: The broker keeps back \d+ messages?, of any of its queues.*\n/m;

async function moved(...args: string[]): Promise<Report> {
  const { code, out, err } = await migrate(...args, '--json').ended;
  const report = JSON.parse(out) as Report;
  expect({ code, err: err.replace(DELAYED, '') }).toEqual({ code: report.delayed === 0 ? 0 : 1, err: '' });
  return report;
}

async function at<T>(url: string, act: (connection: Connection) => Promise<T>): Promise<T> {
  const app = new Lovage('test', { broker: url, resolveFrom: folder.path });
  const link = app.connectBroker('read', { url });
  try {
    return await act(await link.connection({ timeoutMs: 10_000 }));
  } finally {
    await link.close();
    await app.close();
  }
}

const sqlite = (name: string): string => `sqla+sqlite:///${join(folder.path, name)}`;

/** Takes all that waits, and leaves nothing. */
function drain(url: string, name: string, count: number): Promise<readonly Message[]> {
  return at(url, async (connection) => {
    const got: Message[] = [];
    let enough!: () => void;
    const all = new Promise<void>((resolve) => {
      enough = resolve;
    });
    const settling: Promise<void>[] = [];
    const consumer = await connection.consume(
      [name],
      (deliveries: readonly Delivery[]) => {
        got.push(...deliveries.map(({ message }) => message));
        settling.push(connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' as const }))));
        if (got.length >= count) enough();
      },
      { prefetch: 500 },
    );
    await all;
    await consumer.cancel();
    await Promise.all(settling);
    await connection.remove({ queues: [{ name }] });
    return got;
  });
}

function put(url: string, messages: readonly Message[], name = queue): Promise<void> {
  return at(url, async (connection) => {
    await connection.declare({ queues: [{ name }] });
    await connection.publish(messages.map((message) => ({ exchange: '', routingKey: name, message })));
  });
}

function sample(index: number): Message {
  const id = `${mark}-${index}`;
  return {
    body: Buffer.from([...Buffer.from(`[[${index}], {}, {}]`), index % 256, 0, 255]),
    contentType: 'application/json',
    contentEncoding: 'binary',
    headers: {
      lang: 'py',
      task: `tasks.t${index % 2}`,
      id,
      root_id: id,
      retries: index % 3,
      eta: index % 5 === 0 ? '2031-01-02T03:04:05.678901+00:00' : null,
      expires: index % 7 === 0 ? '2032-01-02T03:04:05+00:00' : null,
      timelimit: [null, 30],
      argsrepr: `(${index},)`,
      ...(index % 2 === 0 ? { compression: 'application/x-gzip' } : {}),
      'x-own': { nested: ['\u00e4', 1.5, null] },
    },
    properties: {
      correlationId: id,
      replyTo: 'somebody',
      deliveryMode: 2,
      priority: index % 10,
      ...(index % 4 === 0 ? { expiration: '86400000' } : {}),
    },
  };
}

const byId = (messages: readonly Message[]): ReadonlyMap<string, unknown> =>
  new Map(
    messages.map((message) => [
      message.headers['id'] as string,
      { ...message, body: Buffer.from(message.body).toString('hex'), headers: { ...message.headers } },
    ]),
  );

const COUNT = 1500;
const WINDOW = 50;

describe.skipIf(redis === undefined || amqp === undefined)('between brokers, killed on the way', () => {
  test('from Redis over SQLite and RabbitMQ back to Redis: nothing is lost or changed', async () => {
    const places = [redis as string, sqlite('between.db'), amqp as string, redis as string];
    const samples = Array.from({ length: COUNT }, (_, index) => sample(index));
    const expected = byId(samples);
    await put(places[0] as string, samples);
    let present: readonly Message[] = samples;
    for (const [index, source] of places.slice(0, -1).entries()) {
      const destination = places[index + 1] as string;
      const target = `${queue}-${index}`;
      const from = index === 0 ? queue : `${queue}-${index - 1}`;
      const args = [source, destination, '-Q', `${from}:${target}`, '--window', String(WINDOW)];
      const killed = migrate(...args, '-n', String(COUNT / 2), '-F');
      await at(destination, async (connection) => {
        await connection.declare({ queues: [{ name: target }] });
        await expect
          .poll(() => connection.inspect(target).then(({ ready }) => ready), { interval: 5 })
          .toBeGreaterThan(COUNT / 10);
      });
      killed.child.kill('SIGKILL');
      await killed.ended;
      await moved(...args, '-t', '2');
      const count = await at(destination, (connection) => connection.inspect(target).then(({ ready }) => ready));
      expect(count).toBeGreaterThanOrEqual(present.length);
      expect(count).toBeLessThanOrEqual(present.length + 2 * WINDOW);
      present = Array.from({ length: count });
    }
    const last = `${queue}-2`;
    const arrived = await drain(places[3] as string, last, present.length);
    const found = byId(arrived);
    expect([...found.keys()].toSorted()).toEqual([...expected.keys()].toSorted());
    for (const [id, message] of found) expect(message).toEqual(expected.get(id));
    await at(amqp as string, (connection) => connection.remove({ queues: [{ name: `${queue}-1` }] }));
    const none = await migrate(amqp as string, sqlite('none.db'), '-Q', `none-${mark}`, '--json').ended;
    expect(none.code).toBe(1);
    expect(JSON.parse(none.out)).toMatchObject({ moved: 0, missing: [`none-${mark}`] });
  }, 60_000);
});

test('a limit, tasks, a copy; what is asked for is moved and the rest stays', async () => {
  const [source, destination] = [sqlite('a.db'), sqlite('b.db')];
  await put(
    source,
    Array.from({ length: 10 }, (_, index) => sample(index)),
  );
  expect(await moved(source, destination, '-Q', queue, '--copy', '-t', '0.3')).toMatchObject({
    moved: 10,
    left: { [queue]: 10 },
  });
  expect((await drain(destination, queue, 10)).length).toBe(10);
  expect(await moved(source, destination, '-Q', queue, '-T', 'tasks.t1', '-t', '0.3')).toMatchObject({
    moved: 5,
    skipped: 5,
    failed: [],
    left: { [queue]: 5 },
  });
  expect(await moved(source, destination, '-Q', queue, '-n', '3', '-a', '-t', '0.3')).toMatchObject({
    moved: 3,
    queues: { [queue]: 3 },
    left: { [queue]: 2 },
  });
  const { code, out } = await migrate(source, destination, '-Q', queue, '-t', '0.3').ended;
  expect(code).toBe(0);
  expect(out).toMatch(/^Moved 2 messages from sqla\+sqlite:.*a\.db to sqla\+sqlite:.*b\.db\.\n {2}move-\w+: 2\n$/);
});
