import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readTls, readTlsSettings, splitQuery, type TlsRequest } from './tls-options.ts';
import { BrokerUrl } from './url.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-tls-'));
const file = join(folder, 'a.pem');
writeFileSync(file, 'PEM');
afterAll(() => rmSync(folder, { recursive: true }));

function read(text: string, request: Partial<TlsRequest> = {}) {
  const url = new BrokerUrl(text);
  return readTls(url, splitQuery(url).tls, { isSecure: false, useSsl: undefined, ...request });
}

describe('TLS is asked for', () => {
  test('by the scheme, the query or the setting, and verifies unless told not to', () => {
    expect(read('x://Host')).toBeUndefined();
    expect(read('x://Host', { useSsl: false })).toBeUndefined();
    expect(read('x://Host', { isSecure: true })).toEqual({ rejectUnauthorized: true, servername: 'host' });
    expect(read('x://Host?ssl=true')).toEqual({ rejectUnauthorized: true, servername: 'host' });
    expect(read('x://Host', { useSsl: true })).toEqual({ rejectUnauthorized: true, servername: 'host' });
    expect(read('x://Host?ssl_cert_reqs=CERT_NONE')).toMatchObject({ rejectUnauthorized: false });
    expect(read('x://Host?ssl_cert_reqs=optional')).toMatchObject({ rejectUnauthorized: true });
  });

  test('an address, or a host that is not known, is not named in the handshake', () => {
    for (const url of ['x://127.0.0.1', 'x://[::1]:5', 'x://']) {
      expect(read(url, { isSecure: true })).toEqual({ rejectUnauthorized: true });
    }
    expect(read('x://sentinel', { isSecure: true, host: '' })).toEqual({ rejectUnauthorized: true });
    expect(read('x://1.2.3.4?ssl_server_hostname=a.test', { isSecure: true })).toMatchObject({ servername: 'a.test' });
  });
});

test.each([
  [
    { ssl_cert_reqs: 0, ssl_ciphers: 'X' },
    { rejectUnauthorized: false, ciphers: 'X' },
  ],
  [
    { certReqs: 2, keyfile_password: 'p' },
    { rejectUnauthorized: true, passphrase: 'p' },
  ],
  [
    { ca_certs: file, certfile: file, keyfile: file },
    { ca: 'PEM', cert: 'PEM', key: 'PEM' },
  ],
  [
    { ca: file, cert: file, key: file, password: 'p' },
    { ca: 'PEM', cert: 'PEM', key: 'PEM', passphrase: 'p' },
  ],
  [{ sslCaData: 'DATA', minVersion: 'TLSv1.2' }, { ca: 'DATA' }],
  [{ check_hostname: 'true' }, {}],
])('%o is %o for Node', (given, expected) => {
  const settings = readTlsSettings(given, 'The setting');
  const texts = Object.entries(settings).map(([name, value]) => [
    name,
    Buffer.isBuffer(value) ? value.toString() : value,
  ]);
  expect(Object.fromEntries(texts)).toEqual(expected);
});

test('what the URL says wins over the setting', () => {
  const useSsl = { certReqs: 'none', checkHostname: false };
  expect(read('x://h', { useSsl })).toMatchObject({
    rejectUnauthorized: false,
    checkServerIdentity: expect.anything(),
  });
  expect(read('x://h?ssl_cert_reqs=required&ssl_check_hostname=true', { useSsl })).toEqual({
    rejectUnauthorized: true,
    servername: 'h',
  });
});

test.each([
  ['x://h?ssl_cert_reqs=maybe', {}, /Expected one of: required, optional, none/],
  ['x://u:secret@h?ssl_ca_certs=/no/such/file', {}, /The file "\/no\/such\/file" of "ssl_ca_certs" cannot be read/],
  ['x://u:secret@h?ssl_ca_cert=x', {}, /The URL "x:\/\/u:\*\*@h.*Did you mean "(caCerts|ca_certs)"/],
  ['x://h?ssl_ca_path=/etc', {}, /Give one file with all authorities/],
  [
    'x://h',
    { useSsl: { verify: true }, setting: '"own_ssl"' },
    /The setting for TLS \("own_ssl"\) has no option "verify"/,
  ],
])('%s is refused', (url, request, message) => {
  expect(() => read(url, request)).toThrow(message);
});
