import { randomUUID } from 'node:crypto';
import {
  type BackendOptions,
  BackendUrl,
  type ResultBackend,
  type ResultCodec,
  type TaskMeta,
} from '@lovage/core/backend';
import { memoryTransport } from '@lovage/core/memory';
import {
  BrokerUrl,
  type Connection,
  ConnectionSupervisor,
  isLovageError,
  type Transport,
} from '@lovage/core/transport';
import { backendConformance, type FaultyLink, openFaultyLink } from '@lovage/conformance';
import { amqpTransport } from '@lovage/transport-amqp';
import { afterEach, describe, expect, test } from 'vitest';
import { rpcBackend } from '../src/index.ts';

const rabbitUrl = process.env['LOVAGE_TEST_AMQP_URL'];
if (rabbitUrl === undefined && process.env['CI'] === 'true')
  throw new Error('LOVAGE_TEST_AMQP_URL is not set. CI must test against RabbitMQ.');
const describeWithRabbit = rabbitUrl === undefined ? describe.skip : describe;
const url = rabbitUrl ?? 'amqp://';

const json: ResultCodec = {
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  encode: (value) => JSON.stringify(value),
  decode: (data) => JSON.parse(typeof data === 'string' ? data : Buffer.from(data).toString()) as unknown,
};

const closers: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

interface Party {
  readonly oid: string;
  readonly backend: ResultBackend;
  readonly broker: () => Promise<Connection>;
  readonly logged: { readonly message: string; readonly fields: Readonly<Record<string, unknown>> }[];
}

interface PartyOptions {
  readonly transport?: Transport;
  readonly broker?: string;
  readonly settings?: Record<string, unknown>;
  readonly expiresSeconds?: number;
}

/** A process that sends tasks or runs them: a connection and a backend of its own. */
async function open(
  scheme: 'rpc' | 'amqp',
  { transport = amqpTransport, broker = url, settings = {}, expiresSeconds = 60 }: PartyOptions = {},
): Promise<Party> {
  const supervisor = new ConnectionSupervisor({ urls: [new BrokerUrl(broker)], transport: () => transport });
  const logged: { message: string; fields: Readonly<Record<string, unknown>> }[] = [];
  const log = (fields: Readonly<Record<string, unknown>>, message: string): void => {
    logged.push({ fields, message });
  };
  const oid = randomUUID();
  const options: BackendOptions = {
    settings,
    expiresSeconds,
    oid,
    codec: json,
    brokerConnection: () => supervisor.connection({ timeoutMs: 10_000 }),
    logger: { debug() {}, info: log, warn: log, error: log },
  };
  const backend = await rpcBackend.open(new BackendUrl(`${scheme}://`), options);
  closers.push(
    () => supervisor.close(),
    () => backend.close(),
  );
  return { oid, backend, broker: options.brokerConnection, logged };
}

function meta(taskId: string, status = 'SUCCESS', result: unknown = 42): TaskMeta {
  return { task_id: taskId, status, result, traceback: null, children: [], date_done: '2026-01-01T00:00:00+00:00' };
}

/** Resolves with the first final state. */
async function resultOf(backend: ResultBackend, taskId: string): Promise<TaskMeta> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    return await new Promise<TaskMeta>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`No result of ${taskId} within 50 s.`)), 50_000);
      const see = (state: TaskMeta | undefined): void => {
        if (state !== undefined && ['SUCCESS', 'FAILURE'].includes(state.status)) resolve(state);
      };
      backend
        .subscribe([taskId], see)
        .then(() => backend.load([taskId]))
        .then(([state]) => see(state), reject);
    });
  } finally {
    clearTimeout(timer);
  }
}

describe('over the memory broker', () => {
  test('a result reaches the process that asked', async () => {
    const broker = `memory://${randomUUID()}`;
    const client = await open('rpc', { transport: memoryTransport, broker });
    const worker = await open('rpc', { transport: memoryTransport, broker });
    await client.backend.expect(['t1']);
    await worker.backend.store([{ meta: meta('t1'), replyTo: client.oid, correlationId: 't1' }]);
    expect(await resultOf(client.backend, 't1')).toMatchObject({ task_id: 't1', status: 'SUCCESS', result: 42 });
  });
});

