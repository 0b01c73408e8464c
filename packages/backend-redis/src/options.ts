import type { BackendOptions } from '@lovage/core/backend';
import {
  CONNECTION_OPTIONS,
  type EndpointSettings,
  type OptionReader,
  type OptionValues,
  readOptions,
  text,
  withoutEffect,
} from '@lovage/redis';

/** Options in `result_backend_transport_options`, camelCase or snake_case, in Celery's units (seconds). */
export interface RedisBackendOptions {
  /** Put before every key, with a `_` unless it ends in one of `: _ - .`. Default `''`. */
  readonly globalKeyprefix?: string;
  /** Seconds the server may stay silent while a command waits. Default 5. */
  readonly socketTimeout?: number;
  /** Seconds. Default 4. */
  readonly socketConnectTimeout?: number;
  readonly socketKeepalive?: boolean;
  /** Seconds after which an idle connection is asked with PING. Default 4. */
  readonly healthCheckInterval?: number;
  readonly clientName?: string;
  /** Needed for `sentinel://`. */
  readonly masterName?: string;
  /** User and password of the sentinels themselves. */
  readonly sentinelKwargs?: { readonly username?: string; readonly password?: string };
}

const READERS = {
  ...CONNECTION_OPTIONS,
  globalKeyprefix: text,
  // How often an operation is tried again is decided by its caller; parts of chords are ordered by Lovage's core.
  retryPolicy: withoutEffect,
  resultChordOrdered: withoutEffect,
  visibilityTimeout: withoutEffect,
} as const satisfies Record<string, OptionReader<unknown>>;

/** Options and the `redis_...` settings, of which the URL and the options win. Throws `ConfigError`. */
export function readBackendOptions({ transportOptions = {}, settings, logger }: BackendOptions): EndpointSettings {
  const { globalKeyprefix: _, ...options } = readOptions(transportOptions, READERS, 'The Redis result backend');
  const fromSettings: OptionValues<typeof CONNECTION_OPTIONS> = readOptions(
    {
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
    useSsl: typeof useSsl === 'boolean' || (typeof useSsl === 'object' && useSsl !== null) ? (useSsl as Record<string, unknown>) : undefined,
    logger,
  };
}
