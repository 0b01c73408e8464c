import { type BrokerUrl, ConfigError } from '@lovage/core/transport';
import { nonEmptyText, oneOf, readOptions, seconds, text, withoutEffect } from '@lovage/core/options';
import type { SqlUrl } from '../url.ts';

export interface OracleAddress {
  readonly user: string;
  readonly password: string | undefined;
  /** Easy Connect text or a connect descriptor. */
  readonly connectString: string;
  readonly configDir: string | undefined;
  readonly walletLocation: string | undefined;
  readonly walletPassword: string | undefined;
  readonly connectTimeoutMs: number | undefined;
}

/** Options of SQLAlchemy's dialect and of python-oracledb. */
const PARAMETERS = {
  serviceName: nonEmptyText,
  protocol: oneOf('tcp', 'tcps'),
  configDir: nonEmptyText,
  walletLocation: nonEmptyText,
  walletPassword: text,
  tcpConnectTimeout: seconds(0),
  encoding: withoutEffect,
  nencoding: withoutEffect,
  events: withoutEffect,
  threaded: withoutEffect,
  purity: withoutEffect,
  arraysize: withoutEffect,
} as const;

/**
 * `oracle://user:password@host:1521/SID`, `oracle://user:password@host:1521/?service_name=NAME`, and
 * `oracle://user:password@ALIAS` of a `tnsnames.ora` in `config_dir`.
 * Source: sqlalchemy/dialects/oracle/oracledb.py.
 */
export function readOracleAddress(parsed: SqlUrl, url: BrokerUrl, useSsl: unknown): OracleAddress {
  const given = readOptions(parsed.query, PARAMETERS, `The URL "${String(url)}"`);
  const expected = `Expected "${url.scheme}://user:password@host:1521/?service_name=NAME", or "/SID" in its place.`;
  if (parsed.username === undefined) throw new ConfigError(`The URL "${String(url)}" names no user. ${expected}`);
  if (parsed.host === '') throw new ConfigError(`The URL "${String(url)}" names no host. ${expected}`);
  if (parsed.database !== '' && given.serviceName !== undefined) {
    throw new ConfigError(`The URL "${String(url)}" names a SID and a service. ${expected}`);
  }
  const isAlias = parsed.database === '' && given.serviceName === undefined && parsed.port === undefined;
  if (!isAlias && parsed.database === '' && given.serviceName === undefined) {
    throw new ConfigError(`The URL "${String(url)}" names neither a service nor a SID. ${expected}`);
  }
  const isTls = given.protocol === 'tcps' || (useSsl !== undefined && useSsl !== false);
  const [protocol, host, port] = [isTls ? 'tcps' : 'tcp', parsed.host, parsed.port ?? 1521];
  const target =
    given.serviceName === undefined
      ? `SID=${checked(parsed.database, url)}`
      : `SERVICE_NAME=${checked(given.serviceName, url)}`;
  return {
    user: parsed.username,
    password: parsed.password,
    connectString: isAlias
      ? parsed.host
      : `(DESCRIPTION=(ADDRESS=(PROTOCOL=${protocol})(HOST=${host})(PORT=${port}))(CONNECT_DATA=(${target})))`,
    configDir: given.configDir,
    walletLocation: given.walletLocation,
    walletPassword: given.walletPassword,
    connectTimeoutMs: given.tcpConnectTimeout,
  };
}

/** A parenthesis would change the descriptor. */
function checked(name: string, url: BrokerUrl): string {
  if (/^[\w.$#-]*$/.test(name)) return name;
  throw new ConfigError(
    `The URL "${String(url)}" names the database ${JSON.stringify(name)}. Expected letters, digits, "_", ".", "$", "#" or "-".`,
  );
}
