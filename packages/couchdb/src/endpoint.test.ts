import { inspect } from 'node:util';
import { BrokerUrl, isLovageError } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import { readCouchEndpoint } from './endpoint.ts';

const read = (url: string, useSsl?: boolean) => readCouchEndpoint(new BrokerUrl(url), 'kombu_default', useSsl);

describe('the URL of a CouchDB', () => {
  test.each([
    ['couchdb://', 'http://localhost:5984', 'kombu_default'],
    ['couchdb://db.example.org', 'http://db.example.org:5984', 'kombu_default'],
    ['couchdb://db.example.org/', 'http://db.example.org:5984', 'kombu_default'],
    ['couchdb://db.example.org:1/tasks', 'http://db.example.org:1', 'tasks'],
    ['couchdb://h//tasks/', 'http://h:5984', 'tasks'],
    ['couchdb://h/my%2Ftasks', 'http://h:5984', 'my/tasks'],
    ['couchdb://h/tasks?connect_timeout=3', 'http://h:5984', 'tasks'],
    ['couchdbs://h/tasks', 'https://h:6984', 'tasks'],
    ['couchdb://h/tasks?ssl=true', 'https://h:6984', 'tasks'],
    ['couchdb://h:5984/tasks?ssl_cert_reqs=none', 'https://h:5984', 'tasks'],
    ['couchdb://[::1]:5984/tasks', 'http://[::1]:5984', 'tasks'],
  ])('%s', (url, origin, database) => {
    expect(read(url)).toMatchObject({ origin, database });
  });

  test('user and password are percent-decoded and sent as basic authentication', () => {
    const { headers } = read('couchdb://us%40er:p%3Ass%2F@h/tasks');
    expect(headers['authorization']).toBe(`Basic ${Buffer.from('us@er:p:ss/').toString('base64')}`);
    expect(read('couchdb://h').headers).toEqual({});
  });

  test('broker_use_ssl means TLS, verified unless it says otherwise', () => {
    expect(read('couchdb://h', true)).toMatchObject({ origin: 'https://h:6984', tls: { rejectUnauthorized: true } });
    expect(read('couchdbs://h?ssl_cert_reqs=CERT_NONE').tls).toMatchObject({ rejectUnauthorized: false });
  });

  test.each([
    ['couchdb://u:secret@h/Tasks', /lower-case letter/],
    ['couchdb://u:secret@h/tasks?conect_timeout=3', /connect_timeout/],
    ['couchdb://u:secret@h/tasks?connect_timeout=soon', /seconds/],
    ['couchdb://u:secret@a,b/tasks', /several hosts/],
    ['couchdbs://u:secret@h?ssl_ca_certs=/no/such/file', /cannot be read/],
  ])('%s is refused without its password', (url, message) => {
    let error: unknown;
    try {
      read(url);
    } catch (thrown) {
      error = thrown;
    }
    expect(isLovageError(error, 'ERR_CONFIG')).toBe(true);
    expect((error as Error).message).toMatch(message);
    expect(inspect(error, { depth: 10 })).not.toContain('secret');
  });
});
