import type { BackendOptions } from '@lovage/core/backend';
import { expect, test } from 'vitest';
import { readReplySettings } from './options.ts';

function options(settings: Record<string, unknown>, expiresSeconds: number | undefined = 86_400): BackendOptions {
  return {
    settings,
    expiresSeconds,
    oid: 'oid',
    codec: {
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      encode: JSON.stringify,
      decode: (data) => JSON.parse(String(data)) as unknown,
    },
    brokerConnection: () => Promise.reject(new Error('unused')),
  };
}

test("reads Celery's settings, with its defaults", () => {
  expect(readReplySettings(options({}))).toEqual({
    keepMs: 86_400_000,
    queueExpiresMs: 86_400_000,
    persistent: undefined,
    exchange: 'celeryresults',
    exchangeType: 'direct',
  });
  expect(
    readReplySettings({ ...options({ resultPersistent: true, resultExchange: 'mine' }), expiresSeconds: undefined }),
  ).toMatchObject({
    queueExpiresMs: undefined,
    persistent: true,
    exchange: 'mine',
  });
});

test('refuses settings that are none', () => {
  expect(() => readReplySettings(options({ resultExchange: '' }))).toThrowError(/resultExchange/);
  expect(() => readReplySettings(options({ resultExchangeType: 'fanout' }))).toThrowError(/"direct" or "topic"/);
});
