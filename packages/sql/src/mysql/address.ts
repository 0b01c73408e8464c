import { userInfo } from 'node:os';
import type { ConnectionOptions } from 'node:tls';
import { type BrokerUrl, ConfigError } from '@lovage/core/transport';
import { boolean, nonEmptyText, oneOf, readOptions, seconds, withoutEffect } from '@lovage/core/options';
import { readUseSsl, tlsOptions } from '../server/tls.ts';
import type { SqlUrl } from '../url.ts';

export interface MysqlAddress {
  readonly host: string;
  readonly port: number;
  readonly socketPath: string | undefined;
  readonly user: string;
  readonly password: string | undefined;
  readonly database: string;
  readonly tls: ConnectionOptions | undefined;
  readonly connectTimeoutMs: number | undefined;
}

/** Arguments of mysqlclient, PyMySQL and MySQL Connector/Python as they stand in URLs. */
const PARAMETERS = {
  charset: oneOf('utf8mb4', 'utf8', 'utf8mb3'),
  unixSocket: nonEmptyText,
  connectTimeout: seconds(0),
  connectionTimeout: seconds(0),
  ssl: boolean,
  sslMode: oneOf('DISABLED', 'PREFERRED', 'REQUIRED', 'VERIFY_CA', 'VERIFY_IDENTITY'),
  sslCa: nonEmptyText,
  sslCert: nonEmptyText,
  sslKey: nonEmptyText,
  sslDisabled: boolean,
  sslCheckHostname: boolean,
  sslVerifyCert: boolean,
  sslVerifyIdentity: boolean,
  useUnicode: withoutEffect,
  autocommit: withoutEffect,
  readTimeout: withoutEffect,
  writeTimeout: withoutEffect,
  binaryPrefix: withoutEffect,
  localInfile: withoutEffect,
  sqlMode: withoutEffect,
} as const;

export function readMysqlAddress(
  parsed: SqlUrl,
  url: BrokerUrl,
  useSsl: boolean | Readonly<Record<string, unknown>> | undefined,
): MysqlAddress {
  const given = readOptions(parsed.query, PARAMETERS, `The URL "${String(url)}"`);
  if (parsed.database === '') {
    throw new ConfigError(
      `The URL "${String(url)}" names no database. Expected "${url.scheme}://user:password@host:3306/database".`,
    );
  }
  if (parsed.host.includes(',')) {
    throw new ConfigError(
      `The URL "${String(url)}" names several hosts. Expected one: join several URLs by ";" instead.`,
    );
  }
  return {
    host: parsed.host === '' ? 'localhost' : parsed.host.replace(/^\[(.*)\]$/, '$1'),
    port: parsed.port ?? 3306,
    socketPath: given.unixSocket,
    user: parsed.username ?? userInfo().username,
    password: parsed.password,
    database: parsed.database,
    tls: readTls(given) ?? readUseSsl(useSsl),
    connectTimeoutMs: given.connectTimeout ?? given.connectionTimeout,
  };
}

function readTls(given: ReturnType<typeof readOptions<typeof PARAMETERS>>): ConnectionOptions | undefined {
  const { ssl, sslMode, sslCa, sslCert, sslKey, sslDisabled, sslCheckHostname, sslVerifyCert, sslVerifyIdentity } =
    given;
  if (sslDisabled === true || ssl === false || sslMode === 'DISABLED') return undefined;
  const isAsked = [ssl, sslMode, sslCa, sslCert, sslKey, sslVerifyCert, sslVerifyIdentity].some(
    (option) => option !== undefined && option !== false,
  );
  if (!isAsked || sslMode === 'PREFERRED') return undefined;
  const checkHostname =
    sslVerifyIdentity ?? sslCheckHostname ?? (sslMode === undefined || sslMode === 'VERIFY_IDENTITY');
  return tlsOptions({
    ca: sslCa,
    cert: sslCert,
    key: sslKey,
    verify: sslVerifyCert ?? (sslCa !== undefined || (sslMode === undefined ? true : sslMode.startsWith('VERIFY'))),
    checkHostname,
  });
}
