import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ServerProcess } from '@lovage/conformance';
import { BrokerUrl, parseBrokerUrls } from '@lovage/core/transport';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EndpointSettings, openRedis, readEndpoint, type RedisLink, RedisScript } from '../src/index.ts';
import { hasRedisServer, startRedis, startSentinel } from './servers.ts';

const open = (url: string, settings: EndpointSettings = {}): Promise<RedisLink> =>
  openRedis(readEndpoint(parseBrokerUrls(url)[0] as BrokerUrl, settings), { clientName: 'lovage test' });

describe.skipIf(!hasRedisServer)('a link', () => {
  let server: ServerProcess;
  let admin: RedisLink;
  let url: string;

  beforeAll(async () => {
    server = await startRedis(['--unixsocket', '{dir}/redis.sock']);
    url = `redis://127.0.0.1:${server.port}`;
    admin = await open(url);
    await admin.text('acl', ['setuser', 'joe', 'on', '>secret', '~*', '+@all', '-config']);
  });
  afterAll(async () => {
    admin?.close();
    await server?.stop();
  });

  test('commands, in order, as text or bytes', async () => {
    const link = await open(`${url}/3`);
    const [set, get, bytes, list] = await Promise.all([
      link.text('set', ['k', new Uint8Array([0xff, 0x00])]),
      link.text('incr', ['n']),
      link.bytes('get', ['k']),
      link.bytes('mget', ['k', 'none']),
    ]);
    expect([set, get]).toEqual(['OK', 1]);
    expect(bytes).toEqual(Buffer.from([0xff, 0]));
    expect(list).toEqual([Buffer.from([0xff, 0]), null]);
    expect(await admin.text('dbsize', [])).toBe(0);
    expect(await link.text('client', ['getname'])).toBe('lovage-test');
    link.close();
  });

  test('a database that does not exist is refused, not replaced by another', async () => {
    await expect(open(`${url}/99`)).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });

  test('wrong passwords and missing permissions are AuthError', async () => {
    await expect(open(`redis://joe:wrong@127.0.0.1:${server.port}`)).rejects.toMatchObject({ code: 'ERR_AUTH' });
    const link = await open(`redis://joe:secret@127.0.0.1:${server.port}`);
    await expect(link.text('config', ['get', 'save'])).rejects.toMatchObject({ code: 'ERR_AUTH' });
    link.close();
  });

  test('a killed connection rejects everything pending and tells of its loss once', async () => {
    const link = await open(url);
    const id = await link.text('client', ['id']);
    const pending = link.text('blpop', ['nothing', 0]);
    const outcome = expect(pending).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await admin.text('client', ['kill', 'id', String(id)]);
    await outcome;
    await expect(link.lost).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await expect(link.text('ping', [])).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
  });

  test('after close() every call is a ClosedError, and pending ones too', async () => {
    const link = await open(url);
    const pending = link.text('blpop', ['nothing', 0]);
    const outcome = expect(pending).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    link.close();
    link.close();
    await outcome;
    await expect(link.text('ping', [])).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });

  test('a server that is silent while a command waits is lost, idle or not', async () => {
    const frozen = await startRedis();
    const settings = { options: { socketTimeout: 300, healthCheckInterval: 100 } };
    const busy = await open(`redis://127.0.0.1:${frozen.port}`, settings);
    const idle = await open(`redis://127.0.0.1:${frozen.port}`, settings);
    process.kill(frozen.pid, 'SIGSTOP');
    const started = performance.now();
    await expect(busy.text('ping', [])).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await expect(idle.lost).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    expect(performance.now() - started).toBeLessThan(15_000);
    await frozen.stop();
  });

  test('an idle link stays', async () => {
    const link = await open(url, { options: { socketTimeout: 200, healthCheckInterval: 50 } });
    const pings = async (): Promise<number> =>
      Number(/cmdstat_ping:calls=(\d+)/.exec(String(await admin.text('info', ['commandstats'])))?.[1] ?? 0);
    const before = await pings();
    await expect.poll(pings).toBeGreaterThan(before + 5);
    expect(link.isLost).toBe(false);
    link.close();
  });

  test('a server that accepts and says nothing is a ConnectError in time', async () => {
    const sockets: Socket[] = [];
    const mute = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as { port: number };
    const opening = openRedis(readEndpoint(new BrokerUrl(`redis://127.0.0.1:${port}`)), { connectTimeoutMs: 200 });
    await expect(opening).rejects.toMatchObject({ code: 'ERR_CONNECT' });
    const abort = new AbortController();
    const aborted = openRedis(readEndpoint(new BrokerUrl(`redis://127.0.0.1:${port}`)), { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    for (const socket of sockets) socket.destroy();
    mute.close();
  });

  test('a server that became a replica ends the link', async () => {
    const replica = await startRedis();
    const link = await open(`redis://127.0.0.1:${replica.port}`);
    await link.text('replicaof', ['127.0.0.1', server.port]);
    await expect(link.text('set', ['k', 'v'])).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await expect(link.lost).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await replica.stop();
  });

  test('a script that the server forgot is sent again', async () => {
    const script = new RedisScript('return {KEYS[1], ARGV[1], 7}');
    expect(await script.run(admin, 1, ['k', 'a'])).toEqual([Buffer.from('k'), Buffer.from('a'), 7]);
    await admin.text('script', ['flush']);
    expect(await script.run(admin, 1, ['k', 'b'])).toEqual([Buffer.from('k'), Buffer.from('b'), 7]);
  });

  test('over a socket file', async () => {
    const link = await open(`redis+socket://${join(server.dir, 'redis.sock')}?virtual_host=2`);
    expect(String(await link.text('client', ['info']))).toMatch(/ db=2 /);
    link.close();
  });
});

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

describe.skipIf(!hasRedisServer || !hasOpenssl)('TLS', () => {
  let server: ServerProcess;
  let dir: string;
  let ca: string;

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'lovage-tls-test-'));
    ca = join(dir, 'cert.pem');
    const key = join(dir, 'key.pem');
    const made = spawnSync('openssl', [
      ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost'.split(' '),
      ...'-addext subjectAltName=DNS:localhost -keyout'.split(' '),
      key,
      '-out',
      ca,
    ]);
    expect(made.status, made.stderr.toString()).toBe(0);
    const files = ['--tls-cert-file', ca, '--tls-key-file', key, '--tls-ca-cert-file', ca];
    server = await startRedis(['--port', '0', '--tls-auth-clients', 'no', ...files], '--tls-port');
  });
  afterAll(async () => {
    await server?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  test('the certificate is verified', async () => {
    const url = `rediss://localhost:${server.port}`;
    await expect(open(url)).rejects.toMatchObject({ code: 'ERR_CONNECT', retryable: false });
    const link = await open(`${url}?ssl_ca_certs=${encodeURIComponent(ca)}`);
    expect(await link.text('ping', [])).toBe('PONG');
    link.close();
    const unverified = await open(`${url}?ssl_cert_reqs=none`);
    unverified.close();
    const byName = open(`rediss://127.0.0.1:${server.port}?ssl_ca_certs=${encodeURIComponent(ca)}`);
    await expect(byName).rejects.toMatchObject({ code: 'ERR_CONNECT' });
  });
});

