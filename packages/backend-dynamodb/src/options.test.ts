import { BackendUrl } from '@lovage/core/backend';
import { expect, test } from 'vitest';
import { readDynamoOptions } from './options.ts';

const read = (url: string, settings: Record<string, unknown> = {}, transportOptions = {}) =>
  readDynamoOptions(new BackendUrl(url), { settings, transportOptions });

test.each([
  ['dynamodb://key:se%2Fcret@eu-west-1/results', 'eu-west-1', undefined, 'results'],
  ['dynamodb://@us-east-1', 'us-east-1', undefined, 'celery'],
  ['dynamodb://', undefined, undefined, 'celery'],
  ['dynamodb://a:b@localhost:8000/results', 'us-east-1', 'http://localhost:8000', 'results'],
  ['dynamodb://a:b@127.0.0.1/results', 'us-east-1', 'http://127.0.0.1', 'results'],
  ['dynamodb://a:b@[::1]:8000/results', 'us-east-1', 'http://[::1]:8000', 'results'],
  ['dynamodb://a:b@dynamo:8000/results', 'us-east-1', 'http://dynamo:8000', 'results'],
])('%s', (url, region, endpoint, table) => {
  expect(read(url)).toMatchObject({ region, endpoint, table });
});

test('options, and what they are without', () => {
  expect(read('dynamodb://key:se%2Fcret@eu-west-1?read=5&ttl_seconds=60')).toMatchObject({
    credentials: { accessKeyId: 'key', secretAccessKey: 'se/cret' },
    capacity: { read: 5, write: 1 },
    ttlSeconds: 60,
  });
  expect(read('dynamodb://@eu-west-1?ttl_seconds=-1')).toMatchObject({ ttlSeconds: 'never', credentials: undefined });
  expect(read('dynamodb://@eu-west-1')).toMatchObject({
    capacity: undefined,
    ttlSeconds: undefined,
    connectTimeoutMs: 4000,
  });
  expect(read('dynamodb://@eu-west-1', { dynamodbEndpointUrl: 'https://vpce.test' })).toMatchObject({
    endpoint: 'https://vpce.test',
    region: 'eu-west-1',
  });
});

test.each([
  ['dynamodb://key@eu-west-1', /one half of an access key/],
  ['dynamodb://@eu-west-1/a', /has no table "a"/],
  ['dynamodb://@eu-west-1/a%2Fb', /has no table "a\/b"/],
  ['dynamodb://@eu-west-1?reed=5', /Did you mean "read"/],
  ['dynamodb://@eu-west-1?read=none', /an integer of at least 1/],
])('%s is refused', (url, message) => {
  expect(() => read(url)).toThrow(message);
});
