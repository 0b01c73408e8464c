import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Message } from '../transport/message.ts';
import { openEnvelope, sealEnvelope } from './envelope.ts';
import { PayloadPacker, PulledDelivery } from './pulled-delivery.ts';

const messageOf = (size = 20): Message => ({
  body: Buffer.from('x'.repeat(size)),
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  headers: { task: 'proj.add', id: randomUUID(), eta: new Date().toISOString(), argsrepr: '(1, 2)', 'my-ünïcode': '✓' },
  properties: { correlationId: randomUUID(), deliveryMode: 2, priority: 3 },
});
const payloadOf = (message: Message): Buffer => Buffer.from(sealEnvelope(openEnvelope(message, '', 'q'), randomUUID()));

describe('a delivery at rest', () => {
  test('gives its message as before, at every look and when it rests no more', () => {
    const packer = new PayloadPacker();
    for (const size of [20, 20, 3000, 100_000]) {
      const message = messageOf(size);
      const delivery = new PulledDelivery(payloadOf(message), 'q', 1, packer);
      const before = structuredClone(delivery.message);
      delivery.rest(true);
      delivery.rest(true);
      expect(structuredClone(delivery.message)).toEqual(before);
      expect(delivery.message).not.toBe(delivery.message);
      delivery.rest(false);
      expect(structuredClone(delivery.message)).toEqual(before);
      expect(delivery.message).toBe(delivery.message);
    }
  });

  test('a payload that came as text, and one that is no envelope', () => {
    const packer = new PayloadPacker();
    for (const payload of [payloadOf(messageOf()).toString(), 'not JSON', Uint8Array.of(255, 0, 1)]) {
      const delivery = new PulledDelivery(payload, 'q', 1, packer);
      const before = structuredClone(delivery.message);
      delivery.rest(true);
      expect(structuredClone(delivery.message)).toEqual(before);
    }
  });

  test('messages of one kind take a third of their bytes, and share them with nothing larger', () => {
    const packer = new PayloadPacker();
    const payloads = Array.from({ length: 2000 }, () => payloadOf(messageOf()));
    const sent = payloads.reduce((sum, { length }) => sum + length, 0);
    const stores = new Set<ArrayBufferLike>();
    for (const payload of payloads) stores.add(packer.pack(payload).bytes.buffer);
    const kept = [...stores].reduce((sum, { byteLength }) => sum + byteLength, 0);
    expect(kept).toBeLessThan(sent / 3);
  });
});