describe.skipIf(!hasRedisServer)('Sentinel', () => {
  test('leads to the master, and to the new one after a failover', { timeout: 40_000 }, async () => {
    const master = await startRedis();
    const replica = await startRedis(['--replicaof', '127.0.0.1', String(master.port)]);
    const sentinel = await startSentinel('mymaster', master.port);
    const url = `sentinel://127.0.0.1:1;sentinel://127.0.0.1:${sentinel.port}`;
    const settings = { options: { masterName: 'mymaster' } };
    try {
      await expect(open(url, { options: { masterName: 'other' } })).rejects.toMatchObject({ code: 'ERR_CONNECT' });
      const first = await open(url, settings);
      await first.text('set', ['k', 'v']);
      await first.text('wait', [1, 10_000]);
      const watcher = await open(`redis://127.0.0.1:${sentinel.port}`);
      await expect
        .poll(async () => String(await watcher.text('sentinel', ['replicas', 'mymaster'])))
        .toContain(String(replica.port));
      process.kill(master.pid, 'SIGKILL');
      await expect(first.lost).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
      const isBack = async (): Promise<unknown> => {
        const link = await open(url, settings).catch(() => undefined);
        const value = await link?.text('set', ['k2', 'v2']).catch(() => undefined);
        link?.close();
        return value;
      };
      await expect.poll(isBack, { interval: 100 }).toBe('OK');
      watcher.close();
    } finally {
      for (const one of [sentinel, replica, master]) await one.stop();
    }
  });
});
