import { BackendUrl } from '@lovage/core/backend';
import { expect, test } from 'vitest';
import { readS3Options } from './options.ts';

const read = (url: string, settings: Record<string, unknown> = {}, transportOptions = {}) =>
  readS3Options(new BackendUrl(url), { settings, transportOptions });

test("Celery's settings decide, and the URL where they are silent", () => {
  expect(
    read('s3://a:b@other/path', {
      s3Bucket: 'results',
      s3BasePath: 'base/',
      s3EndpointUrl: 'http://localhost:9000',
      s3Region: 'eu-central-1',
      s3AccessKeyId: 'key',
      s3SecretAccessKey: 'secret',
    }),
  ).toMatchObject({
    bucket: 'results',
    basePath: 'base/',
    endpoint: 'http://localhost:9000',
    region: 'eu-central-1',
    credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
  });
  expect(read('s3://key:se%2Fcret@results/base/?region=eu-west-1&endpoint_url=https%3A%2F%2Fminio.test')).toMatchObject(
    {
      bucket: 'results',
      basePath: 'base/',
      endpoint: 'https://minio.test',
      region: 'eu-west-1',
      credentials: { accessKeyId: 'key', secretAccessKey: 'se/cret' },
    },
  );
  expect(read('s3://', { s3Bucket: 'results' })).toMatchObject({
    basePath: '',
    endpoint: undefined,
    region: undefined,
    credentials: undefined,
    conditionalWrites: undefined,
    connectTimeoutMs: 4000,
  });
});

test.each([
  ['s3://', /has no bucket/],
  ['s3://key@bucket', /one half of an access key/],
  ['s3://localhost:9000', /has a port, where S3 has a bucket/],
  ['s3://bucket?endpoint_url=localhost', /Expected a URL/],
  ['s3://bucket?endpoint_url=http%3A%2F%2Fkey%3Ahush%40minio', /holds credentials/],
  ['s3://bucket?regoin=a', /Did you mean "region"/],
])('%s is refused', (url, message) => {
  expect(() => read(url)).toThrow(message);
});
