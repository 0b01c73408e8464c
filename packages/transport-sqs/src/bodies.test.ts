import { describe, expect, test } from 'vitest';
import { bodyBytes, fromBody, toBody } from './bodies.ts';

const envelope = '{"body": "e30=", "headers": {}, "properties": {"body_encoding": "base64"}}';

test.each([envelope, '{"body":"ä€","properties":{}}'])('%s comes back, as base64 and as text', (payload) => {
  for (const base64 of [true, false]) {
    const body = toBody(payload, base64);
    expect(Buffer.byteLength(body)).toBe(bodyBytes(payload, base64));
    expect(fromBody(body)).toBe(payload);
  }
  expect(toBody(payload, true)).toBe(Buffer.from(payload).toString('base64'));
});

describe('what other programs send', () => {
  test('an object that is no envelope becomes the body of one', () => {
    const event = '{"Records": [{"eventName": "ObjectCreated:Put"}]}';
    for (const body of [event, Buffer.from(event).toString('base64')]) {
      expect(JSON.parse(fromBody(body) as string)).toEqual({ body: event, properties: {} });
    }
  });

  test.each(['hello', '42', 'abcd', '', '{"half": ', '[1]'])('%j stays what it is', (text) => {
    expect(fromBody(text)).toBe(text);
  });
});
