import { readFileSync } from 'node:fs';
import type { ConnectionOptions as TlsOptions } from 'node:tls';
import {
  boolean,
  integer,
  nonEmptyText,
  oneOf,
  type OptionReader,
  readOptions,
  record,
  seconds,
  text,
  toCamelCase,
  withoutEffect,
} from '@lovage/core/options';
import { type BrokerUrl, ConfigError, type ConnectOptions, UnsupportedError } from '@lovage/core/transport';

/**
 * The options of the NATS transport, in `broker_transport_options`, camelCase or snake_case. Those that Kombu's transport
 * (in review) has too keep its names and units.
 */
export interface NatsTransportOptions {
  /** Before the names of streams. Default `STREAM_`. */
  readonly streamNamePrefix?: string;
  /** Before the names of consumers. Default `CONSUMER_`. */
  readonly consumerNamePrefix?: string;
  /**
   * Before the subjects of queues, with its last dot: `shop.`. Kombu has none. Default `''`.
   */
  readonly subjectPrefix?: string;
  /**
   * More settings for streams that are created, in JetStream's own names: `num_replicas`, `max_bytes`, `placement`,
   * `storage`, ... A limit makes a full stream refuse messages, and rules out native delays.
   */
  readonly streamConfig?: Readonly<Record<string, unknown>>;
  /** The same for consumers. */
  readonly consumerConfig?: Readonly<Record<string, unknown>>;
  /** The levels of a queue with `x-max-priority`: a message goes to the largest step that is not above its priority. Default `[0, 3, 6, 9]`. */
  readonly prioritySteps?: readonly number[];
  /** Milliseconds after which the messages of a silent consumer are given to somebody else. Default 30000. */
  readonly leaseMs?: number;
  /** The file with JWT and seed of a user (`.creds`). */
  readonly credentialsFile?: string;
  /** The file with the seed of an nkey. */
  readonly nkeySeedFile?: string;
  /** A token, where it shall not stand in the URL. */
  readonly token?: string;
  /** JetStream's domain. */
  readonly domain?: string;
  /** Before the subjects of replies, where the account allows no other. Default `_INBOX`. */
  readonly inboxPrefix?: string;
  /** TLS from the first byte, for servers with `handshake_first`. Default false. */
  readonly tlsFirst?: boolean;
  /** How long a publish waits for the server's confirmation, in seconds. Default 10. */
  readonly publishTimeout?: number;
  /** For opening, in seconds. Default `broker_connection_timeout`, 4. */
  readonly connectionWaitTimeSeconds?: number;
}

/** What may stand in the URL's query as well. */
const URL_OPTIONS = {
  credentialsFile: nonEmptyText,
  nkeySeedFile: nonEmptyText,
  token: nonEmptyText,
  domain: nonEmptyText,
  inboxPrefix: nonEmptyText,
  tlsFirst: boolean,
  connectionWaitTimeSeconds: seconds(0.01),
} as const satisfies Record<string, OptionReader<unknown>>;

const OPTIONS = {
  ...URL_OPTIONS,
  streamNamePrefix: text,
  consumerNamePrefix: text,
  subjectPrefix: subjectPrefix,
  streamConfig: streamConfig,
  consumerConfig: consumerConfig,
  prioritySteps: prioritySteps,
  leaseMs: integer(100),
  publishTimeout: seconds(0.1),
  natsRawBody: envelopesOnly,
  // Readers know both forms by themselves.
  natsMetadataHeaderPrefix: oneOf('Kombu-'),
  natsMetadataHeaderNames: withoutEffect,
  // Nothing is polled, and retries are the supervisor's.
  waitTimeSeconds: withoutEffect,
  visibilityTimeout: withoutEffect,
  pollingInterval: withoutEffect,
  maxRetries: withoutEffect,
  intervalStart: withoutEffect,
  intervalStep: withoutEffect,
  intervalMax: withoutEffect,
  connectRetriesTimeout: withoutEffect,
  errback: withoutEffect,
  callback: withoutEffect,
} as const satisfies Record<string, OptionReader<unknown>>;

/** TLS settings under Python's names. */
const TLS_OPTIONS = {
  caCerts: pem,
  certfile: pem,
  keyfile: pem,
  certReqs: certReqs,
  checkHostname: boolean,
  serverHostname: nonEmptyText,
  ciphers: nonEmptyText,
} as const satisfies Record<string, OptionReader<unknown>>;

export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

