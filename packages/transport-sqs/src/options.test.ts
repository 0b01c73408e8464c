import { BrokerUrl } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import { readSqsOptions } from './options.ts';

const read = (url: string, transportOptions: Record<string, unknown> = {}) =>
  readSqsOptions(new BrokerUrl(url), { transportOptions });

describe('URLs', () => {
  test('sqs://: credentials, region and endpoint are found by the SDK', () => {
    const { client } = read('sqs://');
    expect(client).toMatchObject({ endpoint: undefined, credentials: undefined, region: undefined });
  });

  test('sqs://key:secret@: both percent-decoded', () => {
    const { client } = read('sqs://AKIA1:se%2Fcr%2Bet@');
    expect(client.credentials).toEqual({ accessKeyId: 'AKIA1', secretAccessKey: 'se/cr+et' });
    expect(client.endpoint).toBeUndefined();
  });

  test('a host is an endpoint, without TLS unless told otherwise, and its path means nothing', () => {
    expect(read('sqs://x:y@LocalHost:9324/0/').client.endpoint).toBe('http://localhost:9324');
    expect(read('sqs://localhost:9324').client.endpoint).toBe('http://localhost:9324');
    expect(read('sqs://x:y@sqs.example', { is_secure: true }).client.endpoint).toBe('https://sqs.example');
  });

  test('half of an access key is refused, and shown with the right form', () => {
    expect(() => read('sqs://AKIA1@')).toThrow(
      /one half of an access key.*sqs:\/\/aws_access_key_id:aws_secret_access_key@/,
    );
    expect(() => read('sqs://:secret1@')).toThrow(/one half/);
    expect(() => read('sqs://:secret1@')).not.toThrow(/secret1/);
  });

  test('options in the query, the transport options win', () => {
    expect(read('sqs://?region=eu-west-1&wait_time_seconds=3').client.region).toBe('eu-west-1');
    expect(read('sqs://?region=eu-west-1', { region: 'eu-north-1' }).client.region).toBe('eu-north-1');
  });
});

describe('options', () => {
  test('defaults', () => {
    expect(read('sqs://').settings).toEqual({
      prefix: '',
      leaseSeconds: 30,
      visibilityTimeoutSeconds: 1800,
      waitSeconds: 20,
      pollingIntervalMs: 1000,
      predefinedQueues: undefined,
      creationAttributes: {},
      queueTags: {},
      base64: true,
    });
  });

  test("Kombu's names and units", () => {
    const { settings } = read('sqs://', {
      region: 'us-west-2',
      visibility_timeout: 3600,
      polling_interval: 0.3,
      wait_time_seconds: 15,
      queue_name_prefix: 'proj-',
      'sqs-creation-attributes': { KmsMasterKeyId: 'alias/aws/sqs', DelaySeconds: 5 },
      queue_tags: { Team: 'backend' },
      sqs_base64_encoding: false,
      fetch_message_attributes: ['All'],
      'client-config': { connect_timeout: 5 },
      predefined_queues: {
        'my-q': {
          url: 'https://sqs.ap-southeast-2.amazonaws.com/123456/my-q',
          access_key_id: 'xxx',
          secret_access_key: 'yyy',
          backoff_policy: { 1: 10, 2: 20 },
          backoff_tasks: ['svc.tasks.task1'],
        },
      },
    });
    expect(settings).toMatchObject({
      visibilityTimeoutSeconds: 3600,
      pollingIntervalMs: 300,
      waitSeconds: 15,
      prefix: 'proj-',
      creationAttributes: { KmsMasterKeyId: 'alias/aws/sqs', DelaySeconds: '5' },
      queueTags: { Team: 'backend' },
      base64: false,
    });
    expect(settings.predefinedQueues?.get('my-q')).toEqual({
      url: 'https://sqs.ap-southeast-2.amazonaws.com/123456/my-q',
      accessKeyId: 'xxx',
      secretAccessKey: 'yyy',
      backoffPolicy: { 1: 10, 2: 20 },
      backoffTasks: ['svc.tasks.task1'],
    });
  });

  test('a lease has whole seconds', () => {
    expect(read('sqs://', { leaseMs: 1500 }).settings.leaseSeconds).toBe(2);
  });

  test.each([
    [{ wait_time_seconds: 21 }, /an integer from 0 to 20/],
    [{ visibility_timeout: 43_201 }, /Expected seconds/],
    [{ queue_prefix: 'x' }, /no option "queue_prefix"\. Did you mean/],
    [{ predefined_queues: { a: {} } }, /queue "a", has no "url"/],
    [{ predefined_queues: { a: { url: 'queue' } } }, /Expected a URL such as "https:/],
    [{ predefined_queues: { a: { url: 'https://h/1/a.fifo' } } }, /FIFO queues, and no others, end with "\.fifo"/],
    [{ predefined_queues: { a: { url: 'https://h/1/a', access_key_id: 'k' } } }, /one half of an access key/],
    [
      { predefined_queues: { a: { url: 'https://h/1/a', backoff_policy: { x: 1 } } } },
      /Expected seconds by the number/,
    ],
    [{ predefined_queues: { a: { url: 'https://h/1/a', backoff_tasks: 'x' } } }, /Expected a list of names/],
    [{ supports_fanout: true }, /needs topics of SNS/],
    [{ sts_role_arn: 'arn' }, /fromTemporaryCredentials/],
  ])('%j is refused', (options, message) => {
    expect(() => read('sqs://', options)).toThrow(message);
  });
});
