import type { Message } from '@lovage/core/transport';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ByteWriter } from './byte-writer.ts';
import { ContentReader, type IncomingMessage, readMessage, writePublish } from './content.ts';

const FRAME_MAX = 4096;

interface Frame {
  readonly type: number;
  readonly channel: number;
  readonly payload: Buffer;
}

function framesOf(message: Message, address = { exchange: 'ex', routingKey: 'key' }): Frame[] {
  const out = new ByteWriter();
  const chunks: Buffer[] = [];
  writePublish(out, 7, FRAME_MAX, address.exchange, address.routingKey, true, message, (bytes) => {
    chunks.push(out.take(), Buffer.from(bytes));
  });
  const bytes = Buffer.concat([...chunks, out.take()]);
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = bytes.readUInt32BE(at + 3);
    expect(size + 8).toBeLessThanOrEqual(FRAME_MAX);
    expect(bytes[at + 7 + size]).toBe(0xce);
    frames.push({
      type: bytes[at] as number,
      channel: bytes.readUInt16BE(at + 1),
      payload: bytes.subarray(at + 7, at + 7 + size),
    });
    at += size + 8;
  }
  return frames;
}

/** basic.deliver for the frames of a publish. */
function deliver(frames: readonly Frame[], tag = 5): Buffer {
  expect(frames[0]?.payload.readUInt32BE(0)).toBe(0x003c_0028);
  return Buffer.concat([
    Buffer.from([0, 0x3c, 0, 0x3c]),
    shortString('consumer'),
    Buffer.from([0, 0, 0, 0, 0, 0, 0, tag, 1]),
    shortString('ex'),
    shortString('key'),
  ]);
}

function shortString(text: string): Buffer {
  return Buffer.concat([Buffer.from([Buffer.byteLength(text)]), Buffer.from(text)]);
}

const message: fc.Arbitrary<Message> = fc.record({
  body: fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ minLength: 4000, maxLength: 40_000, size: 'max' })),
  contentType: fc.constantFrom('', 'application/json'),
  contentEncoding: fc.constantFrom('', 'utf-8', 'binary'),
  headers: fc.dictionary(fc.string({ maxLength: 20 }), fc.oneof(fc.string(), fc.integer(), fc.constant(null))),
  properties: fc.record(
    {
      correlationId: fc.string({ maxLength: 50 }),
      replyTo: fc.string({ maxLength: 50 }),
      deliveryMode: fc.constantFrom(1 as const, 2 as const),
      priority: fc.integer({ min: 0, max: 9 }),
      expiration: fc.nat().map(String),
    },
    { requiredKeys: [] },
  ),
});

describe('content frames', () => {
  test('bring a message over unchanged, bodies split at any size', () => {
    fc.assert(
      fc.property(message, (sent) => {
        const frames = framesOf(sent);
        const received: IncomingMessage[] = [];
        const reader = new ContentReader({
          delivered: (consumerTag, tag, redelivered, exchange, routingKey, incoming) => {
            expect({ consumerTag, tag, redelivered, exchange, routingKey }).toEqual({
              consumerTag: 'consumer',
              tag: 5,
              redelivered: true,
              exchange: 'ex',
              routingKey: 'key',
            });
            received.push(incoming);
          },
        });
        expect(reader.take(1, deliver(frames))).toBe(true);
        for (const { type, payload } of frames.slice(1)) expect(reader.take(type, payload)).toBe(true);
        expect(received).toHaveLength(1);
        const [incoming] = received as [IncomingMessage];
        expect(incoming.malformed).toBeUndefined();
        expect(Buffer.compare(Buffer.from(incoming.body), Buffer.from(sent.body))).toBe(0);
        expect({ ...incoming.headers }).toEqual({ ...sent.headers });
        expect(incoming.properties).toEqual({ deliveryMode: 2, ...sent.properties });
        expect([incoming.contentType, incoming.contentEncoding]).toEqual([sent.contentType, sent.contentEncoding]);
      }),
    );
  });

  test('with unreadable headers or properties give a malformed message with its body', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const header = Buffer.concat([Buffer.alloc(12), Buffer.from(bytes)]);
        const read = readMessage(header, Buffer.from('body'));
        expect(read.body.toString()).toBe('body');
        expect(Object.getPrototypeOf(read.headers)).toBeNull();
      }),
      { numRuns: 2000 },
    );
    // flags: headers only; one entry of the unknown type "?".
    const unknown = Buffer.concat([Buffer.alloc(12), Buffer.from([0x20, 0, 0, 0, 0, 3, 1, 0x6b, 0x3f])]);
    expect(readMessage(unknown, Buffer.alloc(0)).malformed?.message).toMatch(/type tag 0x3f/);
  });

  test('too large for a frame are refused before a byte is written', () => {
    const out = new ByteWriter();
    const large: Message = {
      body: Buffer.alloc(0),
      contentType: '',
      contentEncoding: '',
      headers: { h: 'x'.repeat(5000) },
      properties: {},
    };
    expect(() => writePublish(out, 1, FRAME_MAX, '', 'q', false, large, () => {})).toThrowError(/frame_max/);
    expect(out.length).toBe(0);
    expect(() =>
      writePublish(out, 1, FRAME_MAX, '', 'q'.repeat(256), false, { ...large, headers: {} }, () => {}),
    ).toThrowError(/256 bytes/);
    expect(out.length).toBe(0);
  });

  test('of other classes are left to the client library', () => {
    const reader = new ContentReader({ delivered: () => {} });
    expect(reader.take(1, Buffer.from([0, 10, 0, 11]))).toBe(false);
    expect(reader.take(2, Buffer.alloc(20))).toBe(false);
    expect(reader.take(3, Buffer.alloc(20))).toBe(false);
  });
});