/** All that decides how the driver connects and behaves. */
export interface NatsSettings {
  readonly servers: readonly HostAndPort[];
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly token: string | undefined;
  readonly credentials: Uint8Array | undefined;
  readonly nkeySeed: Uint8Array | undefined;
  readonly tls: TlsOptions | undefined;
  readonly tlsFirst: boolean;
  readonly domain: string | undefined;
  readonly inboxPrefix: string | undefined;
  readonly connectTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly publishTimeoutMs: number;
  readonly leaseMs: number;
  readonly streamNamePrefix: string;
  readonly consumerNamePrefix: string;
  readonly subjectPrefix: string;
  readonly streamConfig: Readonly<Record<string, unknown>>;
  readonly consumerConfig: Readonly<Record<string, unknown>>;
  readonly prioritySteps: readonly number[];
  /** The URL with its password masked, for messages. */
  readonly url: string;
}

const DEFAULT_PORT = 4222;
const EXPECTED = 'Expected "nats://user:password@host:4222", several hosts with "," between, or "tls+nats://...".';

/** URL and options to settings. Throws `ConfigError` for what does not exist, `UnsupportedError` for what is refused. */
export function readSettings(url: BrokerUrl, connect: ConnectOptions): NatsSettings {
  const shown = String(url);
  if (url.path !== '') {
    throw new ConfigError(`The URL "${shown}" names a path, and NATS has no virtual hosts. ${EXPECTED}`);
  }
  const query: Record<string, unknown> = {};
  const tlsQuery: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(url.query)) {
    if (name.startsWith('ssl_')) tlsQuery[name] = value;
    else query[name] = value;
  }
  const where = `The URL ${JSON.stringify(shown)}`;
  const options = {
    ...readOptions(connect.transportOptions ?? {}, OPTIONS, 'The NATS transport'),
    ...readOptions(query, URL_OPTIONS, where),
  };
  const { username, password } = url;
  const isToken = username !== undefined && password === undefined;
  return {
    servers: readServers(url, shown),
    username: isToken ? undefined : username,
    password,
    // NATS' own rule for URLs: a user without a password is a token.
    token: options.token ?? (isToken ? username : undefined),
    credentials: readSecret(options.credentialsFile, 'credentials_file'),
    nkeySeed: readSecret(options.nkeySeedFile, 'nkey_seed_file'),
    tls: readTls(url, tlsQuery, connect.useSsl, options.tlsFirst ?? false, where),
    tlsFirst: options.tlsFirst ?? false,
    domain: options.domain,
    inboxPrefix: options.inboxPrefix,
    connectTimeoutMs: options.connectionWaitTimeSeconds ?? connect.connectTimeoutMs ?? 4000,
    heartbeatMs: (connect.heartbeatSeconds ?? 20) * 1000,
    publishTimeoutMs: options.publishTimeout ?? 10_000,
    leaseMs: options.leaseMs ?? connect.leaseMs ?? 30_000,
    streamNamePrefix: options.streamNamePrefix ?? 'STREAM_',
    consumerNamePrefix: options.consumerNamePrefix ?? 'CONSUMER_',
    subjectPrefix: options.subjectPrefix ?? '',
    streamConfig: options.streamConfig ?? {},
    consumerConfig: options.consumerConfig ?? {},
    prioritySteps: options.prioritySteps ?? [0, 3, 6, 9],
    url: shown,
  };
}

function readServers(url: BrokerUrl, shown: string): readonly HostAndPort[] {
  return url.host.split(',').map((server) => {
    const match = /^(\[[^\]]+\]|[^:[\]]*)(?::(\d+))?$/.exec(server);
    const port = match?.[2] === undefined ? (url.port ?? DEFAULT_PORT) : Number(match[2]);
    const isTwice = match?.[2] !== undefined && url.port !== undefined;
    if (match === null || isTwice || port < 1 || port > 65_535) {
      throw new ConfigError(`The server ${JSON.stringify(server)} in "${shown}" cannot be read. ${EXPECTED}`);
    }
    const host = (match[1] ?? '').replace(/^\[|\]$/g, '').toLowerCase();
    // Where "localhost" is ::1 first, a server that listens on IPv4 only is not found.
    return { host: host === '' || host === 'localhost' ? '127.0.0.1' : host, port };
  });
}

