import { userInfo } from 'node:os';
import { BrokerUrl } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import { parseSqlUrl } from '../url.ts';
import { readPostgresqlAddress } from './address.ts';

function read(text: string, useSsl?: boolean | Record<string, unknown>) {
  const url = new BrokerUrl(text);
  return readPostgresqlAddress(parseSqlUrl(url), url, useSsl);
}

describe('PostgreSQL URLs', () => {
  test('in the form of SQLAlchemy, the Python driver aside', () => {
    expect(read('sqla+postgresql+psycopg2://joe:p%40ss@db.example:6432/jobs')).toMatchObject({
      host: 'db.example',
      port: 6432,
      user: 'joe',
      password: 'p@ss',
      database: 'jobs',
      mayBePlain: true,
    });
    expect(read('db+postgresql://')).toMatchObject({
      host: 'localhost',
      port: 5432,
      user: userInfo().username,
      database: userInfo().username,
    });
    expect(read('sqla+postgresql://joe@[::1]/jobs')).toMatchObject({ host: '::1', database: 'jobs' });
  });

  test('with a socket: its folder is a host, and TLS is not spoken there', () => {
    expect(read('sqla+postgresql://joe@/jobs?host=/run/postgresql&port=5433')).toMatchObject({
      host: '/run/postgresql',
      port: 5433,
      tls: undefined,
    });
  });

  test.each([
    ['disable', undefined, false],
    ['prefer', { rejectUnauthorized: false }, true],
    ['require', { rejectUnauthorized: false }, false],
    ['verify-ca', { rejectUnauthorized: true }, false],
    ['verify-full', { rejectUnauthorized: true }, false],
  ])('sslmode=%s', (mode, tls, mayBePlain) => {
    const address = read(`sqla+postgresql://h/d?sslmode=${mode}`);
    if (tls === undefined) expect(address.tls).toBeUndefined();
    else expect(address.tls).toMatchObject(tls);
    expect(address.mayBePlain).toBe(mayBePlain);
    expect(typeof address.tls?.checkServerIdentity).toBe(
      mode === 'verify-full' || tls === undefined ? 'undefined' : 'function',
    );
  });

  test('broker_use_ssl verifies, and what the URL says goes before it', () => {
    expect(read('sqla+postgresql://h/d', true)).toMatchObject({ tls: { rejectUnauthorized: true }, mayBePlain: false });
    expect(read('sqla+postgresql://h/d', { ssl_cert_reqs: 'none' })).toMatchObject({
      tls: { rejectUnauthorized: false },
    });
    expect(read('sqla+postgresql://h/d?sslmode=disable', true).tls).toBeUndefined();
  });

  test.each([
    ['sqla+postgresql://h/d?ssl_mode=require', /Did you mean "sslmode"/],
    ['sqla+postgresql://joe:secret@h/d?sslmode=maybe', /Expected one of: disable/],
    ['sqla+postgresql://joe:secret@a,b/d', /joined? several URLs by ";"|join several URLs by ";"/],
    ['sqla+postgresql://h/d?sslrootcert=/no/such/file', /cannot be read/],
    ['sqla+postgresql://h/d?connect_timeout=soon', /seconds/],
  ])('%s is refused, without its password', (text, message) => {
    expect(() => read(text)).toThrow(message);
    expect(() => read(text)).toThrow(expect.objectContaining({ code: 'ERR_CONFIG' }));
    expect(() => read(text)).not.toThrow(/secret/);
  });
});
