import { expect, test } from 'vitest';
import { readEndpointUrl } from './endpoint.ts';

test.each(['http://localhost:9000', 'https://minio.test/', 'http://[::1]:8000', 'HTTPS://Minio.test/base'])(
  '%s is taken as it is',
  (url) => expect(readEndpointUrl(url, 'endpoint')).toBe(url),
);

test.each([
  ['http://key:hush@minio:9000', /holds credentials/],
  ['http://hush@minio:9000', /holds credentials/],
  ['https://:hush@minio', /holds credentials/],
  ['key:hush@minio:9000', /is no such URL/],
  ['http://key:hush@:9000', /is no such URL/],
  ['http:key:hush@minio', /is no such URL/],
  ['http://minio?secret=hush', /is no such URL/],
  [{ secret: 'hush' }, /is no such URL/],
])('%s is refused, and not shown', (url, message) => {
  expect(() => readEndpointUrl(url, 'endpoint')).toThrow(message);
  expect(() => readEndpointUrl(url, 'endpoint')).not.toThrow(/hush/);
});
