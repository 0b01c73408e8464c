import { BrokerUrl } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import { parseSqlUrl } from '../url.ts';
import { readOracleAddress } from './address.ts';

function read(text: string, useSsl?: boolean) {
  const url = new BrokerUrl(text);
  return readOracleAddress(parseSqlUrl(url), url, useSsl);
}

describe('Oracle URLs', () => {
  test.each([
    [
      'sqla+oracle+oracledb://joe:pw@h:1522/XE',
      '(DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST=h)(PORT=1522))(CONNECT_DATA=(SID=XE)))',
    ],
    [
      'db+oracle+cx_oracle://joe:pw@h/?service_name=jobs.example',
      '(DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST=h)(PORT=1521))(CONNECT_DATA=(SERVICE_NAME=jobs.example)))',
    ],
    [
      'sqla+oracle://joe:pw@h:2484/?service_name=jobs&protocol=tcps',
      '(DESCRIPTION=(ADDRESS=(PROTOCOL=tcps)(HOST=h)(PORT=2484))(CONNECT_DATA=(SERVICE_NAME=jobs)))',
    ],
    ['sqla+oracle://joe:pw@JOBS?config_dir=/etc/oracle', 'JOBS'],
  ])('%s', (text, connectString) => {
    expect(read(text)).toMatchObject({ user: 'joe', password: 'pw', connectString });
  });

  test('broker_use_ssl is the protocol tcps', () => {
    expect(read('sqla+oracle://joe:pw@h/XE', true).connectString).toContain('PROTOCOL=tcps');
  });

  test.each([
    ['sqla+oracle://h/XE', /names no user/],
    ['sqla+oracle://joe:secret@/XE', /names no host/],
    ['sqla+oracle://joe:secret@h:1521', /neither a service nor a SID/],
    ['sqla+oracle://joe:secret@h/XE?service_name=x', /a SID and a service/],
    ['sqla+oracle://joe:secret@h/X%29%28Y', /Expected letters/],
    ['sqla+oracle://joe:secret@h/XE?servicename=x', /Did you mean "serviceName"|Did you mean "service_name"/],
  ])('%s is refused, without its password', (text, message) => {
    expect(() => read(text)).toThrow(message);
    expect(() => read(text)).not.toThrow(/secret/);
  });
});
