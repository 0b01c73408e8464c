import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, type ServerProcess } from '@lovage/conformance';
import {
  BrokerUrl,
  type Connection,
  type ConnectOptions,
  type Delivery,
  type Logger,
  type Publication,
  silentLogger,
} from '@lovage/core/transport';
import { natsTransport } from '@lovage/transport-nats';
import { jetstream, jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { connect as connectRaw, headers, type NatsConnection, nkeys } from '@nats-io/transport-node';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { consume, texts } from '../../conformance/test/consuming.ts';
import { hasNatsServer, startNats } from '../../nats/test/servers.ts';

const message = {
  body: Buffer.from('{"a": 1}'),
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  headers: { id: 'é' },
  properties: { correlationId: 'c' },
};

/** What Kombu's virtual transports send for a message. */
const ENVELOPE = JSON.stringify({
  body: Buffer.from('[1, 2]').toString('base64'),
  'content-encoding': 'utf-8',
  'content-type': 'application/json',
  headers: { task: 't' },
  properties: {
    correlation_id: 'c',
    delivery_mode: 2,
    delivery_info: { exchange: '', routing_key: 'q' },
    priority: 0,
    body_encoding: 'base64',
    delivery_tag: '5c3a',
  },
});

type KeyPair = ReturnType<typeof nkeys.createUser>;

/** A claim as NATS' decentralised accounts have it: a JWT signed by an nkey. */
function sign(issuer: KeyPair, subject: KeyPair, claim: object): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const payload = {
    jti: subject.getPublicKey(),
    iat: 1_700_000_000,
    iss: issuer.getPublicKey(),
    name: 'test',
    sub: subject.getPublicKey(),
    nats: { version: 2, ...claim },
  };
  const text = `${encode({ typ: 'JWT', alg: 'ed25519-nkey' })}.${encode(payload)}`;
  return `${text}.${Buffer.from(issuer.sign(Buffer.from(text))).toString('base64url')}`;
}

const push = (queue: string, ...bodies: string[]): Publication[] =>
  bodies.map((body) => ({ exchange: '', routingKey: queue, message: { ...message, body: Buffer.from(body) } }));

