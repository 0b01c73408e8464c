import {
  integer,
  nonEmptyText,
  type OptionReader,
  type OptionValues,
  readOptions,
  record,
  seconds,
  text,
  withoutEffect,
} from '@lovage/core/options';
import { type BackendOptions, BackendUrl, ConfigError } from '@lovage/core/backend';

/**
 * Celery's setting `mongodb_backend_settings`, camelCase or snake_case. What is given here wins over the URL.
 * Source: celery/backends/mongodb.py, __init__.
 */
export interface MongoBackendSettings {
  /** A host name, or a URL `mongodb://...` with everything. */
  readonly host?: string;
  readonly port?: number;
  readonly user?: string;
  readonly password?: string;
  /** Default `celery`. */
  readonly database?: string;
  /** Default `celery_taskmeta`. */
  readonly taskmetaCollection?: string;
  /** Default `celery_groupmeta`. */
  readonly groupmetaCollection?: string;
  /** Default 10. */
  readonly maxPoolSize?: number;
  /** Options of the connection, as in a URL: `{ replicaSet: 'rs0' }`. */
  readonly options?: Readonly<Record<string, string | number | boolean>>;
}

const SETTINGS = {
  host: nonEmptyText,
  port: integer(1, 65_535),
  user: nonEmptyText,
  password: text,
  database: nonEmptyText,
  taskmetaCollection: nonEmptyText,
  groupmetaCollection: nonEmptyText,
  maxPoolSize: integer(1),
  options: record,
} as const satisfies Record<string, OptionReader<unknown>>;

const TRANSPORT_OPTIONS = {
  /** Seconds for opening. Default 4. */
  connectTimeout: seconds(0.01),
  // Operations are tried again by their callers.
  retryPolicy: withoutEffect,
  visibilityTimeout: withoutEffect,
  resultChordOrdered: withoutEffect,
  globalKeyprefix: withoutEffect,
} as const satisfies Record<string, OptionReader<unknown>>;

export interface ReadOptions {
  readonly url: BackendUrl;
  readonly database: string;
  readonly tasks: string;
  readonly groups: string;
  readonly connectTimeoutMs: number | undefined;
}

/** Throws `ConfigError` for wrong values and unknown names. */
export function readBackendOptions(url: BackendUrl, { settings, transportOptions = {} }: BackendOptions): ReadOptions {
  const { connectTimeout } = readOptions(transportOptions, TRANSPORT_OPTIONS, 'The MongoDB result backend');
  const given = settings['mongodbBackendSettings'] ?? {};
  if (typeof given !== 'object' || Array.isArray(given)) {
    throw new ConfigError(
      `The setting "mongodbBackendSettings" is ${JSON.stringify(given)}. Expected an object such as { database: 'celery' }.`,
    );
  }
  const values = readOptions(
    given as Readonly<Record<string, unknown>>,
    SETTINGS,
    'The setting "mongodbBackendSettings"',
  );
  return {
    url: mergedUrl(url, values),
    database: values.database ?? 'celery',
    tasks: values.taskmetaCollection ?? 'celery_taskmeta',
    groups: values.groupmetaCollection ?? 'celery_groupmeta',
    connectTimeoutMs: connectTimeout,
  };
}

function mergedUrl(url: BackendUrl, values: OptionValues<typeof SETTINGS>): BackendUrl {
  const { host, port, user, password, database, maxPoolSize, options = {} } = values;
  if (host?.includes('://')) return new BackendUrl(host);
  // A URL alone is taken as it stands, with options that may come twice.
  if (Object.keys(values).every((name) => name.endsWith('Collection'))) return url;
  const query = new URLSearchParams(url.query);
  for (const [name, value] of Object.entries(options)) query.set(name, String(value));
  if (maxPoolSize !== undefined) query.set('maxPoolSize', String(maxPoolSize));
  const isOther = host !== undefined || port !== undefined;
  const address = isOther
    ? `${host ?? 'localhost'}:${port ?? 27_017}`
    : url.port === undefined
      ? url.host
      : `${url.host}:${url.port}`;
  const name = user ?? url.username;
  const secret = user === undefined ? (password ?? url.password) : password;
  const credentials =
    name === undefined
      ? ''
      : `${encodeURIComponent(name)}${secret === undefined ? '' : `:${encodeURIComponent(secret)}`}@`;
  const text = query.size === 0 ? '' : `?${query.toString()}`;
  return new BackendUrl(`${url.scheme}://${credentials}${address}/${database ?? url.path}${text}`);
}
