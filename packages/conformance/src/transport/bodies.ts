import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Message } from '@lovage/core/transport';
import { textMessage, type TransportTest, type TransportTrial } from './trial.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, index) => index);

const BODIES: Readonly<Record<string, Uint8Array>> = {
  empty: new Uint8Array(0),
  'one zero byte': Uint8Array.of(0),
  'every byte': ALL_BYTES,
  'every byte, backwards': ALL_BYTES.toReversed(),
  'invalid UTF-8': Uint8Array.of(0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80),
  'UTF-8 with a byte order mark': utf8('\uFEFFtext'),
  'characters of every width': utf8('a\u00e4\u20ac\u{1f33f}\u2028'),
  'quotes, backslashes, line ends': utf8('"\\"\r\n\t\b\0\u007f"'),
  JSON: utf8('[[1, "x"], {"key": null}, {}]'),
  'what looks like base64': utf8('QUJD'),
  'what looks like an envelope': utf8('{"body": "QUJD", "properties": {"body_encoding": "base64"}}'),
};

const HEADERS: Readonly<Record<string, unknown>> = {
  text: 'text',
  'empty text': '',
  unicode: '\u00e4\u20ac\u{1f33f} "\\\n',
  'long text': 'x'.repeat(20_000),
  zero: 0,
  one: 1,
  negative: -1,
  'beyond 32 bits': 4_294_967_297,
  'largest safe integer': Number.MAX_SAFE_INTEGER,
  'smallest safe integer': Number.MIN_SAFE_INTEGER,
  fraction: -0.125,
  'tiny fraction': 1e-9,
  true: true,
  false: false,
  null: null,
  'empty list': [],
  list: [1, 'two', null, [true, { deep: [0.5] }]],
  'empty table': {},
  table: { a: { b: { c: [1, { d: null }] } } },
};

