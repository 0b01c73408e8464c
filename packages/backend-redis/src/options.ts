import type { BackendOptions, BackendUrl } from '@lovage/core/backend';
import { boolean, type OptionReader, type OptionValues, readOptions, text, withoutEffect } from '@lovage/core/options';
import {
  CONNECTION_OPTIONS,
  type EndpointSettings,
  type RedisConnectionOptions,
  type RedisEndpoint,
} from '@lovage/redis';

/** Options in `result_backend_transport_options`, camelCase or snake_case, in Celery's units (seconds). */
export interface RedisBackendOptions extends RedisConnectionOptions {
  /** Put before every key, with a `_` unless it ends in one of `: _ - .`. Default `''`. */
  readonly globalKeyprefix?: string;
  /** Keep a chord's parts in the order of its header, as Celery since 5.0; false: as they end. All workers must agree. Default `true`. */
  readonly resultChordOrdered?: boolean;
}

const READERS = {
  ...CONNECTION_OPTIONS,
  globalKeyprefix: text,
  // How often an operation is tried again is decided by its caller.
  retryPolicy: withoutEffect,
  resultChordOrdered: boolean,
  visibilityTimeout: withoutEffect,
} as const satisfies Record<string, OptionReader<unknown>>;

/** Options and the `redis_...` settings, of which the URL and the options win. Throws `ConfigError`. */
export function readBackendOptions({ transportOptions = {}, settings, logger }: BackendOptions): EndpointSettings {
  const {
    globalKeyprefix: _,
    resultChordOrdered: __,
    ...options
  } = readOptions(transportOptions, READERS, 'The Redis result backend');
  const fromSettings: OptionValues<typeof CONNECTION_OPTIONS> = readOptions(
    {
      // Celery's default of two minutes is longer than any call here waits.
      socketTimeout: settings['redisSocketTimeout'] === 120 ? undefined : settings['redisSocketTimeout'],
      socketConnectTimeout: settings['redisSocketConnectTimeout'],
      healthCheckInterval: settings['redisBackendHealthCheckInterval'],
      clientName: settings['redisClientName'],
    },
    CONNECTION_OPTIONS,
    'The settings "redis_..."',
  );
  const useSsl = settings['redisBackendUseSsl'];
  return {
    options: { ...fromSettings, ...options },
    useSsl:
      typeof useSsl === 'boolean' || (typeof useSsl === 'object' && useSsl !== null)
        ? (useSsl as Record<string, unknown>)
        : undefined,
    logger,
  };
}

/** False for parts in the order in which they end. Source: celery/backends/redis.py, _chord_zset. */
export function isChordOrdered({ transportOptions = {} }: BackendOptions): boolean {
  return readOptions(transportOptions, READERS, 'The Redis result backend').resultChordOrdered ?? true;
}

/** The server of `redis_host` and its neighbours, for a URL that names none. Source: celery/backends/redis.py, __init__. */
export function completeEndpoint(
  endpoint: RedisEndpoint,
  url: BackendUrl,
  { settings }: BackendOptions,
): RedisEndpoint {
  if (url.host !== '' || !('host' in endpoint.address)) return endpoint;
  const { redisHost, redisPort, redisDb, redisUsername, redisPassword } = settings;
  return {
    ...endpoint,
    address: {
      host: typeof redisHost === 'string' ? redisHost : endpoint.address.host,
      port: url.port === undefined && typeof redisPort === 'number' ? redisPort : endpoint.address.port,
    },
    db: url.path === '' && typeof redisDb === 'number' ? redisDb : endpoint.db,
    username: endpoint.username ?? (typeof redisUsername === 'string' ? redisUsername : undefined),
    password: endpoint.password ?? (typeof redisPassword === 'string' ? redisPassword : undefined),
  };
}
