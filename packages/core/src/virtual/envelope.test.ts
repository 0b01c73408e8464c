import { describe, expect, test } from 'vitest';
import { isLovageError } from '../errors.ts';
import type { Message } from '../transport/message.ts';
import {
  decodeEnvelope,
  MAX_HEADER_DEPTH,
  newDeliveryTag,
  openEnvelope,
  priorityOf,
  sealEnvelope,
} from './envelope.ts';

const message: Message = {
  body: Buffer.from('[[2,2],{},{"callbacks":null}]'),
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  headers: { lang: 'py', task: 'tasks.add', id: '1', timelimit: [null, null], retries: 0, argsrepr: "('é', 2)" },
  properties: { correlationId: '1', replyTo: 'oid', priority: 3, expiration: '5000' },
};

describe('encoding', () => {
  test('writes the layout of Kombu, the tag at the very end', () => {
    const text = sealEnvelope(openEnvelope(message, 'ex', 'key.1'), 'tag-1');
    expect(text.endsWith('"delivery_tag":"tag-1"}}')).toBe(true);
    expect(JSON.parse(text)).toEqual({
      body: Buffer.from(message.body).toString('base64'),
      'content-encoding': 'utf-8',
      'content-type': 'application/json',
      headers: message.headers,
      properties: {
        correlation_id: '1',
        reply_to: 'oid',
        delivery_mode: 2,
        delivery_info: { exchange: 'ex', routing_key: 'key.1' },
        priority: 3,
        expiration: '5000',
        body_encoding: 'base64',
        delivery_tag: 'tag-1',
      },
    });
  });

  test('reads back what it wrote, whatever bytes and names', () => {
    const body = Uint8Array.from({ length: 256 }, (_, index) => index);
    const routingKey = 'ключ "\\\n\u2028\ud800';
    const text = sealEnvelope(openEnvelope({ ...message, body, contentType: '' }, 'é', routingKey), newDeliveryTag());
    for (const payload of [text, new Uint8Array(Buffer.from(text))]) {
      const opened = decodeEnvelope(payload);
      expect(opened.malformed).toBeUndefined();
      expect(new Uint8Array(opened.message.body)).toEqual(body);
      expect(opened.message.contentType).toBe('');
      expect(opened.message.properties).toEqual({ ...message.properties, deliveryMode: 2 });
      expect({ ...opened.message.headers }).toEqual(message.headers);
      expect([opened.exchange, opened.routingKey, opened.redelivered]).toEqual(['é', routingKey, false]);
    }
  });

  test('refuses headers that JSON cannot hold', () => {
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    expect(() => openEnvelope({ ...message, headers: circular }, '', 'q')).toThrow(
      expect.objectContaining({ code: 'ERR_ENCODE' }),
    );
  });

  test('keeps priorities within 0 to 9', () => {
    expect(
      [undefined, -1, 0, 4.7, 9, 300, Number.NaN].map((priority) =>
        priorityOf(priority === undefined ? {} : { priority }),
      ),
    ).toEqual([0, 0, 0, 4, 9, 9, 0]);
  });
});

