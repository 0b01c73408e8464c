import { describe, expect, test } from 'vitest';
import { memoryTransport } from '../memory/memory-transport.ts';
import type { Delivery } from '../transport/contract.ts';
import type { Message } from '../transport/message.ts';
import { BrokerUrl } from '../transport/url.ts';
import { decodeEnvelope, newDeliveryTag, openEnvelope, sealEnvelope } from './envelope.ts';
import { OwnMessages } from './own-messages.ts';

const messageOf = (size: number): Message => ({
  body: Buffer.from('ü'.repeat(size)),
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  headers: { task: 'proj.add', id: 'an-id', 'my-ünïcode': '✓', own: { date: '1' } },
  properties: { correlationId: 'c', deliveryMode: 2, priority: 3 },
});

function sent(own: OwnMessages, message: Message): string {
  const tag = newDeliveryTag();
  const payload = sealEnvelope(openEnvelope(message, '', 'q'), tag);
  own.note(tag, payload, message.body);
  return payload;
}

describe('the messages of a connection', () => {
  test.each([0, 1, 2, 3000])('that come back as they were need no decoding (%i)', (size) => {
    const own = new OwnMessages();
    for (const bytes of [false, true]) {
      const message = messageOf(size);
      const text = sent(own, message);
      const payload = bytes ? Buffer.from(text) : text;
      const found = own.find(payload);
      expect(found?.body).toBe(message.body);
      expect(decodeEnvelope(payload, found)).toEqual(decodeEnvelope(payload));
      expect(decodeEnvelope(payload, found).message.body).toBe(message.body);
      expect(own.find(payload)).toBeUndefined();
    }
  });

  test('that others have changed are read', () => {
    const own = new OwnMessages();
    const payload = sent(own, messageOf(10)).replace('"headers":{', '"headers":{"redelivered":true,');
    expect(own.find(payload)).toBeUndefined();
    expect(own.find('')).toBeUndefined();
    expect(own.find(Buffer.from('"}}'))).toBeUndefined();
  });

  test('are kept up to a mebibyte', () => {
    const own = new OwnMessages();
    const payloads = Array.from({ length: 10 }, () => sent(own, messageOf(50_000)));
    expect(payloads.map((payload) => own.find(payload) !== undefined)).toEqual(payloads.map((_, index) => index >= 3));
  });
});

test('a connection takes back what it sent to a queue that it serves, and reads what others sent', async () => {
  const url = new BrokerUrl(`memory://own-messages-${process.pid}`);
  const [here, there] = await Promise.all([memoryTransport.connect(url, {}), memoryTransport.connect(url, {})]);
  const arrivals: Delivery[] = [];
  let onArrival = (): void => {};
  await here.consume(
    ['q'],
    (deliveries) => {
      arrivals.push(...deliveries);
      onArrival();
    },
    { prefetch: 10 },
  );
  const own = messageOf(3000);
  const foreign = messageOf(3000);
  const bothCame = new Promise<void>((resolve) => {
    onArrival = () => arrivals.length === 2 && resolve();
  });
  await here.publish([{ exchange: '', routingKey: 'q', message: own }]);
  await there.publish([{ exchange: '', routingKey: 'q', message: foreign }]);
  await bothCame;
  const [first, second] = arrivals.map(({ message }) => message);
  expect(first?.body).toBe(own.body);
  expect(second?.body).not.toBe(foreign.body);
  expect(second?.body).toEqual(foreign.body);
  await Promise.all([here.close(), there.close()]);
});
