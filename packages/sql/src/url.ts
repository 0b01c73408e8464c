import { type BrokerUrl, ConfigError } from '@lovage/core/transport';

/** The databases that a SQLAlchemy URL can name here. */
export type SqlDialect = 'sqlite' | 'postgresql' | 'mysql' | 'oracle';

/** A SQLAlchemy URL without its Python driver. Source: sqlalchemy/engine/url.py. */
export interface SqlUrl {
  readonly dialect: SqlDialect;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** `''` when absent, as it always is for SQLite. */
  readonly host: string;
  readonly port: number | undefined;
  /** SQLite: the file, relative to the working directory; `''` for a database in memory. Others: the database or SID. */
  readonly database: string;
  readonly query: Readonly<Record<string, string>>;
}

/** SQLAlchemy's dialect names, with MariaDB's own one. */
const DIALECTS: ReadonlyMap<string, SqlDialect> = new Map([
  ['sqlite', 'sqlite'],
  ['postgresql', 'postgresql'],
  ['mysql', 'mysql'],
  ['mariadb', 'mysql'],
  ['oracle', 'oracle'],
]);

/** Every scheme that starts with one of `prefixes`: `sqlSchemes(['db'])` gives `db+sqlite`, `db+postgresql` and so on. */
export function sqlSchemes(prefixes: readonly string[]): readonly string[] {
  return prefixes.flatMap((prefix) => [...DIALECTS.keys()].map((dialect) => `${prefix}+${dialect}`));
}

/**
 * Reads `sqla+sqlite:///relative.db`, `sqla+sqlite:////absolute.db`, `db+postgresql+psycopg2://user@host/db` and the
 * like. A `+driver` is Python's and is dropped. Throws `ConfigError` for what SQLAlchemy would not read either.
 */
export function parseSqlUrl(url: BrokerUrl): SqlUrl {
  const [, name = ''] = url.scheme.split('+');
  const dialect = DIALECTS.get(name);
  if (dialect === undefined) {
    const hint = name === 'postgres' ? ' Write "postgresql"; SQLAlchemy refuses "postgres" as well.' : '';
    throw new ConfigError(
      `The URL "${String(url)}" names the database "${name}". Expected one of: ${[...DIALECTS.keys()].join(', ')}.${hint}`,
    );
  }
  if (dialect === 'sqlite' && (url.host !== '' || url.username !== undefined)) {
    throw new ConfigError(
      `The SQLite URL "${String(url)}" names a host. Expected "${url.scheme}:///relative.db" or "${url.scheme}:////absolute.db".`,
    );
  }
  return {
    dialect,
    username: url.username,
    password: url.password,
    host: url.host,
    port: url.port,
    database: url.path,
    query: url.query,
  };
}
