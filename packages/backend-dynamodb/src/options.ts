import { isIP } from 'node:net';
import type { DynamoDBClientConfig } from '@aws-sdk/client-dynamodb';
import { accessKey, type AwsCredentials, readEndpointUrl } from '@lovage/aws';
import { type BackendOptions, type BackendUrl, ConfigError } from '@lovage/core/backend';
import { integer, type OptionReader, readOptions, record, seconds, text, withoutEffect } from '@lovage/core/options';

/**
 * What may stand in the query of the URL (the first three are Celery's) and in `result_backend_transport_options`,
 * camelCase or snake_case.
 */
export interface DynamoBackendOptions {
  /** Read capacity units of a table that is made here. Default: billed by request. */
  readonly read?: number;
  /** Write capacity units of it. Default: billed by request. */
  readonly write?: number;
  /**
   * Seconds that results are kept, instead of `result_expires`; the table's time to live is turned on for it. Negative:
   * for ever, and the table's time to live is turned off.
   */
  readonly ttlSeconds?: number;
  /** Seconds for opening. Default 4. */
  readonly connectTimeout?: number;
  /** Further settings of the AWS SDK's client: `credentials`, `requestHandler`, `logger` ... */
  readonly clientConfig?: DynamoDBClientConfig;
}

const READERS = {
  read: integer(1),
  write: integer(1),
  ttlSeconds: integer(Number.MIN_SAFE_INTEGER),
  connectTimeout: seconds(0.01),
  clientConfig: record,
  globalKeyprefix: text,
  // What other stores read.
  retryPolicy: withoutEffect,
  visibilityTimeout: withoutEffect,
  resultChordOrdered: withoutEffect,
} as const satisfies Record<string, OptionReader<unknown>>;

export interface DynamoSettings {
  readonly table: string;
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
  readonly credentials: AwsCredentials | undefined;
  /** Of a table that is made here; undefined: billed by request. */
  readonly capacity: { readonly read: number; readonly write: number } | undefined;
  /** undefined: by `result_expires`; `never`: nothing expires. */
  readonly ttlSeconds: number | 'never' | undefined;
  readonly connectTimeoutMs: number;
  readonly clientConfig: DynamoDBClientConfig;
}

/** Source: celery/backends/dynamodb.py, table_name. */
const DEFAULT_TABLE = 'celery';
const LOCAL_REGION = 'us-east-1';
/** Source: CreateTable, TableName. */
const VALID_TABLE = /^[\w.-]{3,255}$/;

/**
 * The host is a region, or a server of one's own: `localhost` or an address as Celery has it, any name with a port or a
 * dot besides. Source: celery/backends/dynamodb.py, __init__. Throws `ConfigError` for wrong values and unknown names.
 */
export function readDynamoOptions(
  url: BackendUrl,
  { settings, transportOptions = {} }: Pick<BackendOptions, 'settings' | 'transportOptions'>,
): DynamoSettings {
  const options = readOptions({ ...url.query, ...transportOptions }, READERS, 'The DynamoDB result store');
  const { username, password, host, port } = url;
  const credentials = accessKey(username, password, {
    where: `The URL "${String(url)}"`,
    expected:
      '"dynamodb://key:secret@region/table", with key and secret percent-encoded ("/" is "%2F"), or "dynamodb://@region/table"',
  });
  const table = url.path === '' ? DEFAULT_TABLE : url.path;
  if (!VALID_TABLE.test(table)) {
    throw new ConfigError(
      `DynamoDB has no table ${JSON.stringify(table)}. Expected 3 to 255 letters, digits, "_", "-" and ".".`,
    );
  }
  const isOwnServer =
    host === 'localhost' || isIP(host.replace(/^\[|\]$/g, '')) !== 0 || /\./.test(host) || port !== undefined;
  const { read, write, ttlSeconds } = options;
  return {
    table,
    endpoint:
      endpointSetting(settings) ?? (isOwnServer ? `http://${host}${port === undefined ? '' : `:${port}`}` : undefined),
    region: isOwnServer ? LOCAL_REGION : host === '' ? undefined : host,
    credentials,
    capacity: read === undefined && write === undefined ? undefined : { read: read ?? 1, write: write ?? 1 },
    ttlSeconds: ttlSeconds === undefined ? undefined : ttlSeconds < 0 ? 'never' : ttlSeconds,
    connectTimeoutMs: options.connectTimeout ?? 4000,
    clientConfig: (options.clientConfig ?? {}) as DynamoDBClientConfig,
  };
}

function endpointSetting(settings: BackendOptions['settings']): string | undefined {
  const value = settings['dynamodbEndpointUrl'];
  if (value === undefined || value === null || value === '') return undefined;
  return readEndpointUrl(value, 'dynamodbEndpointUrl');
}
