import { type BackendOptions, type BackendUrl, ConfigError, UnsupportedError } from '@lovage/core/backend';
import {
  boolean,
  nonEmptyText,
  oneOf,
  type OptionReader,
  readOptions,
  readTlsSettings,
  record,
  seconds,
  text,
  type TlsSettings,
  toSnakeCase,
  withoutEffect,
} from '@lovage/core/options';
import { type Distribution, type Hash, HASH_NAMES, type PlacedServer } from './placement.ts';

/** Source: celery/backends/cache.py, backends; `cache+memory` is core's. */
export const SCHEMES = ['cache+memcached', 'cache+memcache', 'cache+pylibmc'] as const;

const DEFAULT_PORT = 11_211;
const EXPECTED =
  'Expected "host:11211", "[::1]:11211", "/path/memcached.sock" or "unix:/path", several with ";" between.';

/** Options in `cache_backend_options`, camelCase or snake_case. Celery hands them to pylibmc or python-memcached. */
export interface MemcachedBackendOptions {
  /**
   * pylibmc's, of which those that say where a key lies count: `hash` (`default`, `crc`, `md5`, `fnv1_32`, `fnv1a_32`),
   * `distribution` (`modula`, `consistent`), `ketama`, `ketama_weighted`. The same in the whole fleet; where Python
   * has python-memcached installed and not pylibmc, `{ hash: 'crc' }`.
   */
  readonly behaviors?: Readonly<Record<string, unknown>>;
  /** With `password`: for servers started with `-Y`, memcached's own authentication. */
  readonly username?: string;
  readonly password?: string;
  /** TLS: true, or `ca_certs`, `certfile`, `keyfile`, `cert_reqs`, `server_hostname` ... Default false. */
  readonly ssl?: boolean | Readonly<Record<string, unknown>>;
  /** For opening a connection, in seconds. Default 4. */
  readonly connectTimeout?: number;
  /** How long a server may stay silent while a command waits, in seconds. Default 4. */
  readonly socketTimeout?: number;
}

const READERS = {
  behaviors: record,
  username: nonEmptyText,
  password: text,
  ssl: (value: unknown, name: string) => (typeof value === 'object' ? record(value, name) : boolean(value, name)),
  connectTimeout: seconds(0.01),
  socketTimeout: seconds(0.1),
  // pylibmc's other protocol for the same items.
  binary: boolean,
  // What python-memcached decides of itself, and of pickles, which are never read here.
  ...ignored('debug', 'pickleProtocol', 'pickler', 'unpickler', 'compressor', 'decompressor', 'pload', 'pid'),
  ...ignored('serverMaxKeyLength', 'serverMaxValueLength', 'deadRetry', 'cacheCas', 'flushOnReconnect', 'checkKeys'),
} as const satisfies Record<string, OptionReader<unknown>>;

const BEHAVIORS = {
  hash: oneOf(...HASH_NAMES),
  distribution: distribution,
  ketama: flag,
  ketamaWeighted: flag,
  ...ignored('noBlock', 'tcpNodelay', 'tcpKeepalive', 'cas', 'bufferRequests', 'verifyKeys', 'connectTimeout'),
  ...ignored('sendTimeout', 'receiveTimeout', 'autoEject', 'retryTimeout', 'removeFailed', 'failureLimit'),
  ...ignored('deadTimeout', 'pickleProtocol', 'numReplicas', 'ketamaHash'),
} as const satisfies Record<string, OptionReader<unknown>>;

/** One server, and how to reach it. */
export interface ServerSettings extends PlacedServer {
  /** A Unix socket instead of host and port. */
  readonly path: string | undefined;
  /** For messages. */
  readonly name: string;
}

export interface MemcachedSettings {
  readonly servers: readonly ServerSettings[];
  readonly distribution: Distribution;
  readonly hash: Hash;
  readonly credentials: { readonly username: string; readonly password: string } | undefined;
  readonly tls: TlsSettings | undefined;
  readonly connectTimeoutMs: number;
  readonly silenceMs: number;
}

