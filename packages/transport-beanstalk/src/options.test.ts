import { BrokerUrl, type ConnectOptions } from '@lovage/core/transport';
import { expect, test } from 'vitest';
import { readSettings } from './options.ts';

const read = (url: string, options: ConnectOptions = {}) => readSettings(new BrokerUrl(url), options);

test('URLs have host and port, and defaults', () => {
  expect(read('beanstalk://')).toMatchObject({ host: '127.0.0.1', port: 11300, ttrSeconds: 30 });
  expect(read('beanstalk://localhost/')).toMatchObject({ host: '127.0.0.1' });
  expect(read('beanstalk://Queue.example:1234')).toMatchObject({ host: 'queue.example', port: 1234 });
  expect(read('beanstalk://[::1]:1')).toMatchObject({ host: '::1', port: 1 });
});

test('a lease is whole seconds, and not below three', () => {
  expect(read('beanstalk://', { leaseMs: 1000 }).ttrSeconds).toBe(3);
  expect(read('beanstalk://', { leaseMs: 4001 }).ttrSeconds).toBe(5);
  expect(read('beanstalk://', { leaseMs: 9000, transportOptions: { lease_ms: 60_000 } }).ttrSeconds).toBe(60);
});

test.each([
  ['beanstalk://user:hush@h', {}, /beanstalkd has none.*beanstalk:\/\/host:11300/],
  ['beanstalk://h/vhost', {}, /no virtual hosts/],
  ['beanstalk://a,b', {}, /";"/],
  ['beanstalk://h', { useSsl: true }, /tunnel/],
  ['beanstalk://h?leasems=5', {}, /leaseMs/],
  ['beanstalk://h', { transportOptions: { leaseMs: 'soon' } }, /leaseMs/],
])('%s with %j is refused', (url, options, message) => {
  expect(() => read(url, options)).toThrow(message);
  expect(() => read(url, options)).not.toThrow(/hush/);
});
