import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrokerUrl, type ConnectOptions } from '@lovage/core/transport';
import { afterAll, describe, expect, test } from 'vitest';
import { readSettings } from './options.ts';

const dir = mkdtempSync(join(tmpdir(), 'lovage-nats-options-'));
afterAll(() => rmSync(dir, { recursive: true }));

const read = (url: string, options: ConnectOptions = {}) => readSettings(new BrokerUrl(url), options);

describe('URLs', () => {
  test('servers, user and password, token', () => {
    expect(read('nats://')).toMatchObject({ servers: [{ host: '127.0.0.1', port: 4222 }], tls: undefined });
    expect(read('nats://u:p%40@Host:5222')).toMatchObject({
      servers: [{ host: 'host', port: 5222 }],
      username: 'u',
      password: 'p@',
      token: undefined,
    });
    expect(read('nats://secret@a:1,b,[::1]:3/')).toMatchObject({
      servers: [
        { host: 'a', port: 1 },
        { host: 'b', port: 4222 },
        { host: '::1', port: 3 },
      ],
      username: undefined,
      token: 'secret',
    });
    expect(read('tls+nats://h').tls).toEqual({ rejectUnauthorized: true });
  });

  test('options in the query win', () => {
    const transportOptions = { domain: 'x', connection_wait_time_seconds: 9 };
    expect(read('nats://h?domain=hub&inbox_prefix=_I', { transportOptions })).toMatchObject({
      domain: 'hub',
      inboxPrefix: '_I',
      connectTimeoutMs: 9000,
    });
  });

  test('wrong ones say what is expected', () => {
    expect(() => read('nats://u:hush@h/vhost')).toThrow(/no virtual hosts.*nats:\/\/user:password@host:4222/);
    expect(() => read('nats://u:hush@h/vhost')).not.toThrow(/hush/);
    expect(() => read('nats://h:1:2')).toThrow(/cannot be read/);
    for (const url of ['nats://u:pw1@a:4222,u:pw2@b:4222', 'tls+nats://pw1@a,pw2@b:4222/']) {
      expect(() => read(url)).toThrow(/credentials for each.*Expected them once/);
      expect(() => read(url)).not.toThrow(/pw[12]/);
      expect(String(new BrokerUrl(url))).not.toMatch(/pw[12]/);
    }
    expect(() => read('nats://h?domian=x')).toThrow(/domain/);
  });
});

describe('options', () => {
  test('have defaults, and Kombu’s are taken', () => {
    expect(read('nats://')).toMatchObject({
      streamNamePrefix: 'STREAM_',
      consumerNamePrefix: 'CONSUMER_',
      subjectPrefix: '',
      leaseMs: 30_000,
      prioritySteps: [0, 3, 6, 9],
    });
    const transportOptions = { wait_time_seconds: 5, stream_name_prefix: 'x_', stream_config: { num_replicas: 3 } };
    expect(read('nats://', { transportOptions })).toMatchObject({
      streamNamePrefix: 'x_',
      streamConfig: { num_replicas: 3 },
    });
  });

  test.each([
    [{ streamConfig: { retention: 'limits' } }, /"retention", which Lovage sets itself/],
    [{ streamConfig: { discard: 'old' } }, /would drop the oldest/],
    [{ consumerConfig: { ack_wait: 1 } }, /"ack_wait"/],
    [{ subjectPrefix: 'shop' }, /"shop\."/],
    [{ prioritySteps: [1, 2] }, /begin with 0/],
    [{ natsRawBody: true }, /not supported for publishing/],
    [{ credentialsFile: '/nowhere/x.creds' }, /cannot be read/],
    [{ leasMs: 5 }, /leaseMs/],
  ])('%j is refused', (transportOptions, message) => {
    expect(() => read('nats://', { transportOptions })).toThrow(message);
  });

  test('files of credentials and TLS are read, under Python’s names', () => {
    const file = join(dir, 'pem');
    writeFileSync(file, 'SUSEED\n');
    expect(read(`nats://h?nkey_seed_file=${file}`).nkeySeed).toEqual(Buffer.from('SUSEED'));
    const useSsl = { ca_certs: file, certfile: file, keyfile: file, cert_reqs: 'none', server_hostname: 'n' };
    expect(read('nats://h', { useSsl }).tls).toMatchObject({
      ca: Buffer.from('SUSEED\n'),
      rejectUnauthorized: false,
      servername: 'n',
    });
    expect(read(`nats://h?ssl_cert_reqs=none`).tls).toEqual({ rejectUnauthorized: false });
    expect(() => read('nats://h', { useSsl: { cert_reqs: 'maybe' } })).toThrow(/required, optional, none/);
  });
});
