import { readFileSync } from 'node:fs';
import { BrokerUrl, type ConnectOptions } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import { OPTION_NAMES, readSettings } from './options.ts';

const read = (url: string, options: ConnectOptions = {}): ReturnType<typeof readSettings> =>
  readSettings(new BrokerUrl(url), options);

describe('broker URLs', () => {
  test.each([
    ['amqp://', { host: '127.0.0.1', port: 5672, virtualHost: '/', username: 'guest', password: 'guest' }],
    ['amqp://localhost', { host: '127.0.0.1', virtualHost: '/' }],
    [
      'amqp://u:p%40@Rabbit.Example:5673/v',
      { host: 'rabbit.example', port: 5673, virtualHost: 'v', username: 'u', password: 'p@' },
    ],
    ['amqp://h/', { virtualHost: '/' }],
    ['amqp://h//', { virtualHost: '/' }],
    ['amqp://h/%2F', { virtualHost: '/' }],
    ['amqp://h//v', { virtualHost: '/v' }],
    ['amqp://h/50%25', { virtualHost: '50%' }],
    ['amqp://[::1]:5672/', { host: '::1' }],
    ['amqp://u@h', { username: 'u', password: 'guest' }],
    ['amqps://h', { port: 5671 }],
    ['amqp://h?ssl=1', { port: 5671 }],
    [
      'amqp://h?heartbeat=5&connect_timeout=3&login_method=AMQPLAIN',
      { heartbeatSeconds: 5, connectTimeoutMs: 3000, loginMethod: 'AMQPLAIN' },
    ],
  ])('%s', async (url, expected) => {
    expect(await read(url)).toMatchObject(expected);
  });

  test('have no other options', async () => {
    await expect(read('amqp://h?hartbeat=5')).rejects.toThrow('Did you mean "heartbeat"?');
    await expect(read('amqp://h?heartbeat=often')).rejects.toThrow('Expected seconds');
    await expect(read('amqp://h?login_method=MAGIC')).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });
});

describe('transport options', () => {
  test('are read in both spellings, with defaults', async () => {
    expect(await read('amqp://')).toMatchObject({
      publishTimeoutMs: 10_000,
      publishWindow: 1000,
      heartbeatSeconds: 20,
      countRedeliveries: true,
    });
    expect(
      await read('amqp://', { transportOptions: { publish_window: 7, blockedTimeoutMs: 1, confirm_publish: true } }),
    ).toMatchObject({
      publishWindow: 7,
      blockedTimeoutMs: 1,
    });
  });

  test('that are unknown or wrong are refused', async () => {
    await expect(read('amqp://', { transportOptions: { publishWindows: 7 } })).rejects.toThrow(
      'Did you mean "publishWindow"?',
    );
    await expect(read('amqp://', { transportOptions: { publishTimeoutMs: '7' } })).rejects.toThrow(
      'Expected milliseconds above 0',
    );
    await expect(read('amqp://', { transportOptions: { nativeDelayedDeliveryQueueType: 'lazy' } })).rejects.toThrow(
      '"quorum" or "classic"',
    );
    await expect(read('amqp://', { transportOptions: { frameMax: 100 } })).rejects.toMatchObject({
      code: 'ERR_CONFIG',
    });
  });

  test('are all in the README', () => {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    expect(OPTION_NAMES.filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
  });

  test('never show the password', async () => {
    const { shownUrl } = await read('amqp://u:secret@h/v');
    expect(shownUrl).not.toContain('secret');
  });
});

describe('TLS', () => {
  test("takes Celery's names and Node's", async () => {
    const { tls } = await read('amqps://rabbit.example', {
      useSsl: { ca_certs: import.meta.filename, cert_reqs: 'CERT_NONE', minVersion: 'TLSv1.2' },
    });
    expect(tls).toMatchObject({ rejectUnauthorized: false, minVersion: 'TLSv1.2', servername: 'rabbit.example' });
    expect(Buffer.isBuffer(tls?.['ca'])).toBe(true);
    expect((await read('amqps://h?ssl_cert_reqs=none&ssl_check_hostname=false')).tls).toMatchObject({
      rejectUnauthorized: false,
    });
    expect((await read('amqp://h', { useSsl: false })).tls).toBeUndefined();
    expect((await read('amqps://127.0.0.1')).tls?.['servername']).toBeUndefined();
  });

  test('files that cannot be read are a configuration error', async () => {
    await expect(read('amqps://h', { useSsl: { keyfile: '/nowhere/key.pem' } })).rejects.toMatchObject({
      code: 'ERR_CONFIG',
    });
    await expect(read('amqps://h', { useSsl: { cert_reqs: 'maybe' } })).rejects.toThrow('cert_reqs');
  });
});