/** URL and options to settings. Throws `ConfigError` for what does not exist, `UnsupportedError` for what is refused. */
export function readSettings(url: BackendUrl, { settings }: Pick<BackendOptions, 'settings'>): MemcachedSettings {
  const given = settings['cacheBackendOptions'] ?? {};
  const options = readOptions(record(given, 'cache_backend_options'), READERS, 'The setting "cache_backend_options"');
  const { username, password, ssl } = options;
  if ((username === undefined) !== (password === undefined)) {
    throw new ConfigError('The setting "cache_backend_options" has only one of "username" and "password". Give both.');
  }
  if (username !== undefined && options.binary === true) {
    throw new UnsupportedError(
      'The setting "cache_backend_options" asks for SASL ("binary" with "username"), which memcached has in its binary protocol only, and Lovage speaks the other. Start memcached with -Y and leave "binary" out.',
    );
  }
  const behaviors = readOptions(options.behaviors ?? {}, BEHAVIORS, 'The option "behaviors"');
  return {
    servers: [url, ...url.members].map(readServer),
    distribution:
      behaviors.ketamaWeighted === true
        ? 'ketama_weighted'
        : behaviors.ketama === true
          ? 'consistent'
          : (behaviors.distribution ?? 'modula'),
    hash: behaviors.hash ?? 'default',
    credentials: username === undefined || password === undefined ? undefined : { username, password },
    tls: ssl === undefined || ssl === false ? undefined : readTlsSettings(ssl === true ? {} : ssl, 'The option "ssl"'),
    connectTimeoutMs: options.connectTimeout ?? 4000,
    silenceMs: options.socketTimeout ?? 4000,
  };
}

/** As pylibmc and python-memcached write servers. Source: pylibmc/client.py, translate_server_spec; memcache.py, _Host. */
function readServer(url: BackendUrl): ServerSettings {
  if (Object.keys(url.query).length > 0) {
    throw new ConfigError(`The URL "${String(url)}" has options. Set them in "cache_backend_options".`);
  }
  const spec = url.raw.slice(url.raw.indexOf('://') + 3).replace(/\/+$/, '');
  const path = /^(?:unix:)?(\/.+)$/.exec(spec)?.[1];
  if (path !== undefined) return { host: path, port: 0, weight: 1, path, name: path };
  if (spec.startsWith('udp:'))
    throw new UnsupportedError(`The server "${spec}" asks for UDP. Use TCP: leave "udp:" out.`);
  const match = /^(?:inet6?:)?(\[[^[\]]+\]|[^:[\]@/]*)(?::(\d+))?(?::(\d+))?$/.exec(spec);
  const port = match?.[2] === undefined ? DEFAULT_PORT : Number(match[2]);
  const weight = match?.[3] === undefined ? 1 : Number(match[3]);
  if (match === null || port < 1 || port > 65_535 || weight < 1) {
    throw new ConfigError(`The server ${JSON.stringify(String(url))} cannot be read. ${EXPECTED}`);
  }
  const host = (match[1] ?? '').replace(/^\[|\]$/g, '') || '127.0.0.1';
  return { host, port, weight, path: undefined, name: `${host.includes(':') ? `[${host}]` : host}:${port}` };
}

function ignored<const Name extends string>(...names: readonly Name[]): Record<Name, OptionReader<undefined>> {
  return Object.fromEntries(names.map((name) => [name, withoutEffect])) as Record<Name, OptionReader<undefined>>;
}

/** pylibmc takes 0 and 1 as well. */
function flag(value: unknown, name: string): boolean {
  return value === 0 || value === 1 ? value === 1 : boolean(value, toSnakeCase(name));
}

function distribution(value: unknown, name: string): Distribution {
  return oneOf('modula', 'consistent', 'consistent ketama')(value, name) === 'modula' ? 'modula' : 'consistent';
}