export const bodies: readonly TransportTest[] = [
  {
    name: 'bodies: any bytes arrive as they were',
    async run(trial) {
      const entries = Object.entries(BODIES);
      const got = await exchange(
        trial,
        entries.map(([, body]) => ({
          ...textMessage(''),
          body,
          contentType: 'application/octet-stream',
          contentEncoding: 'binary',
        })),
      );
      for (const [index, [name, body]] of entries.entries()) sameBytes(got[index], body, name);
    },
  },
  {
    name: 'bodies: text with encoding utf-8 arrives as it was, also when its bytes are none',
    async run(trial) {
      const entries = Object.entries(BODIES);
      const got = await exchange(
        trial,
        entries.map(([, body]) => ({
          ...textMessage(''),
          body,
          contentType: 'application/json',
          contentEncoding: 'utf-8',
        })),
      );
      for (const [index, [name, body]] of entries.entries()) sameBytes(got[index], body, name);
    },
  },
  {
    name: 'bodies: random bytes up to 1 MiB arrive as they were',
    async run(trial) {
      const sizes = [1, 255, 4096, 65_535, 65_536, 131_073, 1_048_576];
      const limit = (await trial.open()).capabilities.maxMessageBytes;
      // Envelopes are text: base64 and their own fields take a third more and then some.
      const messages = sizes
        .filter((size) => limit === 0 || size * 1.5 + 4096 <= limit)
        .map((size) => ({
          ...textMessage(''),
          body: new Uint8Array(randomBytes(size)),
          contentType: 'application/octet-stream',
          contentEncoding: 'binary',
        }));
      const got = await exchange(trial, messages);
      for (const [index, { body }] of messages.entries()) sameBytes(got[index], body, `${body.length} bytes`);
    },
  },
  {
    name: 'bodies: a body that is a view into a larger buffer arrives alone, and may be reused once publish resolved',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const buffer = new Uint8Array(64).fill(7);
      buffer.set([1, 2, 3], 10);
      await connection.publish([
        { exchange: '', routingKey: queue, message: { ...textMessage(''), body: buffer.subarray(10, 13) } },
      ]);
      buffer.fill(9);
      const receiver = await trial.receive(connection, queue);
      const delivery = await receiver.takeOne();
      assert.deepEqual([...delivery.message.body], [1, 2, 3]);
      await receiver.settle([delivery], 'ack');
    },
  },
  {
    name: 'bodies: content type and encoding arrive as they were, also when they are empty',
    async run(trial) {
      const kinds = [
        { contentType: 'application/json', contentEncoding: 'utf-8' },
        { contentType: 'application/x-msgpack', contentEncoding: 'binary' },
        { contentType: '', contentEncoding: '' },
      ];
      const got = await exchange(
        trial,
        kinds.map((kind) => ({ ...textMessage('{}'), ...kind })),
      );
      const seen = got.map((message) => ({
        contentType: message?.contentType,
        contentEncoding: message?.contentEncoding,
      }));
      assert.deepEqual(seen, kinds);
    },
  },
  {
    name: 'bodies: headers of every JSON type arrive as they were',
    async run(trial) {
      const [got] = await exchange(trial, [{ ...textMessage('m'), headers: HEADERS }]);
      const seen = plain(got?.headers) as Record<string, unknown>;
      for (const [name, value] of Object.entries(HEADERS)) {
        assert.deepEqual(seen[name], value, `the header ${JSON.stringify(name)}`);
      }
    },
  },
  {
    name: 'bodies: headers named __proto__ and constructor stay headers',
    async run(trial) {
      const headers = JSON.parse(
        '{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 2}}, "deep": {"__proto__": {"polluted": 3}}, "kept": 4}',
      ) as Record<string, unknown>;
      const [got] = await exchange(trial, [{ ...textMessage('m'), headers }]);
      assert.equal(({} as { polluted?: unknown }).polluted, undefined, 'Object.prototype was changed');
      assert.equal(
        (got?.headers as { polluted?: unknown } | undefined)?.polluted,
        undefined,
        'headers inherit from a header',
      );
      assert.equal((got?.headers['deep'] as { polluted?: unknown } | undefined)?.polluted, undefined);
      assert.equal(got?.headers['kept'], 4);
    },
  },
  {
    name: 'bodies: properties arrive as they were',
    async run(trial) {
      const properties: Message['properties'] = {
        correlationId: '7d3f6a8e-0000-4000-8000-000000000000',
        replyTo: 'reply.queue',
        deliveryMode: 2,
        priority: 3,
        expiration: '600000',
      };
      const [full, bare] = await exchange(trial, [
        textMessage('full', properties),
        textMessage('bare', { deliveryMode: 1 }),
      ]);
      for (const key of Object.keys(properties) as (keyof typeof properties)[]) {
        assert.deepEqual(full?.properties[key], properties[key], key);
      }
      assert.equal(bare?.properties.correlationId ?? '', '', 'a correlation id that nobody gave');
      assert.equal(bare?.properties.replyTo ?? '', '', 'a reply address that nobody gave');
    },
  },
];

/** Publishes in one batch; what arrived, in the order of `messages`. */
async function exchange(trial: TransportTrial, messages: readonly Message[]): Promise<(Message | undefined)[]> {
  const connection = await trial.open();
  const queue = await trial.queue(connection);
  const receiver = await trial.receive(connection, queue);
  await connection.publish(
    messages.map((message, index) => ({
      exchange: '',
      routingKey: queue,
      message: { ...message, headers: { ...message.headers, 'kit-index': index } },
    })),
  );
  const deliveries = await receiver.take(messages.length);
  await receiver.settle(deliveries, 'ack');
  for (const { malformed } of deliveries) assert.equal(malformed, undefined, 'a delivery is called malformed');
  return messages.map((_, index) => deliveries.find(({ message }) => message.headers['kit-index'] === index)?.message);
}

function sameBytes(message: Message | undefined, expected: Uint8Array, name: string): void {
  assert.ok(message, `${name}: did not arrive`);
  assert.ok(message.body instanceof Uint8Array, `${name}: the body is no Uint8Array`);
  assert.equal(message.body.length, expected.length, `${name}: length`);
  assert.ok(Buffer.compare(message.body, expected) === 0, `${name}: other bytes`);
}

/** Without prototypes, which own properties from outside need not have. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}
