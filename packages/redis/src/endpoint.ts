import { type BrokerUrl, ConfigError, type Logger, UnsupportedError } from '@lovage/core/transport';
import {
  boolean,
  integer,
  nonEmptyText,
  type OptionReader,
  type OptionValues,
  record,
  readOptions,
  readTls,
  seconds,
  splitQuery,
  text,
  type TlsSettings,
  withoutEffect,
} from '@lovage/core/options';

/** URL schemes of Kombu's Redis transport. */
export const TRANSPORT_SCHEMES = ['redis', 'rediss', 'redis+socket', 'sentinel'] as const;
/** URL schemes of Celery's Redis result backend, and the transport's own. */
export const BACKEND_SCHEMES = ['redis', 'rediss', 'socket', 'redis+socket', 'sentinel'] as const;

const DEFAULT_PORT = 6379;
const DEFAULT_SENTINEL_PORT = 26379;

export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

/** Where to find the sentinels, and which master they shall name. */
export interface SentinelAddress {
  readonly sentinels: readonly HostAndPort[];
  readonly masterName: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
}

/** One Redis to connect to, read from a URL and options. */
export interface RedisEndpoint {
  readonly address: HostAndPort | { readonly path: string } | SentinelAddress;
  readonly db: number;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** undefined: plain text. */
  readonly tls: TlsSettings | undefined;
  /** The URL with its password masked, for messages. */
  readonly url: string;
  readonly socketTimeoutMs: number;
  readonly healthCheckIntervalMs: number;
  readonly keepAliveMs: number;
  /** From the options; undefined: the caller's own default. */
  readonly connectTimeoutMs: number | undefined;
  readonly clientName: string | undefined;
}

/** Options of the connection that the transport and the result store share, in seconds. */
export interface RedisConnectionOptions {
  /** How long the server may stay silent while a command waits. Default 5. */
  readonly socketTimeout?: number;
  /** For opening. Default 4 (`broker_connection_timeout` for the broker). */
  readonly socketConnectTimeout?: number;
  readonly socketKeepalive?: boolean;
  /** After so long an idle connection is asked with PING. Default 4. */
  readonly healthCheckInterval?: number;
  readonly clientName?: string;
  /** Needed for `sentinel://`. */
  readonly masterName?: string;
  /** User and password of the sentinels themselves. */
  readonly sentinelKwargs?: { readonly username?: string; readonly password?: string };
}

/**
 * Readers of {@link RedisConnectionOptions}, the same for broker and result store, as Kombu names them, in seconds. In the URL's query
 * or in `broker_transport_options` / `result_backend_transport_options`.
 */
export const CONNECTION_OPTIONS = {
  /** How long the server may take to say anything while a command waits. Default 5 seconds; Kombu has none. */
  socketTimeout: seconds(0.1),
  /** For opening: TCP, TLS, password and the first reply. Default: `broker_connection_timeout`, 4 seconds. */
  socketConnectTimeout: seconds(0.01),
  connectTimeout: seconds(0.01),
  /** An idle connection is asked with PING after so long. Default 4 seconds; Kombu has 25. */
  healthCheckInterval: seconds(0.1),
  /** TCP keep-alive. Default true. */
  socketKeepalive: boolean,
  /** Shown by CLIENT LIST. */
  clientName: nonEmptyText,
  /** The name of the master that the sentinels shall give. */
  masterName: nonEmptyText,
  /** `username` and `password` of the sentinels themselves. */
  sentinelKwargs: record,
  minOtherSentinels: integer(0),
  /** The database of the socket forms. */
  virtualHost: text,
  credentialProvider: refuse('"credential_provider" names a Python class. Give user and password in the URL.'),
  // Pools and repeating of commands are Lovage's own, and keep-alive details the system's.
  maxConnections: withoutEffect,
  retryOnTimeout: withoutEffect,
  socketKeepaliveOptions: withoutEffect,
  heartbeat: withoutEffect,
} as const satisfies Record<string, OptionReader<unknown>>;

/** What a caller knows besides the URL. */
export interface EndpointSettings {
  /** Already read by {@link CONNECTION_OPTIONS}, from the transport options. */
  readonly options?: OptionValues<typeof CONNECTION_OPTIONS>;
  /** `broker_use_ssl` or `redis_backend_use_ssl`. */
  readonly useSsl?: boolean | Readonly<Record<string, unknown>> | undefined;
  /** An idle connection is asked, and a silent server given up, at least so often. Default 20. */
  readonly heartbeatSeconds?: number | undefined;
  readonly logger?: Logger | undefined;
}

