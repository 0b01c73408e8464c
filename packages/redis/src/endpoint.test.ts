import { BrokerUrl, isLovageError, parseBrokerUrls, silentLogger } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import { type EndpointSettings, readEndpoint } from './endpoint.ts';

const read = (url: string, settings?: EndpointSettings) => readEndpoint(parseBrokerUrls(url)[0] as BrokerUrl, settings);

describe('addresses', () => {
  test.each([
    ['redis://', { host: '127.0.0.1', port: 6379 }, 0],
    ['redis://Example.org', { host: 'example.org', port: 6379 }, 0],
    ['redis://h:7000/', { host: 'h', port: 7000 }, 0],
    ['redis://h:7000/3', { host: 'h', port: 7000 }, 3],
    ['redis://[::1]:7000/3', { host: '::1', port: 7000 }, 3],
    ['redis+socket:///run/redis.sock?virtual_host=2', { path: '/run/redis.sock' }, 2],
    ['redis+socket:///run/redis.sock?virtual_host=/2', { path: '/run/redis.sock' }, 2],
    ['socket:///run/redis.sock', { path: '/run/redis.sock' }, 0],
  ])('%s', (url, address, db) => {
    expect(read(url)).toMatchObject({ address, db, tls: undefined });
  });

  test('user and password are decoded, and masked in the URL for messages', () => {
    const endpoint = read('redis://joe:p%40ss@h/1');
    expect(endpoint).toMatchObject({ username: 'joe', password: 'p@ss' });
    expect(endpoint.url).not.toContain('p%40ss');
    expect(read('redis://:pw@h')).toMatchObject({ username: undefined, password: 'pw' });
  });

  test('a database that is no number is refused', () => {
    expect(() => read('redis://h/shop')).toThrow(/"shop".*is no number/);
  });

  test("sentinels come from all members; password and database are the master's", () => {
    const endpoint = read('sentinel://:pw@a:26380/2;sentinel://b;sentinel://c:1', {
      options: { masterName: 'mymaster', sentinelKwargs: { password: 'sp' } },
    });
    expect(endpoint).toMatchObject({
      db: 2,
      password: 'pw',
      address: {
        sentinels: [
          { host: 'a', port: 26380 },
          { host: 'b', port: 26379 },
          { host: 'c', port: 1 },
        ],
        masterName: 'mymaster',
        password: 'sp',
      },
    });
    expect(read('sentinel://a:1,b:2/0?master_name=m').address).toMatchObject({
      sentinels: [
        { host: 'a', port: 1 },
        { host: 'b', port: 2 },
      ],
    });
  });

  test('sentinels without the name of the master are refused', () => {
    expect(() => read('sentinel://a')).toThrow(/master_name/);
  });
});

describe('TLS', () => {
  test('rediss:// asks for it, and so do settings and options of the URL', () => {
    expect(read('rediss://H').tls).toMatchObject({ rejectUnauthorized: true, servername: 'h' });
    expect(read('redis://h', { useSsl: { ssl_cert_reqs: 'required' } }).tls).toMatchObject({
      rejectUnauthorized: true,
    });
    expect(read('redis://h?ssl_cert_reqs=none').tls).toMatchObject({ rejectUnauthorized: false });
    expect(read('redis://h', { useSsl: false }).tls).toBeUndefined();
    expect(() => read('redis://h', { useSsl: { verify: true } })).toThrow(/"redis_backend_use_ssl"/);
  });

  test('the name of a sentinel is not that of the master', () => {
    const options = { masterName: 'm' };
    expect(read('sentinel://one:1;sentinel://two:2', { useSsl: true, options }).tls).toEqual({
      rejectUnauthorized: true,
    });
  });

  test('a certificate that is not verified is warned of', () => {
    const warnings: unknown[] = [];
    const logger = { ...silentLogger, warn: (_: unknown, message: string) => warnings.push(message) };
    read('rediss://h?ssl_cert_reqs=none', { logger });
    expect(warnings).toEqual([expect.stringContaining('not verified')]);
  });
});

describe('options', () => {
  test('the query wins, seconds become milliseconds', () => {
    expect(read('redis://h?socket_timeout=2.5', { options: { socketTimeout: 9000 } })).toMatchObject({
      socketTimeoutMs: 2500,
    });
  });

  test('unknown ones name the nearest', () => {
    expect.assertions(2);
    try {
      read('redis://h?socket_timout=1');
    } catch (error) {
      expect(isLovageError(error, 'ERR_CONFIG')).toBe(true);
      expect(String(error)).toContain('Did you mean "socket_timeout"?');
    }
  });

  test('a heartbeat shortens what a silent server is given', () => {
    expect(read('redis://h', { heartbeatSeconds: 1 })).toMatchObject({
      socketTimeoutMs: 1000,
      healthCheckIntervalMs: 800,
    });
  });
});
