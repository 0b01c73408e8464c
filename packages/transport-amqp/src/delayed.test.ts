import type { ExchangeType, Message, Publication } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import { delayedPublication, type KnownTopology, MAX_DELAY_MS, undelayed } from './delayed.ts';

const message: Message = { body: Buffer.alloc(0), contentType: '', contentEncoding: '', headers: {}, properties: {} };
const publication = (exchange: string, routingKey: string, delayMs: number): Publication => ({
  exchange,
  routingKey,
  message,
  delayMs,
});
const types: Record<string, ExchangeType> = { topics: 'topic', all: 'fanout', straight: 'direct' };
const known: KnownTopology = {
  exchangeType: (exchange) => types[exchange],
  queuesBound: (exchange, routingKey) => (exchange === 'straight' && routingKey === 'one' ? ['q.one'] : []),
};

describe('delayed messages', () => {
  test("take Celery's route to other than direct exchanges", () => {
    const { publication: sent, target } = delayedPublication(publication('topics', 'qq', 5000), known);
    expect(sent.exchange).toBe('celery_delayed_27');
    // Source: capture of Celery 5.6.3, countdown=5.
    expect(sent.routingKey).toBe(`${'0.'.repeat(25)}1.0.1.qq`);
    expect(target).toEqual({ kind: 'exchange', exchange: 'topics', pattern: '#.qq' });
    expect(undelayed('celery_delayed_delivery', sent.routingKey)).toEqual({
      exchange: 'celery_delayed_delivery',
      routingKey: 'qq',
    });
  });

  test('go straight to the queue otherwise, and come out with the address they were sent to', () => {
    const direct = delayedPublication(publication('', 'my.queue', 1), known);
    expect(direct.target).toMatchObject({ kind: 'queue', queue: 'my.queue' });
    expect(direct.publication.routingKey.startsWith(`${'0.'.repeat(27)}1.`)).toBe(true);
    expect(undelayed('celery_delayed_delivery', direct.publication.routingKey)).toEqual({
      exchange: '',
      routingKey: 'my.queue',
    });
    expect(delayedPublication(publication('straight', 'one', 1), known).target).toMatchObject({ queue: 'q.one' });
  });

  test('without a known way are refused', () => {
    expect(() => delayedPublication(publication('straight', 'two', 1), known)).toThrowError(/exactly one queue/);
    expect(() => delayedPublication(publication('unheard', 'k', 1), known)).toThrowError(/not declared/);
    expect(() => delayedPublication(publication('', 'a.*.b', 1), known)).toThrowError(/wildcard/);
    expect(() => delayedPublication(publication('', 'q', MAX_DELAY_MS + 1), known)).toThrowError(/too long/);
  });

  test('that were never delayed keep their address', () => {
    expect(undelayed('celery', 'celery')).toEqual({ exchange: 'celery', routingKey: 'celery' });
  });
});
