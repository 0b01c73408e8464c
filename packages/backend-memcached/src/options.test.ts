import { BackendUrl } from '@lovage/core/backend';
import { describe, expect, test } from 'vitest';
import { readSettings } from './options.ts';

function settingsOf(url: string, cacheBackendOptions: Readonly<Record<string, unknown>> = {}) {
  const [first = '', ...members] = url.split(';');
  const whole = new BackendUrl(
    first,
    members.map((member) => new BackendUrl(`cache+memcached://${member}`)),
  );
  return readSettings(whole, { settings: { cacheBackendOptions } });
}

describe('servers', () => {
  test.each([
    ['cache+memcached://127.0.0.1:11211/', ['127.0.0.1:11211 1']],
    ['cache+pylibmc://one;two:11212:3;[::1]:5/', ['one:11211 1', 'two:11212 3', '[::1]:5 1']],
    ['cache+memcached:///run/memcached.sock', ['/run/memcached.sock 1']],
    ['cache+memcached://unix:/run/memcached.sock', ['/run/memcached.sock 1']],
    ['cache+memcached://', ['127.0.0.1:11211 1']],
  ])('%s', (url, expected) => {
    expect(settingsOf(url).servers.map(({ name, weight }) => `${name} ${weight}`)).toEqual(expected);
  });

  test.each([
    ['cache+memcached://host:0', /cannot be read/],
    ['cache+memcached://host?ssl=true', /cache_backend_options/],
    ['cache+memcached://udp:host', /TCP/],
    ['cache+memcached://user:secret@host', /cannot be read/],
  ])('%s is refused, without its secrets', (url, message) => {
    expect(() => settingsOf(url)).toThrow(message);
    expect(() => settingsOf(url)).not.toThrow(/secret/);
  });
});

describe('options', () => {
  test('of pylibmc and python-memcached are known, and those that say where keys lie count', () => {
    const behaviors = { tcp_nodelay: true, no_block: 1, ketama: true };
    expect(settingsOf('cache+memcached://a', { binary: true, behaviors })).toMatchObject({
      distribution: 'consistent',
      hash: 'default',
    });
    expect(settingsOf('cache+memcached://a', { behaviors: { hash: 'crc' }, dead_retry: 5 })).toMatchObject({
      distribution: 'modula',
      hash: 'crc',
    });
    expect(settingsOf('cache+memcached://a', { behaviors: { ketama_weighted: 1, ketama: 1 } }).distribution).toBe(
      'ketama_weighted',
    );
  });

  test.each([
    [{ behaviours: {} }, /behaviors/],
    [{ behaviors: { hash: 'murmur' } }, /Expected one of: default, crc/],
    [{ behaviors: { kettama: true } }, /ketama/],
    [{ username: 'a' }, /Give both/],
    [{ username: 'a', password: 'secret', binary: true }, /-Y/],
  ])('%j is refused', (options, message) => {
    expect(() => settingsOf('cache+memcached://a', options)).toThrow(message);
    expect(() => settingsOf('cache+memcached://a', options)).not.toThrow(/secret/);
  });
});
