import { BrokerUrl } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import { parseSqlUrl } from '../url.ts';
import { readMysqlAddress } from './address.ts';

function read(text: string, useSsl?: boolean | Record<string, unknown>) {
  const url = new BrokerUrl(text);
  return readMysqlAddress(parseSqlUrl(url), url, useSsl);
}

describe('MySQL URLs', () => {
  test.each(['sqla+mysql://', 'sqla+mysql+pymysql://', 'db+mysql+mysqldb://', 'sqla+mariadb+mariadbconnector://'])(
    '%s',
    (start) => {
      expect(read(`${start}joe:p%40ss@db.example:3307/jobs?charset=utf8mb4`)).toMatchObject({
        host: 'db.example',
        port: 3307,
        user: 'joe',
        password: 'p@ss',
        database: 'jobs',
        tls: undefined,
        socketPath: undefined,
      });
    },
  );

  test('with a socket', () => {
    expect(read('sqla+mysql://joe@/jobs?unix_socket=/run/mysqld/mysqld.sock')).toMatchObject({
      socketPath: '/run/mysqld/mysqld.sock',
    });
  });

  test.each([
    ['?ssl=true', { rejectUnauthorized: true }, 'undefined'],
    ['?ssl_mode=REQUIRED', { rejectUnauthorized: false }, 'function'],
    ['?ssl_mode=VERIFY_IDENTITY', { rejectUnauthorized: true }, 'undefined'],
    ['?ssl_verify_cert=true&ssl_verify_identity=false', { rejectUnauthorized: true }, 'function'],
  ])('TLS by %s', (query, tls, check) => {
    const address = read(`sqla+mysql://h/d${query}`);
    expect(address.tls).toMatchObject(tls);
    expect(typeof address.tls?.checkServerIdentity).toBe(check);
  });

  test('TLS by broker_use_ssl', () => {
    expect(read('sqla+mysql://h/d', true).tls).toMatchObject({ rejectUnauthorized: true });
    expect(read('sqla+mysql://h/d', false).tls).toBeUndefined();
  });

  test.each([
    ['sqla+mysql://joe:secret@h', /names no database. Expected "sqla\+mysql:\/\/user:password@host:3306\/database"/],
    ['sqla+mysql://joe:secret@h/d?charset=latin1', /Expected one of: utf8mb4/],
    ['sqla+mysql://joe:secret@h/d?unix_sockets=/x', /Did you mean "unix_socket"/],
    ['sqla+mysql://joe:secret@a,b/d', /join several URLs by ";"/],
  ])('%s is refused, without its password', (text, message) => {
    expect(() => read(text)).toThrow(message);
    expect(() => read(text)).not.toThrow(/secret/);
  });
});