/**
 * Reads a Redis URL in every form of Kombu and Celery:
 * `redis://user:password@host:port/db`, `rediss://...` (TLS), `redis+socket:///path?virtual_host=db` and
 * `socket:///path?virtual_host=db`, `sentinel://host:port/db;sentinel://host:port` with the option `master_name`.
 *
 * Options in the query win over those given apart. With TLS the certificate is verified unless `ssl_cert_reqs` is
 * `none`; Kombu does not verify when `ssl_cert_reqs` is missing. Throws `ConfigError` or `UnsupportedError`.
 * Source: kombu/transport/redis.py, _connparams; celery/backends/redis.py, _params_from_url.
 */
export function readEndpoint(url: BrokerUrl, settings: EndpointSettings = {}): RedisEndpoint {
  const { tls: tlsQuery, rest } = splitQuery(url);
  const query = readOptions(rest, CONNECTION_OPTIONS, `The URL ${JSON.stringify(String(url))}`);
  const options = { ...settings.options, ...query };
  // A silent peer is to be lost after two heartbeats; Redis has none of its own.
  const heartbeatMs = (settings.heartbeatSeconds ?? 20) * 1000;
  const tls = readTls(url, tlsQuery, {
    isSecure: url.scheme === 'rediss',
    useSsl: settings.useSsl,
    setting: '"broker_use_ssl", "redis_backend_use_ssl"',
    // The sentinels name the master by its address.
    host: url.scheme === 'sentinel' ? '' : hostOf(url.host),
  });
  if (tls?.rejectUnauthorized === false) {
    settings.logger?.warn(
      { url: String(url) },
      'The certificate of Redis is not verified: anybody on the way can read and change messages.',
    );
  }
  return {
    address: readAddress(url, options),
    db: readDatabase(url, options.virtualHost),
    username: url.username,
    password: url.password,
    tls,
    url: String(url),
    socketTimeoutMs: options.socketTimeout ?? Math.min(5000, heartbeatMs),
    healthCheckIntervalMs: options.healthCheckInterval ?? Math.min(4000, heartbeatMs * 0.8),
    keepAliveMs: (options.socketKeepalive ?? true) ? 10_000 : 0,
    connectTimeoutMs: options.socketConnectTimeout ?? options.connectTimeout,
    clientName: options.clientName,
  };
}

function readAddress(url: BrokerUrl, options: OptionValues<typeof CONNECTION_OPTIONS>): RedisEndpoint['address'] {
  if (url.scheme === 'redis+socket' || url.scheme === 'socket') {
    if (url.path === '') {
      throw new ConfigError(
        `The URL "${String(url)}" names no socket. Expected "${url.scheme}:///path/to/redis.sock".`,
      );
    }
    return { path: `/${url.path}` };
  }
  if (url.scheme !== 'sentinel') return { host: hostOf(url.host), port: url.port ?? DEFAULT_PORT };
  if (options.masterName === undefined) {
    throw new ConfigError(
      `The URL "${String(url)}" needs the name of the master. Set "master_name" in the transport options, or "?master_name=" in the URL.`,
    );
  }
  if ((options.minOtherSentinels ?? 0) > 0) {
    throw new UnsupportedError(
      'The option "min_other_sentinels" is not supported. Expected 0: the first sentinel that answers is believed.',
    );
  }
  const sentinels = [url, ...url.members].flatMap(({ host, port }) =>
    host.split(',').map((one) => {
      const match = /^(.*):(\d+)$/.exec(one);
      return match?.[1] !== undefined && !match[1].endsWith(':')
        ? { host: hostOf(match[1]), port: Number(match[2]) }
        : { host: hostOf(one), port: port ?? DEFAULT_SENTINEL_PORT };
    }),
  );
  const own = options.sentinelKwargs ?? {};
  const credentials = readOptions(
    own,
    { username: text, password: text, socketTimeout: withoutEffect, ssl: withoutEffect },
    'The option "sentinel_kwargs"',
  );
  return { sentinels, masterName: options.masterName, username: credentials.username, password: credentials.password };
}

/** Without the brackets of an IPv6 address. */
function hostOf(host: string): string {
  if (host === '') return '127.0.0.1';
  return (host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host).toLowerCase();
}

function readDatabase(url: BrokerUrl, virtualHost: string | undefined): number {
  const isSocket = url.scheme === 'redis+socket' || url.scheme === 'socket';
  const given = (isSocket ? (virtualHost ?? '') : url.path).replace(/^\/|\/$/g, '');
  if (given === '') return 0;
  if (!/^\d+$/.test(given)) {
    throw new ConfigError(
      `The database ${JSON.stringify(given)} in "${String(url)}" is no number. Expected for example "/0".`,
    );
  }
  return Number(given);
}

function refuse(message: string): OptionReader<undefined> {
  return () => {
    throw new UnsupportedError(message);
  };
}
