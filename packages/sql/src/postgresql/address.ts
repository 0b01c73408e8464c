import { userInfo } from 'node:os';
import type { ConnectionOptions } from 'node:tls';
import { type BrokerUrl, ConfigError } from '@lovage/core/transport';
import { integer, nonEmptyText, oneOf, readOptions, seconds, text, withoutEffect } from '@lovage/core/options';
import { readUseSsl, tlsOptions } from '../server/tls.ts';
import type { SqlUrl } from '../url.ts';

export interface PostgresqlAddress {
  /** A host, or the folder of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string | undefined;
  readonly database: string;
  /** undefined: no TLS. */
  readonly tls: ConnectionOptions | undefined;
  /** When the server does not speak TLS, go on without. */
  readonly mayBePlain: boolean;
  readonly applicationName: string;
  /** Command-line options for the session: `-c search_path=jobs`. */
  readonly options: string | undefined;
  readonly connectTimeoutMs: number | undefined;
}

/** libpq's connection parameters. Source: PostgreSQL manual, "Parameter Key Words". */
const PARAMETERS = {
  host: nonEmptyText,
  port: integer(1, 65535),
  user: nonEmptyText,
  password: text,
  dbname: nonEmptyText,
  sslmode: oneOf('disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'),
  sslrootcert: nonEmptyText,
  sslcert: nonEmptyText,
  sslkey: nonEmptyText,
  applicationName: text,
  options: text,
  connectTimeout: seconds(0),
  // What node-postgres decides by itself, or what is TCP's.
  clientEncoding: withoutEffect,
  keepalives: withoutEffect,
  keepalivesIdle: withoutEffect,
  keepalivesInterval: withoutEffect,
  keepalivesCount: withoutEffect,
  tcpUserTimeout: withoutEffect,
  gssencmode: withoutEffect,
  channelBinding: withoutEffect,
  targetSessionAttrs: withoutEffect,
  fallbackApplicationName: withoutEffect,
} as const;

export function readPostgresqlAddress(
  parsed: SqlUrl,
  url: BrokerUrl,
  useSsl: boolean | Readonly<Record<string, unknown>> | undefined,
): PostgresqlAddress {
  const given = readOptions(parsed.query, PARAMETERS, `The URL "${String(url)}"`);
  const host = given.host ?? (parsed.host === '' ? 'localhost' : parsed.host.replace(/^\[(.*)\]$/, '$1'));
  if (host.includes(',')) {
    throw new ConfigError(
      `The URL "${String(url)}" names several hosts. Expected one: join several URLs by ";" instead.`,
    );
  }
  const user = parsed.username ?? given.user ?? userInfo().username;
  const fromSettings = readUseSsl(useSsl);
  const sslmode = given.sslmode ?? (fromSettings === undefined ? 'prefer' : 'verify-full');
  const isPlain = sslmode === 'disable' || host.startsWith('/');
  return {
    host,
    port: parsed.port ?? given.port ?? 5432,
    user,
    password: parsed.password ?? given.password,
    database: parsed.database || given.dbname || user,
    tls: isPlain
      ? undefined
      : given.sslmode === undefined && fromSettings !== undefined
        ? fromSettings
        : tlsOptions({
            ca: given.sslrootcert,
            cert: given.sslcert,
            key: given.sslkey,
            // As libpq: "require" verifies only against a root certificate that was given.
            verify: sslmode.startsWith('verify') || (sslmode === 'require' && given.sslrootcert !== undefined),
            checkHostname: sslmode === 'verify-full',
          }),
    mayBePlain: sslmode === 'prefer' || sslmode === 'allow',
    applicationName: given.applicationName ?? 'lovage',
    options: given.options,
    connectTimeoutMs: given.connectTimeout,
  };
}
