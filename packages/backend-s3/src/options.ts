import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { accessKey, type AwsCredentials, readEndpointUrl } from '@lovage/aws';
import { type BackendOptions, type BackendUrl, ConfigError } from '@lovage/core/backend';
import {
  boolean,
  nonEmptyText,
  type OptionReader,
  readOptions,
  record,
  seconds,
  text,
  withoutEffect,
} from '@lovage/core/options';

/** `result_backend_transport_options` of the S3 result store, camelCase or snake_case. Ours; Celery has none. */
export interface S3BackendOptions {
  /** Default: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, else `us-east-1`. The setting `s3_region` wins. */
  readonly region?: string;
  /** Another server, such as `http://localhost:9000`. The setting `s3_endpoint_url` wins. */
  readonly endpointUrl?: string;
  /**
   * Whether the server writes on condition (`If-Match`, `If-None-Match`). Default: Amazon does, another server is asked
   * by two writes of one object when the store is opened.
   */
  readonly conditionalWrites?: boolean;
  /** Seconds for opening. Default 4. */
  readonly connectTimeout?: number;
  /** Further settings of the AWS SDK's client: `credentials`, `forcePathStyle`, `requestHandler`, `logger` ... */
  readonly clientConfig?: S3ClientConfig;
}

const READERS = {
  region: nonEmptyText,
  endpointUrl: readEndpointUrl,
  conditionalWrites: boolean,
  connectTimeout: seconds(0.01),
  clientConfig: record,
  globalKeyprefix: text,
  // What other stores read.
  retryPolicy: withoutEffect,
  visibilityTimeout: withoutEffect,
  resultChordOrdered: withoutEffect,
} as const satisfies Record<string, OptionReader<unknown>>;

export interface S3Settings {
  readonly bucket: string;
  /** Before every key, as it is written. */
  readonly basePath: string;
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
  readonly credentials: AwsCredentials | undefined;
  /** undefined: to be found out. */
  readonly conditionalWrites: boolean | undefined;
  readonly connectTimeoutMs: number;
  readonly clientConfig: S3ClientConfig;
}

/**
 * Celery reads settings and nothing of the URL; what they leave open is read from the URL here.
 * Source: celery/backends/s3.py, __init__. Throws `ConfigError` for wrong values and unknown names.
 */
export function readS3Options(
  url: BackendUrl,
  { settings, transportOptions = {} }: Pick<BackendOptions, 'settings' | 'transportOptions'>,
): S3Settings {
  const options = readOptions({ ...url.query, ...transportOptions }, READERS, 'The S3 result store');
  const bucket = given(settings, 's3Bucket') ?? url.host;
  if (bucket === '') {
    throw new ConfigError(
      'The S3 result store has no bucket. Set "s3Bucket" (s3_bucket), or name it in the URL: "s3://bucket".',
    );
  }
  if (url.port !== undefined) {
    throw new ConfigError(
      `The URL "${String(url)}" has a port, where S3 has a bucket. Expected "s3://bucket/base/path", and another server as "s3EndpointUrl" (s3_endpoint_url).`,
    );
  }
  const endpoint = given(settings, 's3EndpointUrl');
  return {
    bucket,
    basePath: given(settings, 's3BasePath') ?? url.path,
    endpoint: endpoint === undefined ? options.endpointUrl : readEndpointUrl(endpoint, 's3EndpointUrl'),
    region: given(settings, 's3Region') ?? options.region,
    credentials: credentialsOf(url, settings),
    conditionalWrites: options.conditionalWrites,
    connectTimeoutMs: options.connectTimeout ?? 4000,
    clientConfig: (options.clientConfig ?? {}) as S3ClientConfig,
  };
}

function credentialsOf(url: BackendUrl, settings: BackendOptions['settings']): AwsCredentials | undefined {
  return accessKey(
    given(settings, 's3AccessKeyId') ?? url.username,
    given(settings, 's3SecretAccessKey') ?? url.password,
    {
      where: 'The S3 result store',
      expected: 'both "s3AccessKeyId" and "s3SecretAccessKey", or neither, for the environment, a profile or a role',
    },
  );
}

function given(settings: BackendOptions['settings'], name: string): string | undefined {
  const value = settings[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}
