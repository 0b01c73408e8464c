import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { BrokerUrl, type ConnectOptions, isLovageError } from '@lovage/core/transport';
import { afterAll, describe, expect, test } from 'vitest';
import { findCredentials } from './credentials.ts';
import { readIronSettings } from './options.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-iron-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const read = (url: string, options: ConnectOptions = {}, found = {}) =>
  readIronSettings(new BrokerUrl(url), options, () => found);

describe('the URL of IronMQ', () => {
  test.each([
    ['ironmq://p:secret@', 'https://mq-aws-us-east-1-1.iron.io'],
    ['ironmq://p:secret@mq-aws-eu-west-1-1.iron.io', 'https://mq-aws-eu-west-1-1.iron.io'],
    ['ironmq://p:secret@mq.example.org:8443?connect_timeout=20', 'https://mq.example.org:8443'],
    ['ironmq://p:secret@127.0.0.1:8080?protocol=http', 'http://127.0.0.1:8080'],
  ])('%s', (url, origin) => {
    const settings = read(url);
    expect(settings.endpoint).toMatchObject({ origin, headers: { authorization: 'OAuth secret' } });
    expect(settings.basePath).toBe('/3/projects/p');
    expect(settings.endpoint.url).not.toContain('secret');
  });

  test('a token with + and percent-encoded signs is what was meant', () => {
    expect(read('ironmq://p:Z+8%2Fx%40@').endpoint.headers).toEqual({ authorization: 'OAuth Z+8/x@' });
  });

  test('what the URL leaves out comes from where the clients of Iron.io look', () => {
    const found = { projectId: 'q', token: 'other', host: 'h', port: '81', protocol: 'http' };
    expect(read('ironmq://', {}, found)).toMatchObject({
      basePath: '/3/projects/q',
      endpoint: { origin: 'http://h:81', headers: { authorization: 'OAuth other' } },
    });
    expect(read('ironmq://p:secret@here', {}, found)).toMatchObject({
      basePath: '/3/projects/p',
      endpoint: { origin: 'http://here' },
    });
  });

  test('a lease is no shorter than IronMQ can reserve', () => {
    expect(read('ironmq://p:t@', { leaseMs: 3000 }).reservationSeconds).toBe(30);
    expect(read('ironmq://p:t@', { leaseMs: 90_500 }).reservationSeconds).toBe(91);
    expect(read('ironmq://p:t@?min_reservation=1', { leaseMs: 3000 }).reservationSeconds).toBe(3);
    expect(read('ironmq://p:t@', { transportOptions: { iron_mq_timeout: 120 } }).reservationSeconds).toBe(120);
  });

  test.each<[string, ConnectOptions, RegExp]>([
    ['ironmq://', {}, /no project id/],
    ['ironmq://p@', {}, /no token/],
    ['ironmq://p:secret@?conect_timeout=3', {}, /connect_timeout/],
    ['ironmq://p:secret@?protocol=ftp', {}, /http, https/],
    ['ironmq://p:secret@', { transportOptions: { ironMqTimeout: 10 } }, /at least 30/],
  ])('%s is refused without its token', (url, options, message) => {
    let error: unknown;
    try {
      read(url, options);
    } catch (thrown) {
      error = thrown;
    }
    expect(isLovageError(error, 'ERR_CONFIG')).toBe(true);
    expect((error as Error).message).toMatch(message);
    expect(inspect(error, { depth: 10 })).not.toContain('secret');
  });
});

describe('credentials', () => {
  const folders = { home: join(folder, 'none'), work: folder };

  test('the environment: of all products, of IronMQ, and a file before both', () => {
    expect(findCredentials({ IRON_PROJECT_ID: 'p', IRON_TOKEN: 't', IRON_MQ_TOKEN: 'mq' }, folders)).toEqual({
      projectId: 'p',
      token: 'mq',
    });
    writeFileSync(join(folder, 'iron.json'), '{"token": "file", "iron_mq": {"host": "h", "port": 8080}}');
    expect(findCredentials({ IRON_MQ_TOKEN: 'mq' }, folders)).toEqual({ token: 'file', host: 'h', port: '8080' });
  });

  test('a file that is no JSON is named, and not quoted', () => {
    writeFileSync(join(folder, 'iron.json'), '{"token": "secret"');
    let error: unknown;
    try {
      findCredentials({}, folders);
    } catch (thrown) {
      error = thrown;
    }
    expect(isLovageError(error, 'ERR_CONFIG')).toBe(true);
    expect(inspect(error, { depth: 10 })).not.toContain('secret');
  });
});