describe('decoding what others write', () => {
  const base = { 'content-type': 'text/plain', 'content-encoding': 'utf-8', headers: {} };

  test.each([['utf-8'], [null], [undefined], ['']])('a plain text body with body_encoding %j', (body_encoding) => {
    const opened = decodeEnvelope(JSON.stringify({ ...base, body: 'grüß', properties: { body_encoding } }));
    expect(Buffer.from(opened.message.body).toString()).toBe('grüß');
    expect(opened.malformed).toBeUndefined();
  });

  test('an envelope with nothing in it', () => {
    const opened = decodeEnvelope('{}');
    expect(opened).toMatchObject({ exchange: '', routingKey: undefined, deliveryTag: undefined, redelivered: false });
    expect(opened.message).toMatchObject({ contentType: '', contentEncoding: '', properties: {} });
    expect(opened.message.body).toHaveLength(0);
    expect(opened.malformed).toBeUndefined();
  });

  test('Python, with spaces and a restored message', () => {
    const opened = decodeEnvelope(
      '{"body": "W10=", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"redelivered": true}, "properties": {"delivery_info": {"exchange": "", "routing_key": "celery", "redelivered": true}, "reply_to": "", "delivery_tag": "t", "body_encoding": "base64"}}',
    );
    expect(opened).toMatchObject({ redelivered: true, routingKey: 'celery', deliveryTag: 't' });
    expect(opened.message.properties.replyTo).toBeUndefined();
    expect(Buffer.from(opened.message.body).toString()).toBe('[]');
  });

  test('line breaks within base64', () => {
    const opened = decodeEnvelope(
      JSON.stringify({ ...base, body: 'W10\n=\n', properties: { body_encoding: 'base64' } }),
    );
    expect(Buffer.from(opened.message.body).toString()).toBe('[]');
  });

  test('no prototype key survives, at any level and however it is written', () => {
    for (const key of ['__proto__', '\\u005f_proto__', '_\\u005Fproto__']) {
      const opened = decodeEnvelope(
        `{"headers": {"${key}": {"polluted": 1}, "constructor": 2, "deep": {"a": [{"${key}": {"polluted": 1}, "b": 3}]}}, "${key}": {"body": "x"}}`,
      );
      expect(opened.malformed).toBeUndefined();
      expect(Object.getPrototypeOf(opened.message.headers)).toBeNull();
      expect(Object.keys(opened.message.headers)).toEqual(['constructor', 'deep']);
      expect(JSON.stringify(opened.message.headers)).toBe('{"constructor":2,"deep":{"a":[{"b":3}]}}');
      const copy = Object.assign({}, opened.message.headers) as Record<string, unknown>;
      expect(copy['polluted']).toBeUndefined();
    }
  });
});

describe('what is no envelope comes back as malformed, with its bytes', () => {
  const whole = sealEnvelope(openEnvelope(message, '', 'celery'), 'tag');
  const deep = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;
  const kinds: [string, string | Uint8Array][] = [
    ['empty', ''],
    ['not JSON', 'hello'],
    ...Array.from({ length: 9 }, (_, index): [string, string] => [
      `cut at ${(index + 1) * 10} %`,
      whole.slice(0, Math.floor((whole.length * (index + 1)) / 10)),
    ]),
    ['UTF-16', Buffer.from(whole, 'utf16le')],
    ['invalid UTF-8', Buffer.concat([Buffer.from(whole.slice(0, -2)), Buffer.from([0xff, 0xfe]), Buffer.from('}}')])],
    ['a byte order mark', Buffer.from(`\ufeff${whole}`)],
    ['a scalar', '42'],
    ['null', 'null'],
    ['a list', '[]'],
    ['depth 100,000', '['.repeat(100_000) + ']'.repeat(100_000)],
    ['depth 100,000 in a header', `{"headers":{"x":${'['.repeat(100_000) + ']'.repeat(100_000)}}}`],
    ['headers one level too deep', `{"headers":${deep(MAX_HEADER_DEPTH + 1)}}`],
    ['10 MB of white space', ' '.repeat(10_000_000)],
    ['NaN', '{"headers":{"x":NaN}}'],
    ['headers that are a list', '{"headers":[]}'],
    ['properties that are text', '{"properties":"x"}'],
    ['a body that is a number', '{"body":1}'],
    ['base64 that is none', '{"body":"!!!not base64!!!","properties":{"body_encoding":"base64"}}'],
    ['base64 with wrong padding', '{"body":"W10","properties":{"body_encoding":"base64"}}'],
    ['an unknown body encoding', '{"body":"x","properties":{"body_encoding":"rot13"}}'],
  ];
  test.each(kinds)('%s', (_, payload) => {
    const opened = decodeEnvelope(payload);
    expect(isLovageError(opened.malformed, 'ERR_DECODE')).toBe(true);
    expect(Buffer.from(opened.message.body).equals(Buffer.from(payload as string))).toBe(true);
    expect(opened.message.headers).toEqual({});
  });

  test('what looks odd and is readable is read', () => {
    expect(decodeEnvelope(`{"headers":${deep(MAX_HEADER_DEPTH)}}`).malformed).toBeUndefined();
    expect(decodeEnvelope('{"headers":{"a":1,"a":2,"z":-0,"e":1e400,"n\\u0000":"\\ud800"}}').message.headers).toEqual({
      a: 2,
      z: -0,
      e: Number.POSITIVE_INFINITY,
      'n\0': '\ud800',
    });
  });
});
