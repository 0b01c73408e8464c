import type { Message } from '@lovage/core/transport';
import { expect, test } from 'vitest';
import { readHistory, recordHistory, withoutCounters } from './redelivery.ts';

const message: Message = {
  body: Buffer.from('x'),
  contentType: '',
  contentEncoding: '',
  headers: { task: 'a' },
  properties: {},
};

test('a classic queue says only whether there was a delivery before', () => {
  expect(readHistory(message, false, 'ex', 'key')).toMatchObject({
    count: 1,
    redelivered: false,
    mustBeRecorded: false,
  });
  expect(readHistory(message, true, 'ex', 'key')).toMatchObject({ count: 2, redelivered: true, mustBeRecorded: true });
});

test('the recorded count goes on over any number of deaths, with the first address', () => {
  let sent = message;
  let exchange = 'ex';
  let routingKey = 'key';
  for (let count = 2; count < 6; count++) {
    const history = readHistory(sent, true, exchange, routingKey);
    expect(history).toMatchObject({ count, exchange: 'ex', routingKey: 'key' });
    sent = recordHistory(history);
    [exchange, routingKey] = ['', 'queue'];
    const delivered = readHistory(sent, false, exchange, routingKey);
    expect(delivered).toMatchObject({
      count,
      redelivered: true,
      exchange: 'ex',
      routingKey: 'key',
      mustBeRecorded: false,
    });
    expect({ ...delivered.message.headers }).toEqual({ task: 'a' });
  }
});

test('quorum queues count by themselves', () => {
  const counted = { ...message, headers: { ...message.headers, 'x-delivery-count': 3 } };
  expect(readHistory(counted, true, 'ex', 'key')).toMatchObject({ count: 4, mustBeRecorded: false });
  expect(withoutCounters(counted).headers).toEqual({ task: 'a' });
});

test('a forged history does no harm', () => {
  for (const forged of [7, 'x', null, [], { count: 'many', exchange: 4 }]) {
    const history = readHistory({ ...message, headers: { 'x-lovage-redelivery': forged } }, false, 'ex', 'key');
    expect(history).toMatchObject({ count: 1, exchange: 'ex', routingKey: 'key' });
  }
});
