import { boolean, nonEmptyText, readOptions, readTls, seconds, splitQuery, withoutEffect } from '@lovage/core/options';
import { type BrokerUrl, ConfigError } from '@lovage/core/transport';
import type { HttpEndpoint } from '@lovage/http';

export const SCHEMES = ['couchdb', 'couchdbs'] as const;
const DEFAULT_PORT = 5984;
const DEFAULT_TLS_PORT = 6984;

/** One database of one CouchDB. */
export interface CouchEndpoint extends HttpEndpoint {
  readonly database: string;
  /** From the URL; undefined: the caller's own default. */
  readonly connectTimeoutMs: number | undefined;
}

/** Options of the URL's query, beside `ssl` and `ssl_...`. Kombu's others are taken and have nothing to decide. */
const URL_OPTIONS = {
  connectTimeout: seconds(0.01),
  heartbeat: withoutEffect,
  insist: boolean,
  loginMethod: nonEmptyText,
};

/**
 * Reads `couchdb://user:password@host:5984/database`; `couchdbs://`, `?ssl=true`, any `ssl_...` option and Celery's
 * `broker_use_ssl` mean TLS, by default on port 6984. Throws `ConfigError`.
 * Source: kombu/transport/couchdb.py (3.0), Channel._open.
 */
export function readCouchEndpoint(
  url: BrokerUrl,
  defaultDatabase: string,
  useSsl?: boolean | Readonly<Record<string, unknown>>,
): CouchEndpoint {
  const { tls: tlsQuery, rest } = splitQuery(url);
  const options = readOptions(rest, URL_OPTIONS, `The URL ${JSON.stringify(String(url))}`);
  const tls = readTls(url, tlsQuery, { isSecure: url.scheme === 'couchdbs', useSsl });
  if (url.host.includes(',')) {
    throw new ConfigError(
      `The URL ${JSON.stringify(String(url))} names several hosts. Give one, or several URLs separated by ";".`,
    );
  }
  const host = url.host === '' ? 'localhost' : url.host;
  return {
    service: 'CouchDB',
    origin: `${tls === undefined ? 'http' : 'https'}://${host}:${url.port ?? (tls === undefined ? DEFAULT_PORT : DEFAULT_TLS_PORT)}`,
    headers: credentials(url),
    tls,
    url: String(url),
    database: readDatabase(url, defaultDatabase),
    connectTimeoutMs: options.connectTimeout,
  };
}

function credentials({ username, password }: BrokerUrl): Readonly<Record<string, string>> {
  if (username === undefined) return {};
  return { authorization: `Basic ${Buffer.from(`${username}:${password ?? ''}`).toString('base64')}` };
}

/** Source: docs.couchdb.org, "PUT /{db}": the names that CouchDB takes. */
function readDatabase(url: BrokerUrl, defaultDatabase: string): string {
  const name = url.path.replace(/^\/+|\/+$/g, '');
  if (name === '') return defaultDatabase;
  if (!/^[a-z][a-z0-9_$()+/-]*$/.test(name)) {
    throw new ConfigError(
      `The database ${JSON.stringify(name)} in "${String(url)}" has a name that CouchDB does not take. Expected a lower-case letter, followed by lower-case letters, digits and "_$()+-/".`,
    );
  }
  return name;
}