describe.skipIf(!hasNatsServer)('the NATS transport', () => {
  let server: ServerProcess;
  let raw: NatsConnection;
  let manager: JetStreamManager;
  const open: Connection[] = [];
  const others: ServerProcess[] = [];

  beforeAll(async () => {
    server = await startNats();
    raw = await connectRaw({ servers: `127.0.0.1:${server.port}` });
    manager = await jetstreamManager(raw);
  });
  afterAll(async () => {
    await raw?.close();
    await server?.stop();
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((connection) => connection.close()));
    await Promise.all(others.splice(0).map((other) => other.stop()));
    for await (const name of manager.streams.names()) await remove(name);
  });

  /** The server removes files in the background: a stream made again at once would find its old messages. */
  async function remove(stream: string): Promise<void> {
    await manager.streams.purge(stream);
    await manager.streams.delete(stream);
  }

  async function connect(options: ConnectOptions = {}, url = `nats://127.0.0.1:${server.port}`): Promise<Connection> {
    const connection = await natsTransport.connect(new BrokerUrl(url), options);
    open.push(connection);
    return connection;
  }

  /** A server of its own, for one test. */
  async function start(...args: Parameters<typeof startNats>): Promise<ServerProcess> {
    const other = await startNats(...args);
    others.push(other);
    return other;
  }

  const warnings: string[] = [];
  const logger: Logger = { ...silentLogger, warn: (_, text) => warnings.push(text) };
  afterEach(() => {
    warnings.length = 0;
  });

  describe('layout', () => {
    test("stream, subject and consumer are Kombu's, and a message is one envelope", async () => {
      const connection = await connect();
      await connection.declare({ queues: [{ name: 'q' }] });
      await connection.publish(push('q', 'x'));
      const { config } = await manager.streams.info('STREAM_q');
      expect(config).toMatchObject({
        subjects: ['q', 'lovage.delayed.q.*'],
        retention: 'workqueue',
        storage: 'file',
        allow_msg_schedules: true,
      });
      const stored = await manager.streams.getMessage('STREAM_q', { last_by_subj: 'q' });
      const envelope = stored?.json<{ properties: { delivery_tag: string } }>();
      expect(envelope).toMatchObject({
        body: Buffer.from('x').toString('base64'),
        'content-type': 'application/json',
        properties: { delivery_info: { exchange: '', routing_key: 'q' }, body_encoding: 'base64' },
      });
      const { take } = await consume(connection, ['q']);
      await take(1);
      expect((await manager.consumers.info('STREAM_q', 'CONSUMER_q')).config).toMatchObject({
        filter_subject: 'q',
        ack_policy: 'explicit',
        ack_wait: 30e9,
        max_deliver: -1,
        max_ack_pending: -1,
        max_waiting: 512,
      });
    });

    test('names with dots, patterns and spaces are queues as any other', async () => {
      const connection = await connect();
      const names = ['a.b', 'a b', 'a.*', '>', 'x@h.celery.pidbox'];
      await connection.declare({ queues: names.map((name) => ({ name })) });
      await connection.publish(names.flatMap((name) => push(name, name)));
      const { take } = await consume(connection, names);
      expect((await take(names.length)).map(({ queue }) => queue).sort()).toEqual([...names].sort());
    });

    test('what Python sends is read, as an envelope and with its metadata in headers', async () => {
      const connection = await connect();
      await connection.declare({ queues: [{ name: 'q' }] });
      const js = jetstream(raw);
      await js.publish('q', ENVELOPE);
      const metadata = headers();
      metadata.set('Kombu-Content-Type', 'application/json');
      metadata.set('Kombu-Content-Encoding', 'utf-8');
      metadata.set('Kombu-Headers', '{"task": "t"}');
      metadata.set('Kombu-Properties', '{"body_encoding": "base64", "correlation_id": "c", "delivery_tag": "1"}');
      await js.publish('q', Buffer.from('[1, 2]').toString('base64'), { headers: metadata });
      const { take } = await consume(connection, ['q']);
      const both = await take(2);
      expect(texts(both)).toEqual(['[1, 2]', '[1, 2]']);
      for (const { message: one } of both) {
        expect(one).toMatchObject({ contentType: 'application/json', properties: { correlationId: 'c' } });
        expect(one.headers['task']).toBe('t');
      }
    });

    test("a stream and a consumer of Kombu's making are used, and brought to what is needed", async () => {
      await manager.streams.add({ name: 'STREAM_q', subjects: ['q'], retention: 'workqueue', storage: 'memory' });
      await manager.consumers.add('STREAM_q', {
        durable_name: 'CONSUMER_q',
        filter_subject: 'q',
        ack_policy: 'explicit',
        ack_wait: 1e9,
        max_ack_pending: 5,
      });
      const connection = await connect({ logger });
      await connection.declare({ queues: [{ name: 'q' }] });
      await connection.publish([...push('q', 'now'), { exchange: '', routingKey: 'q', message, delayMs: 60_000 }]);
      const { take } = await consume(connection, ['q']);
      expect(texts(await take(1))).toEqual(['now']);
      expect((await manager.consumers.info('STREAM_q', 'CONSUMER_q')).config).toMatchObject({
        ack_wait: 30e9,
        max_ack_pending: -1,
      });
      expect(warnings.join()).toMatch(/memory storage/);
    });

    test('a stream that keeps what was acknowledged is refused', async () => {
      await manager.streams.add({ name: 'STREAM_q', subjects: ['q'] });
      const connection = await connect();
      await expect(connection.declare({ queues: [{ name: 'q' }] })).rejects.toMatchObject({
        code: 'ERR_PRECONDITION_FAILED',
      });
    });

    test('queues that go with their consumer make no stream until something is sent to them', async () => {
      const connection = await connect();
      await connection.declare({ queues: [{ name: 'reply', autoDelete: true, durable: false }] });
      await expect(manager.streams.info('STREAM_reply')).rejects.toThrow();
      await connection.publish(push('reply', 'x'));
      expect((await manager.streams.info('STREAM_reply')).config.storage).toBe('memory');
      const { consumer, take } = await consume(connection, ['reply']);
      await connection.settle((await take(1)).map((delivery) => ({ delivery, outcome: 'ack' })));
      await consumer.cancel();
      await expect(manager.streams.info('STREAM_reply')).rejects.toThrow();
    });

    test('bindings are known to every process, and those of temporary queues end with them', async () => {
      const here = await connect();
      // Another URL for the same server: processes share no table.
      const there = await connect({}, `nats://localhost:${server.port}`);
      const exchanges = [{ name: 'topic', type: 'topic' as const }];
      await here.declare({
        exchanges,
        queues: [{ name: 'a' }, { name: 'temporary', autoDelete: true }],
        bindings: [
          { exchange: 'topic', queue: 'a', routingKey: 'x.#' },
          { exchange: 'topic', queue: 'temporary', routingKey: 'y' },
        ],
      });
      await there.declare({ exchanges });
      await there.publish([
        { exchange: 'topic', routingKey: 'x.1', message },
        { exchange: 'topic', routingKey: 'y', message },
        { exchange: 'topic', routingKey: 'z', message },
      ]);
      const { take } = await consume(here, ['a', 'temporary']);
      expect((await take(2)).map(({ queue }) => queue).sort()).toEqual(['a', 'temporary']);
      const info = await manager.streams.info('LOVAGE_BINDINGS', { subjects_filter: '>' });
      expect(Object.keys(info.state.subjects ?? {})).toHaveLength(2);
      const ttls = await Promise.all(
        Object.keys(info.state.subjects ?? {}).map(async (subject) => {
          const stored = await manager.streams.getMessage('LOVAGE_BINDINGS', { last_by_subj: subject });
          return [stored?.json<{ queue: string }>().queue, stored?.header.get('Nats-TTL')];
        }),
      );
      expect(Object.fromEntries(ttls)).toEqual({ a: '', temporary: '60s' });
      // By a process that does not know what type the exchange has.
      const other = await connect({}, `nats://LOCALHOST:${server.port}`);
      await other.remove({ bindings: [{ exchange: 'topic', queue: 'a', routingKey: 'x.#' }] });
      await expect(
        there.publish([{ exchange: 'topic', routingKey: 'x.1', message, mandatory: true }]),
      ).rejects.toMatchObject({ failures: [{ error: { code: 'ERR_UNROUTABLE' } }] });
    });

    test("a fanout message is published on Kombu's subject", async () => {
      const connection = await connect();
      await connection.declare({
        exchanges: [{ name: 'celery.pidbox', type: 'fanout' }],
        queues: [{ name: 'box', autoDelete: true }],
        bindings: [{ exchange: 'celery.pidbox', queue: 'box', routingKey: '' }],
      });
      const { take } = await consume(connection, ['box']);
      raw.publish('celery.fanout.celery.pidbox', ENVELOPE);
      expect(texts(await take(1))).toEqual(['[1, 2]']);
      await expect(manager.streams.info('STREAM_box')).rejects.toThrow();
    });
  });

  describe('messages', () => {
    test('priorities have consumers of their own, where the queue asks for them', async () => {
      const connection = await connect();
      await connection.declare({ queues: [{ name: 'q', arguments: { 'x-max-priority': 9 } }, { name: 'plain' }] });
      for (const priority of [0, 9, 3, 6]) {
        await connection.publish([
          { exchange: '', routingKey: 'q', message: { ...message, properties: { priority } }, delayMs: 0 },
        ]);
      }
      const { take } = await consume(connection, ['q'], 1);
      const order: unknown[] = [];
      while (order.length < 4) {
        const [delivery] = await take(1);
        order.push(delivery?.message.properties.priority);
        await connection.settle([{ delivery: delivery as Delivery, outcome: 'ack' }]);
      }
      expect(order).toEqual([9, 6, 3, 0]);
      expect((await manager.streams.info('STREAM_q')).config.subjects).toContain('lovage.priority.*.q');
      expect((await manager.streams.info('STREAM_plain')).config.subjects).not.toContain('lovage.priority.*.plain');
    });

    test('a delayed message waits in the stream, counts as waiting, keeps its priority, and goes with a purge', async () => {
      const connection = await connect();
      await connection.declare({ queues: [{ name: 'q', arguments: { 'x-max-priority': 9 } }, { name: 'late' }] });
      await connection.publish([
        { exchange: '', routingKey: 'q', message: { ...message, properties: { priority: 9 } }, delayMs: 300 },
        { exchange: '', routingKey: 'late', message, delayMs: 60_000 },
        ...push('late', 'held', 'ready'),
      ]);
      expect(await connection.inspect('late')).toMatchObject({ ready: 3 });
      const { take: takeOne } = await consume(connection, ['late'], 1);
      const [held] = await takeOne(1);
      expect(await connection.purge('late')).toBe(2);
      expect((await manager.streams.info('STREAM_late')).state.messages).toBe(1);
      await connection.settle([{ delivery: held as Delivery, outcome: 'ack' }]);
      const { take } = await consume(connection, ['q']);
      expect((await take(1))[0]?.message.properties.priority).toBe(9);
    });

    test('a message that is too large names the limit of this server', async () => {
      const { port } = await start('max_payload: 2048');
      const connection = await connect({}, `nats://127.0.0.1:${port}`);
      expect(connection.capabilities.maxMessageBytes).toBe(2048);
      const failure = connection.publish(push('q', 'x'.repeat(2000), 'y'));
      await expect(failure).rejects.toMatchObject({
        failures: [{ index: 0, error: { code: 'ERR_TOO_LARGE', limitBytes: 2048 } }],
      });
      expect(await connection.inspect('q')).toMatchObject({ ready: 1 });
      // With the headers of its delay it is just too large.
      const almost = 'x'.repeat(1278); // 1704 characters in base64, and an envelope of about 300
      await expect(
        connection.publish(push('q', almost).map((publication) => ({ ...publication, delayMs: 5000 }))),
      ).rejects.toMatchObject({ failures: [{ index: 0, error: { code: 'ERR_TOO_LARGE', limitBytes: 2048 } }] });
    });

    test('a full stream refuses what is new, and keeps what it has', async () => {
      const connection = await connect({ transportOptions: { streamConfig: { max_msgs: 2 } } });
      expect(connection.capabilities.maxDelayMs).toBe(0);
      await expect(connection.publish(push('q', '1', '2', '3'))).rejects.toMatchObject({
        failures: [{ index: 2, error: { code: 'ERR_BLOCKED' } }],
      });
      const { take } = await consume(connection, ['q']);
      expect(texts(await take(2))).toEqual(['1', '2']);
    });

    test('a stream that somebody removed is made again by the next publish, and by a consumer', async () => {
      const connection = await connect();
      await connection.publish(push('q', '1'));
      await remove('STREAM_q');
      await connection.publish(push('q', '2'));
      const { take } = await consume(connection, ['q']);
      expect(texts(await take(1))).toEqual(['2']);
      await remove('STREAM_q');
      await connection.publish(push('q', '3'));
      expect(texts(await take(1))).toEqual(['3']);
    });

    test('what was given back counts as waiting', async () => {
      const connection = await connect();
      await connection.publish(push('q', '1', '2', '3'));
      const { consumer, take } = await consume(connection, ['q'], 3);
      const all = await take(3);
      await consumer.cancel();
      await connection.settle(all.slice(0, 2).map((delivery) => ({ delivery, outcome: 'requeue' })));
      expect(await connection.inspect('q')).toMatchObject({ ready: 2 });
      const again = await consume(connection, ['q'], 1);
      await again.take(1);
      expect(await connection.inspect('q')).toMatchObject({ ready: 1 });
    });
  });

  describe('the server', () => {
    test('killed and started again it has every message that was confirmed, delayed ones too', async () => {
      const other = await start();
      const url = `nats://127.0.0.1:${other.port}`;
      const first = await connect({}, url);
      await first.publish([
        ...push('q', ...Array.from({ length: 200 }, (_, index) => `${index}`)),
        ...push('q', 'late').map((publication) => ({ ...publication, delayMs: 1500 })),
      ]);
      await other.restart();
      await expect(first.closed).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
      const { take } = await consume(await connect({}, url), ['q'], 0);
      expect(new Set(texts(await take(201))).size).toBe(201);
    });

    test('without JetStream is an error that says how to get it', async () => {
      const { port } = await start('', { jetstream: false });
      await expect(connect({}, `nats://127.0.0.1:${port}`)).rejects.toThrow(/JetStream.*nats-server -js/);
    });

    test('the first of several that answers is taken', async () => {
      const dead = await freePort();
      const connection = await connect({}, `nats://127.0.0.1:${dead},127.0.0.1:${server.port}`);
      await connection.publish(push('q', 'x'));
    });
  });

  describe('who may come in', () => {
    test('user and password, a token, an nkey', async () => {
      const user = nkeys.createUser();
      const withUser = await start(`authorization { users: [{ user: u, password: "p@ss" }] }`);
      const withToken = await start(`authorization { token: "t0ken" }`);
      const withKey = await start(`authorization { users: [{ nkey: ${user.getPublicKey()} }] }`, {
        files: { seed: Buffer.from(user.getSeed()) },
      });
      await connect({}, `nats://u:p%40ss@127.0.0.1:${withUser.port}`);
      await connect({}, `nats://t0ken@127.0.0.1:${withToken.port}`);
      await connect({ transportOptions: { token: 't0ken' } }, `nats://127.0.0.1:${withToken.port}`);
      await connect({}, `nats://127.0.0.1:${withKey.port}?nkey_seed_file=${withKey.dir}/seed`);
      const refused = connect({}, `nats://u:hush@127.0.0.1:${withUser.port}`);
      await expect(refused).rejects.toMatchObject({ code: 'ERR_AUTH' });
      await expect(refused).rejects.not.toThrow(/hush/);
    });

    test('a file with the credentials of a decentralised account', async () => {
      const operator = nkeys.createOperator();
      const account = nkeys.createAccount();
      const system = nkeys.createAccount();
      const user = nkeys.createUser();
      const unlimited = { subs: -1, data: -1, payload: -1 };
      const storage = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
      const limits = { ...unlimited, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
      const accountJwt = sign(operator, account, { type: 'account', limits: { ...limits, ...storage } });
      const systemJwt = sign(operator, system, { type: 'account', limits });
      const userJwt = sign(account, user, { type: 'user', pub: {}, sub: {}, ...unlimited });
      const seed = Buffer.from(user.getSeed()).toString();
      const creds = [
        `-----BEGIN NATS USER JWT-----\n${userJwt}\n------END NATS USER JWT------\n`,
        `-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`,
      ].join('\n');
      const { port, dir } = await start(
        `operator: ${sign(operator, operator, { type: 'operator' })}
        system_account: ${system.getPublicKey()}
        resolver: MEMORY
        resolver_preload: {
          ${account.getPublicKey()}: ${accountJwt}
          ${system.getPublicKey()}: ${systemJwt}
        }`,
        { files: { 'user.creds': creds } },
      );
      const url = `nats://127.0.0.1:${port}`;
      const connection = await connect({ transportOptions: { credentialsFile: join(dir, 'user.creds') } }, url);
      await connection.publish(push('q', 'x'));
      await expect(connect({}, url)).rejects.toMatchObject({ code: 'ERR_AUTH' });
    });

    test('a user without the right to publish is told so at once', async () => {
      const { port } = await start(`authorization { users: [
        { user: admin, password: x }
        { user: u, password: p, permissions: { publish: ["$JS.>"], subscribe: ">" } }
      ] }`);
      const admin = await connect({}, `nats://admin:x@127.0.0.1:${port}`);
      await admin.declare({ queues: [{ name: 'q' }] });
      const connection = await connect({}, `nats://u:p@127.0.0.1:${port}`);
      await expect(connection.publish(push('q', 'x'))).rejects.toMatchObject({
        failures: [{ index: 0, error: { code: 'ERR_AUTH' } }],
      });
    });

    test('TLS is verified unless that is turned off', async () => {
      const dir = mkdtempSync(join(tmpdir(), 'lovage-nats-tls-'));
      const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
      const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
      const make = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', cert];
      execFileSync('openssl', [...make, ...subject], { stdio: 'ignore' });
      try {
        const { port } = await start('tls { cert_file: "{dir}/cert.pem", key_file: "{dir}/key.pem" }', {
          files: { 'cert.pem': readFileSync(cert), 'key.pem': readFileSync(key) },
        });
        const url = `tls+nats://127.0.0.1:${port}`;
        await expect(connect({}, url)).rejects.toMatchObject({ code: 'ERR_CONNECT', retryable: false });
        const connection = await connect({ useSsl: { ca_certs: cert } }, url);
        await connection.publish(push('q', 'x'));
        await connect({}, `nats://127.0.0.1:${port}?ssl_cert_reqs=none`);
        await expect(connect({ useSsl: { ca_certs: cert } }, `tls+nats://127.0.0.1:${server.port}`)).rejects.toThrow(
          /tls/i,
        );
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    });
  });
});