describeWithRabbit('rpc:// over RabbitMQ', () => {
  backendConformance({
    test,
    backend: rpcBackend,
    url: 'rpc://',
    broker: { transport: amqpTransport, url },
    defaultPort: 5672,
  });

  test('every state reaches the process that asked, in order, and nobody else', async () => {
    const [client, stranger, worker] = await Promise.all([open('rpc'), open('rpc'), open('rpc')]);
    await Promise.all([client.backend.expect(['t1']), stranger.backend.expect(['t2'])]);
    const heard: string[] = [];
    await client.backend.subscribe(['t1'], ({ status }) => heard.push(status));
    for (const status of ['STARTED', 'RETRY', 'SUCCESS']) {
      await worker.backend.store([{ meta: meta('t1', status), replyTo: client.oid, correlationId: 't1' }]);
    }
    await resultOf(client.backend, 't1');
    expect(heard).toEqual(['STARTED', 'RETRY', 'SUCCESS']);
    expect(await stranger.backend.load(['t1'])).toEqual([undefined]);
    expect(await client.backend.load(['t0', 't1'])).toMatchObject([undefined, { status: 'SUCCESS' }]);
  });

  test('nothing is sent where nobody waits, and a vanished client is no error', async () => {
    const worker = await open('rpc');
    await worker.backend.store([{ meta: meta('t1') }, { meta: meta('t2'), replyTo: '' }]);
    expect(worker.logged).toEqual([]);
    await worker.backend.store([{ meta: meta('t3'), replyTo: randomUUID(), correlationId: 't3' }]);
    expect(worker.logged).toMatchObject([
      { message: 'Nobody waits for a result', fields: { taskId: 't3', unroutable: 1 } },
    ]);
  });

  test('a result that cannot be encoded rejects, and its neighbours arrive', async () => {
    const [client, worker] = await Promise.all([open('rpc'), open('rpc')]);
    await client.backend.expect(['ok', 'bad']);
    const writes = [
      { meta: meta('bad', 'SUCCESS', 1n), replyTo: client.oid },
      { meta: meta('ok'), replyTo: client.oid },
    ];
    await expect(worker.backend.store(writes)).rejects.toThrow('BigInt');
    expect(await resultOf(client.backend, 'ok')).toMatchObject({ result: 42 });
  });

  test('what is no result is dropped and logged, and the next one arrives', async () => {
    const [client, worker] = await Promise.all([open('rpc'), open('rpc')]);
    await client.backend.expect(['t1']);
    const broker = await worker.broker();
    for (const [contentType, text] of [
      ['application/json', '{'],
      ['application/json', '[]'],
      ['application/x-python-serialize', 'cos\nsystem\n'],
    ] as const) {
      const message = { body: Buffer.from(text), contentType, contentEncoding: 'utf-8', headers: {}, properties: {} };
      await broker.publish([{ exchange: '', routingKey: client.oid, message, mandatory: true }]);
    }
    await worker.backend.store([{ meta: meta('t1'), replyTo: client.oid }]);
    await resultOf(client.backend, 't1');
    expect(client.logged.map(({ message }) => message)).toEqual(
      Array.from({ length: 3 }, () => 'A result could not be read and was dropped'),
    );
  });

  test('results that are sent while the client has no connection arrive when it is back', async () => {
    const { port = 5672, host } = new BrokerUrl(url);
    const link: FaultyLink = await openFaultyLink({ host, port });
    closers.push(() => link.close());
    const [client, worker] = await Promise.all([
      open('rpc', { broker: url.replace(`:${port}`, `:${link.port}`) }),
      open('rpc'),
    ]);
    await client.backend.expect(['before', 'during', 'after']);
    await worker.backend.store([{ meta: meta('before'), replyTo: client.oid }]);
    await resultOf(client.backend, 'before');
    await link.refuse();
    link.cut();
    await worker.backend.store([{ meta: meta('during'), replyTo: client.oid }]);
    await link.resume();
    expect(await resultOf(client.backend, 'during')).toMatchObject({ status: 'SUCCESS' });
    await worker.backend.store([{ meta: meta('after'), replyTo: client.oid }]);
    expect(await resultOf(client.backend, 'after')).toMatchObject({ status: 'SUCCESS' });
  });

  test('closing removes the reply queue, and is the end', async () => {
    const [client, other] = await Promise.all([open('rpc'), open('rpc')]);
    await client.backend.expect(['t1']);
    const broker = await other.broker();
    await broker.inspect(client.oid);
    await Promise.all([client.backend.close(), client.backend.close()]);
    await expect(broker.inspect(client.oid)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    await expect(client.backend.load(['t1'])).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await expect(client.backend.saveGroup('g', [])).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' });
  });
});

describeWithRabbit('amqp:// over RabbitMQ, one queue per task', () => {
  test('any process can read a result, once', async () => {
    const [client, other, worker] = await Promise.all([open('amqp'), open('amqp'), open('amqp')]);
    const taskId = randomUUID();
    await worker.backend.store([{ meta: meta(taskId, 'STARTED') }]);
    await worker.backend.store([{ meta: meta(taskId) }]);
    expect(await other.backend.load([taskId])).toMatchObject([{ status: 'SUCCESS', result: 42 }]);
    expect(await other.backend.load([taskId])).toMatchObject([{ status: 'SUCCESS' }]);
    expect(await client.backend.load([taskId])).toEqual([undefined]);
  });

  test('a waiting process hears of it, and the queue goes with its reader', async () => {
    const [client, worker] = await Promise.all([open('amqp'), open('amqp')]);
    const taskIds = [randomUUID(), randomUUID()];
    const heard = new Map<string, string>();
    let complete!: () => void;
    const all = new Promise<void>((resolve) => {
      complete = resolve;
    });
    const subscription = await client.backend.subscribe(taskIds, ({ task_id: taskId, status }) => {
      heard.set(taskId, status);
      if (heard.size === 2) complete();
    });
    await worker.backend.store(taskIds.map((taskId) => ({ meta: meta(taskId) })));
    await all;
    subscription.unsubscribe();
    const broker = await worker.broker();
    const name = (taskIds[0] as string).replaceAll('-', '');
    for (let tries = 0; ; tries++) {
      try {
        await broker.inspect(name);
      } catch (error) {
        if (isLovageError(error, 'ERR_NOT_FOUND')) break;
        throw error;
      }
      if (tries > 500) throw new Error('The queue is still there.');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  });

  test('forgetting removes the queue', async () => {
    const [client, worker] = await Promise.all([open('amqp'), open('amqp')]);
    const taskId = randomUUID();
    await worker.backend.store([{ meta: meta(taskId) }]);
    await client.backend.forget([taskId]);
    expect(await client.backend.load([taskId])).toEqual([undefined]);
  });
});