function readTls(
  url: BrokerUrl,
  query: Readonly<Record<string, unknown>>,
  useSsl: ConnectOptions['useSsl'],
  tlsFirst: boolean,
  where: string,
): TlsOptions | undefined {
  const isAsked =
    url.scheme === 'tls+nats' ||
    tlsFirst ||
    Object.keys(query).length > 0 ||
    (useSsl !== undefined && useSsl !== false);
  if (!isAsked) return undefined;
  const values = {
    ...readOptions(
      withoutPrefix(typeof useSsl === 'object' ? useSsl : {}),
      TLS_OPTIONS,
      'The setting "broker_use_ssl"',
    ),
    ...readOptions(withoutPrefix(query), TLS_OPTIONS, where),
  };
  return {
    rejectUnauthorized: values.certReqs ?? true,
    ...(values.caCerts === undefined ? {} : { ca: values.caCerts }),
    ...(values.certfile === undefined ? {} : { cert: values.certfile }),
    ...(values.keyfile === undefined ? {} : { key: values.keyfile }),
    ...(values.ciphers === undefined ? {} : { ciphers: values.ciphers }),
    ...(values.serverHostname === undefined ? {} : { servername: values.serverHostname }),
    ...(values.checkHostname === false ? { checkServerIdentity: () => undefined } : {}),
  };
}

function withoutPrefix(given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => [toCamelCase(name.replace(/^ssl_/, '')), value]),
  );
}

function pem(value: unknown, name: string): Buffer {
  return readFile(nonEmptyText(value, name), name);
}

function readSecret(path: string | undefined, name: string): Uint8Array | undefined {
  if (path === undefined) return undefined;
  const bytes = readFile(path, name);
  return name === 'nkey_seed_file' ? Buffer.from(bytes.toString('ascii').trim()) : bytes;
}

function readFile(path: string, name: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new ConfigError(`The file ${JSON.stringify(path)} of "${name}" cannot be read.`, { cause });
  }
}

/** Python's names for `ssl.CERT_*`. For a client, optional means required. */
function certReqs(value: unknown, name: string): boolean {
  const given = typeof value === 'string' ? value.toLowerCase().replace(/^cert_/, '') : value;
  if (given === 'required' || given === 'optional' || given === 2 || given === 1) return true;
  if (given === 'none' || given === 0) return false;
  throw new ConfigError(`The option "${name}" is ${JSON.stringify(value)}. Expected one of: required, optional, none.`);
}

function subjectPrefix(value: unknown, name: string): string {
  const prefix = text(value, name);
  if (prefix === '' || /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.$/.test(prefix)) return prefix;
  throw new ConfigError(
    `The option "${name}" is ${JSON.stringify(prefix)}. Expected words of letters, digits, "_" and "-", each with a dot behind: "shop.".`,
  );
}

/** What the layout rests on is not for choice. */
function configWithout(fixed: readonly string[]): OptionReader<Readonly<Record<string, unknown>>> {
  return (value, name) => {
    const config = record(value, name);
    const wrong = Object.keys(config).find((key) => fixed.includes(key));
    if (wrong === undefined) return config;
    throw new ConfigError(`The option "${name}" sets "${wrong}", which Lovage sets itself. Remove it.`);
  };
}

function streamConfig(value: unknown, name: string): Readonly<Record<string, unknown>> {
  const config = configWithout(['name', 'subjects', 'retention', 'mirror', 'sources', 'sealed'])(value, name);
  if (config['discard'] === 'old') {
    throw new ConfigError(
      `The option "${name}" sets "discard" to "old": a full stream would drop the oldest messages. Leave it out, and a full stream refuses new ones.`,
    );
  }
  return config;
}

function consumerConfig(value: unknown, name: string): Readonly<Record<string, unknown>> {
  return configWithout([
    'name',
    'durable_name',
    'ack_policy',
    'ack_wait',
    'backoff',
    'deliver_policy',
    'deliver_subject',
    'filter_subject',
    'filter_subjects',
    'max_deliver',
    'priority_policy',
    'priority_groups',
  ])(value, name);
}

function envelopesOnly(value: unknown, name: string): undefined {
  if (!boolean(value, name)) return undefined;
  throw new UnsupportedError(
    `The option "${name}" is not supported for publishing. Remove it: messages that Python sends so are read, and Python reads envelopes.`,
  );
}

function prioritySteps(value: unknown, name: string): readonly number[] {
  const steps = value as readonly number[];
  const isValid =
    Array.isArray(value) &&
    steps[0] === 0 &&
    steps.every((step, index) => Number.isInteger(step) && step <= 9 && step > (steps[index - 1] ?? -1));
  if (isValid) return steps;
  throw new ConfigError(
    `The option "${name}" is ${JSON.stringify(value)}. Expected rising integers from 0 to 9 that begin with 0, such as [0, 3, 6, 9].`,
  );
}
