import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import type { Delivery } from '@lovage/core/transport';
import { texts, textsOf, toQueue, type TransportTest, type TransportTrial } from './trial.ts';

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

const ENVELOPE = JSON.stringify({
  body: 'W1tdLCB7fSwge31d',
  'content-type': 'application/json',
  'content-encoding': 'utf-8',
  headers: { task: 't', id: 'i' },
  properties: {
    delivery_mode: 2,
    delivery_tag: 'd',
    body_encoding: 'base64',
    delivery_info: { exchange: '', routing_key: 'k' },
  },
});

const PAYLOADS: Readonly<Record<string, Uint8Array>> = {
  'nothing at all': new Uint8Array(0),
  'no JSON': utf8('hello'),
  'half of an envelope': utf8(ENVELOPE.slice(0, ENVELOPE.length / 2)),
  'an envelope without its last byte': utf8(ENVELOPE.slice(0, -1)),
  'an envelope with something behind': utf8(`${ENVELOPE}x`),
  'an envelope in UTF-16': new Uint8Array(Buffer.from(ENVELOPE, 'utf16le')),
  'an envelope after a byte order mark': utf8(`\uFEFF${ENVELOPE}`),
  'bytes that are no UTF-8': Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d),
  'a number': utf8('42'),
  'a text': utf8('"text"'),
  null: utf8('null'),
  'a list': utf8('[1, 2, 3]'),
  'an empty table': utf8('{}'),
  'a body alone': utf8('{"body": "x"}'),
  'a body that is no text': utf8('{"body": {"a": 1}, "headers": {}, "properties": {}}'),
  'headers that are a list': utf8(ENVELOPE.replace('{"task":"t","id":"i"}', '[1]')),
  'headers that are null': utf8(ENVELOPE.replace('{"task":"t","id":"i"}', 'null')),
  'properties that are a text': utf8('{"body": "x", "headers": {}, "properties": "none"}'),
  'no delivery tag': utf8(ENVELOPE.replace('"delivery_tag":"d",', '')),
  'a delivery tag that is a table': utf8(ENVELOPE.replace('"delivery_tag":"d"', '"delivery_tag":{}')),
  'an unknown body encoding': utf8(ENVELOPE.replace('"base64"', '"rot13"')),
  'a body that is no base64': utf8(ENVELOPE.replace('W1tdLCB7fSwge31d', '***')),
  'keys of prototypes': utf8(
    ENVELOPE.replace('"task":"t"', '"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":2}}'),
  ),
  'a list of a depth of 20000': utf8('['.repeat(20_000)),
  'much white space': utf8(' '.repeat(500_000)),
  'a NUL in a name': utf8('{"bo\u0000dy": 1}'),
};

export const malformed: readonly TransportTest[] = [
  {
    name: 'malformed: what is no envelope is delivered with its bytes, and the consumer lives on',
    async run(trial) {
      const inject = injector(trial);
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const receiver = await trial.receive(connection, queue, 1);
      const { maxMessageBytes } = connection.capabilities;
      for (const [name, payload] of Object.entries(PAYLOADS)) {
        // What the broker does not take at all cannot come from it.
        if (maxMessageBytes > 0 && payload.length > maxMessageBytes) continue;
        await inject(queue, payload);
        const delivery = await receiver.takeOne(`the delivery of ${name}`);
        checkDelivery(name, payload, delivery);
        await receiver.settle([delivery], 'ack');
        await connection.publish([toQueue(queue, `after ${name}`)]);
        const next = await receiver.take(1, `a good message after ${name}`);
        assert.deepEqual(textsOf(next), [`after ${name}`]);
        await receiver.settle(next, 'ack');
      }
      assert.equal(({} as { polluted?: unknown }).polluted, undefined, 'Object.prototype was changed');
      await trial.ready(connection, queue, 0);
    },
  },
  {
    name: 'malformed: it can be requeued, comes again with its bytes, and counts against the prefetch limit',
    async run(trial) {
      const inject = injector(trial);
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const payload = utf8('no envelope');
      await inject(queue, payload);
      const receiver = await trial.receive(connection, queue, 1);
      const first = await receiver.takeOne();
      await connection.publish([toQueue(queue, 'good')]);
      await trial.barrier(connection);
      assert.equal(receiver.deliveries.length, 1, 'deliveries');
      await receiver.settle([first], 'requeue');
      const bodies = [];
      for (let count = 0; count < 2; count++) {
        const delivery = await receiver.takeOne();
        bodies.push(new TextDecoder().decode(delivery.message.body));
        await receiver.settle([delivery], 'ack');
      }
      assert.deepEqual(bodies.toSorted(), ['good', 'no envelope']);
    },
  },
  {
    name: 'malformed: rejecting it brings it to the dead letter place, with its bytes',
    async run(trial) {
      const inject = injector(trial);
      const connection = await trial.open();
      const dead = trial.name('dead');
      const queue = trial.name('queue');
      await trial.declare(connection, {
        queues: [{ name: dead }, { name: queue, deadLetter: { exchange: '', routingKey: dead } }],
      });
      const payloads = [utf8('no envelope'), utf8('{"half": "\u00e4')];
      const receiver = await trial.receive(connection, queue);
      for (const payload of payloads) await inject(queue, payload);
      await receiver.settle(await receiver.take(2), 'reject');
      const letters = await trial.receive(connection, dead);
      const got = await letters.take(2, 'the dead letters');
      for (const payload of payloads) {
        assert.ok(
          got.some(({ message }) => Buffer.compare(message.body, payload) === 0),
          `no dead letter has the bytes ${Buffer.from(payload).toString('hex')}`,
        );
      }
      await letters.settle(got, 'ack');
    },
  },
  {
    name: 'malformed: many among good ones, and all are delivered',
    async run(trial) {
      const inject = injector(trial);
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      for (const text of texts(10)) {
        await connection.publish([toQueue(queue, text)]);
        await inject(queue, utf8(`broken ${text}`));
      }
      const receiver = await trial.receive(connection, queue, 4);
      for (let count = 0; count < 20; count++) await receiver.settle(await receiver.take(1), 'ack');
      await trial.ready(connection, queue, 0);
    },
  },
];

function injector(trial: TransportTrial): (queue: string, bytes: Uint8Array) => Promise<void> {
  const { inject } = trial.options;
  if (inject === undefined) trial.skip('no "inject" given: this broker has no envelope, or nothing to write past it');
  return inject;
}

/** Readable after all, or called malformed with the bytes as they are. */
function checkDelivery(name: string, payload: Uint8Array, delivery: Delivery): void {
  if (delivery.malformed === undefined) return;
  assert.ok(delivery.malformed instanceof Error, `${name}: "malformed" is no Error`);
  // A store of text cannot keep what is none; there the adapter may have received it changed.
  if (!isUtf8(payload)) return;
  assert.ok(Buffer.compare(delivery.message.body, payload) === 0, `${name}: the body is not what was in the queue`);
}
