import {
  boolean,
  nonEmptyText,
  type OptionReader,
  type OptionValues,
  readOptions,
  readTls,
  readTlsFile,
  seconds,
  splitQuery,
  type TlsSettings,
} from '@lovage/core/options';
import { type BrokerUrl, ConfigError, type ConnectOptions } from '@lovage/core/transport';

/** URL schemes of the transport and the result store. */
export const SCHEMES = ['nats', 'tls+nats'] as const;

/** Options of the connection that the transport and the result store share; in the URL's query too. */
export interface NatsConnectionOptions {
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
  /** For opening, in seconds. Default 4 (`broker_connection_timeout` for the broker). */
  readonly connectionWaitTimeSeconds?: number;
}

/** Readers of {@link NatsConnectionOptions}. */
export const CONNECTION_OPTIONS = {
  credentialsFile: nonEmptyText,
  nkeySeedFile: nonEmptyText,
  token: nonEmptyText,
  domain: nonEmptyText,
  inboxPrefix: nonEmptyText,
  tlsFirst: boolean,
  connectionWaitTimeSeconds: seconds(0.01),
} as const satisfies Record<string, OptionReader<unknown>>;

export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

/** Where the servers are, and how to get in. */
export interface NatsEndpoint {
  readonly servers: readonly HostAndPort[];
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly token: string | undefined;
  readonly credentials: Uint8Array | undefined;
  readonly nkeySeed: Uint8Array | undefined;
  readonly tls: TlsSettings | undefined;
  readonly tlsFirst: boolean;
  readonly domain: string | undefined;
  readonly inboxPrefix: string | undefined;
  readonly connectTimeoutMs: number;
  /** A server that says nothing for two of them is lost. */
  readonly heartbeatMs: number;
  /** The URL with its password masked, for messages. */
  readonly url: string;
}

const DEFAULT_PORT = 4222;
const EXPECTED = 'Expected "nats://user:password@host:4222", several hosts with "," between, or "tls+nats://...".';

/**
 * `nats://user:password@host:port`, `nats://token@host`, several hosts with `,` between, `tls+nats://`. Options in the query
 * win over those given apart. The path is the caller's. Throws `ConfigError`.
 */
export function readEndpoint(
  url: BrokerUrl,
  given: {
    /** Already read by {@link CONNECTION_OPTIONS}. */
    readonly options: OptionValues<typeof CONNECTION_OPTIONS>;
    readonly useSsl?: ConnectOptions['useSsl'];
    readonly connectTimeoutMs?: number | undefined;
    readonly heartbeatMs: number;
  },
): NatsEndpoint {
  const shown = String(url);
  // Everything before the last "@" would be the password, and all servers but the last a part of it.
  if (/@[^@/?#]*,[^/?#]*@/.test(url.raw)) {
    throw new ConfigError(
      `A NATS URL has credentials for each of its servers. Expected them once, before the first server, with "@" and "," percent-encoded in them ("%40", "%2C"). ${EXPECTED}`,
    );
  }
  const where = `The URL ${JSON.stringify(shown)}`;
  const { tls: tlsQuery, rest } = splitQuery(url);
  const options = { ...given.options, ...readOptions(rest, CONNECTION_OPTIONS, where) };
  const { username, password } = url;
  const isToken = username !== undefined && password === undefined;
  const tlsFirst = options.tlsFirst ?? false;
  return {
    servers: readServers(url, shown),
    username: isToken ? undefined : username,
    password,
    // NATS' own rule for URLs: a user without a password is a token.
    token: options.token ?? (isToken ? username : undefined),
    credentials: readSecret(options.credentialsFile, 'credentials_file'),
    nkeySeed: readSecret(options.nkeySeedFile, 'nkey_seed_file'),
    tls: readTls(url, tlsQuery, {
      isSecure: url.scheme === 'tls+nats' || tlsFirst,
      useSsl: given.useSsl,
      // The client itself gives the server's name to TLS.
      host: '',
    }),
    tlsFirst,
    domain: options.domain,
    inboxPrefix: options.inboxPrefix,
    connectTimeoutMs: options.connectionWaitTimeSeconds ?? given.connectTimeoutMs ?? 4000,
    heartbeatMs: given.heartbeatMs,
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

function readSecret(path: string | undefined, name: string): Uint8Array | undefined {
  if (path === undefined) return undefined;
  const bytes = readTlsFile(path, name);
  return name === 'nkey_seed_file' ? Buffer.from(bytes.toString('ascii').trim()) : bytes;
}
