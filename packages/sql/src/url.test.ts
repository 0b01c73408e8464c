import { BrokerUrl, isLovageError } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import { checkIdentifier } from './identifiers.ts';
import { parseSqlUrl, sqlSchemes } from './url.ts';

describe('SQLAlchemy URLs', () => {
  test.each([
    ['sqla+sqlite:///relative.db', 'sqlite', 'relative.db'],
    ['sqla+sqlite:////var/lib/x.db', 'sqlite', '/var/lib/x.db'],
    ['sqlalchemy+sqlite+pysqlite:///a%20b.db', 'sqlite', 'a b.db'],
    ['sqla+sqlite://', 'sqlite', ''],
    ['db+sqlite:///results.db', 'sqlite', 'results.db'],
    ['sqla+postgresql+psycopg2://u:p@h:5432/db', 'postgresql', 'db'],
    ['db+mariadb+pymysql://u:p@h/db', 'mysql', 'db'],
    ['sqla+oracle+oracledb://u:p@h:1521/sid', 'oracle', 'sid'],
  ])('%s', (url, dialect, database) => {
    expect(parseSqlUrl(new BrokerUrl(url))).toMatchObject({ dialect, database });
  });

  test.each(['sqla+postgres://h/db', 'sqla+nosql://h/db', 'sqla+sqlite://host/x.db'])('refuses %s', (url) => {
    expect(() => parseSqlUrl(new BrokerUrl(url))).toThrow(expect.objectContaining({ code: 'ERR_CONFIG' }));
  });

  test('knows every spelling of a scheme', () => {
    expect(sqlSchemes(['sqla', 'db'])).toEqual(
      expect.arrayContaining(['sqla+sqlite', 'db+sqlite', 'db+postgresql', 'db+mariadb', 'sqla+oracle']),
    );
  });

  test.each(['', 'a b', 'x;drop table y', '"', '1a', 'a'.repeat(64), 7])('refuses the table name %j', (name) => {
    let caught: unknown;
    try {
      checkIdentifier(name, 'queueTablename');
    } catch (error) {
      caught = error;
    }
    expect(isLovageError(caught, 'ERR_CONFIG')).toBe(true);
  });
});
