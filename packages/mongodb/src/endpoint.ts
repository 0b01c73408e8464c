import {
  boolean,
  certReqs,
  nonEmptyText,
  type OptionReader,
  readOptions,
  readTlsFile,
  text,
  toCamelCase,
} from '@lovage/core/options';
import { type BrokerUrl, ConfigError, type Logger } from '@lovage/core/transport';
import type { MongoClientOptions } from 'mongodb';

/** URL schemes of Kombu's MongoDB transport and Celery's MongoDB result backend. */
export const MONGODB_SCHEMES = ['mongodb', 'mongodb+srv'] as const;

/** One deployment of MongoDB to connect to, read from a URL and settings. */
export interface MongoEndpoint {
  /** For the driver; with the password. Never print it. */
  readonly uri: string;
  readonly database: string;
  /** TLS settings beside the URL. */
  readonly tls: MongoClientOptions;
  /** The URL with its secrets masked, for messages. */
  readonly url: string;
  /** Names of the URL's options, lower case. */
  readonly given: ReadonlySet<string>;
}

export interface EndpointSettings {
  /** Where the URL names no database: `kombu_default` for the broker, `celery` for results. */
  readonly defaultDatabase: string;
  /** `broker_use_ssl`, or Kombu's option `ssl`. */
  readonly useSsl?: boolean | Readonly<Record<string, unknown>> | undefined;
  readonly logger?: Logger | undefined;
}

/** Options of pymongo's URLs that have nothing to decide here. */
const PYTHON_ONLY: ReadonlySet<string> = new Set([
  'auto_start_request',
  'connect',
  'datetime_conversion',
  'document_class',
  'fsync',
  'socketkeepalive',
  'tz_aware',
  'unicode_decode_error_handler',
  'uuidrepresentation',
  'waitqueuemultiple',
]);

/** Python's names of TLS settings (`ca_certs`, also with `ssl_` before it), and those of MongoDB's URLs. */
const TLS_OPTIONS = {
  caCerts: nonEmptyText,
  certfile: nonEmptyText,
  keyfile: nonEmptyText,
  keyfilePassword: text,
  password: text,
  certReqs: certReqs,
  checkHostname: boolean,
  tlsCAFile: nonEmptyText,
  tlsCertificateKeyFile: nonEmptyText,
  tlsCertificateKeyFilePassword: text,
  tlsAllowInvalidCertificates: boolean,
  tlsAllowInvalidHostnames: boolean,
} as const satisfies Record<string, OptionReader<unknown>>;

/** In every error about a URL. */
export const EXPECTED_URL =
  'Expected for example "mongodb://user:password@host:27017/database", "mongodb://a:27017,b:27017/database?replicaSet=rs0" or "mongodb+srv://user:password@cluster.example.org/database".';

/**
 * Reads a MongoDB URL as Kombu and the drivers do: a list of hosts, a database (where there is none, the default one),
 * options by name in any case. An empty host means 127.0.0.1. Throws `ConfigError` that shows the right form.
 * Source: kombu/transport/mongodb.py, _parse_uri; MongoDB's connection string specification.
 */
export function readMongoEndpoint(url: BrokerUrl, settings: EndpointSettings): MongoEndpoint {
  const shown = String(url);
  const database = url.path === '' ? settings.defaultDatabase : url.path;
  if (/[/\\. "$*<>:|?\0]/.test(database) || Buffer.byteLength(database) > 63) {
    throw new ConfigError(
      `The database ${JSON.stringify(database)} in ${JSON.stringify(shown)} cannot be one of MongoDB's: at most 63 bytes, without / \\ . " $ * < > : | ? and spaces. ${EXPECTED_URL}`,
    );
  }
  if (url.scheme === 'mongodb+srv' && (url.host === '' || url.host.includes(',') || url.port !== undefined)) {
    throw new ConfigError(
      `The URL ${JSON.stringify(shown)} needs exactly one host name and no port: its servers are looked up in the DNS. ${EXPECTED_URL}`,
    );
  }
  const [address, query] = splitOnce(url.raw, '?');
  const pairs = query.split('&').filter((pair) => pair !== '' && !PYTHON_ONLY.has(nameOf(pair)));
  const nameless = pairs.find((pair) => !/^[^=]+=[^=]+/.test(pair));
  if (nameless !== undefined) {
    throw new ConfigError(
      `The option ${JSON.stringify(nameOf(nameless))} in ${JSON.stringify(shown)} has no value. Expected "name=value". ${EXPECTED_URL}`,
    );
  }
  // The driver wants a slash before the options, and a host.
  const filled = address
    .replace(/^[^:]+:\/\//, `${url.scheme}://`)
    .replace(/^(mongodb:\/\/(?:[^/]*@)?)(?=\/|$)/, '$1127.0.0.1');
  const path = /^[^:]+:\/\/[^/]*$/.test(filled) ? `${filled}/` : filled;
  return {
    uri: pairs.length === 0 ? path : `${path}?${pairs.join('&')}`,
    database,
    tls: readTls(settings),
    url: shown,
    given: new Set(pairs.map(nameOf)),
  };
}

function readTls({ useSsl, logger }: EndpointSettings): MongoClientOptions {
  if (useSsl === undefined || useSsl === false) return {};
  if (useSsl === true) return { tls: true };
  const given = Object.fromEntries(
    Object.entries(useSsl).map(([name, value]) => [toCamelCase(name.replace(/^ssl_/, '')), value]),
  );
  const values = readOptions(given, TLS_OPTIONS, 'The setting for TLS ("broker_use_ssl")');
  const isUnverified = values.certReqs === false || values.tlsAllowInvalidCertificates === true;
  if (isUnverified)
    logger?.warn({}, 'The certificate of MongoDB is not verified: anybody on the way can read and change messages.');
  const ca = values.caCerts ?? values.tlsCAFile;
  const passphrase = values.keyfilePassword ?? values.password ?? values.tlsCertificateKeyFilePassword;
  return {
    tls: true,
    ...(isUnverified ? { tlsAllowInvalidCertificates: true } : {}),
    ...(values.checkHostname === false || values.tlsAllowInvalidHostnames === true
      ? { tlsAllowInvalidHostnames: true }
      : {}),
    ...(ca === undefined ? {} : { ca: readTlsFile(ca, 'ca_certs') }),
    ...(values.certfile === undefined ? {} : { cert: readTlsFile(values.certfile, 'certfile') }),
    ...(values.keyfile === undefined ? {} : { key: readTlsFile(values.keyfile, 'keyfile') }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(values.tlsCertificateKeyFile === undefined ? {} : { tlsCertificateKeyFile: values.tlsCertificateKeyFile }),
  };
}

function splitOnce(text: string, at: string): readonly [string, string] {
  const index = text.indexOf(at);
  return index < 0 ? [text, ''] : [text.slice(0, index), text.slice(index + 1)];
}

function nameOf(pair: string): string {
  return splitOnce(pair, '=')[0].toLowerCase();
}
