import { type ExchangeType, type Message, type Publication, UnsupportedError } from '@lovage/core/transport';
import type { Channel } from 'amqplib';
import { writtenArguments } from './arguments.ts';

/** Source: kombu/transport/native_delayed_delivery.py. */
const LEVELS = 28;
const DELIVERY_EXCHANGE = 'celery_delayed_delivery';
/** By their level: `celery_delayed_0` holds a message for a second, the next for two ... */
export const DELAY_QUEUES: readonly string[] = Array.from({ length: LEVELS }, (_, level) => `celery_delayed_${level}`);
/** A message comes out under the name of the last exchange that a level queue dead-lettered it to. */
const DELAY_EXCHANGE = /^celery_delayed_(?:delivery|\d+)$/;
/** The last word of our own routing keys for messages that go straight to a queue; see `delayedPublication`. */
const QUEUE_MARK = 'lovage-queue';
const DELAYED_KEY = /^(?:[01]\.){28}(.*)$/s;

/** 2^28 - 1 seconds, 8.5 years. */
export const MAX_DELAY_MS = (2 ** LEVELS - 1) * 1000;

/** Where a delayed message goes once its time has come, to be bound beforehand. */
export type DelayTarget =
  | { readonly kind: 'queue'; readonly queue: string; readonly pattern: string }
  | { readonly kind: 'exchange'; readonly exchange: string; readonly pattern: string };

export interface DelayedPublication {
  readonly publication: Publication;
  readonly target: DelayTarget;
}

/** What this connection has declared. */
export interface KnownTopology {
  exchangeType(exchange: string): ExchangeType | undefined;
  queuesBound(exchange: string, routingKey: string): readonly string[];
}

/**
 * The same message on its way through `celery_delayed_27`. To a topic or fanout exchange it takes Celery's own route.
 * Celery leaves direct exchanges out, because they do not match the prefixed routing key at the end; there, and for the
 * default exchange, the queue itself is bound to the last exchange, with a key that no other binding matches.
 * Throws `UnsupportedError` where the way to the queue is not known.
 */
export function delayedPublication(publication: Publication, known: KnownTopology): DelayedPublication {
  const { exchange, routingKey, delayMs = 0 } = publication;
  if (delayMs > MAX_DELAY_MS)
    throw new UnsupportedError(`A delay of ${delayMs} ms is too long. RabbitMQ takes at most ${MAX_DELAY_MS}.`);
  const bits = Math.ceil(delayMs / 1000)
    .toString(2)
    .padStart(LEVELS, '0')
    .split('')
    .join('.');
  const type = exchange === '' ? 'direct' : known.exchangeType(exchange);
  if (type === undefined) {
    throw new UnsupportedError(
      `The exchange "${exchange}" was not declared by this connection, so a delayed message cannot find its way to it.`,
    );
  }
  if (type !== 'direct') {
    return {
      publication: { ...publication, exchange: `celery_delayed_${LEVELS - 1}`, routingKey: `${bits}.${routingKey}` },
      target: { kind: 'exchange', exchange, pattern: `#.${routingKey}` },
    };
  }
  const queues = exchange === '' ? [routingKey] : known.queuesBound(exchange, routingKey);
  const [queue] = queues;
  if (queue === undefined || queues.length > 1) {
    throw new UnsupportedError(
      `A delayed message to the direct exchange "${exchange}" needs exactly one queue bound with "${routingKey}" by this connection, but there are ${queues.length}.`,
    );
  }
  if (queue.split('.').some((word) => word === '*' || word === '#')) {
    throw new UnsupportedError(
      `A delayed message cannot be sent to the queue "${queue}": a part of its name is a wildcard.`,
    );
  }
  return {
    publication: {
      ...publication,
      exchange: `celery_delayed_${LEVELS - 1}`,
      routingKey: `${bits}.${queue}.${QUEUE_MARK}`,
    },
    target: { kind: 'queue', queue, pattern: `${'*.'.repeat(LEVELS)}${queue}.${QUEUE_MARK}` },
  };
}

/** Exchange and routing key as they were before the delay. */
export function undelayed(
  exchange: string,
  routingKey: string,
): { readonly exchange: string; readonly routingKey: string } {
  if (!DELAY_EXCHANGE.test(exchange)) return { exchange, routingKey };
  const key = DELAYED_KEY.exec(routingKey)?.[1];
  if (key === undefined) return { exchange, routingKey };
  return key.endsWith(`.${QUEUE_MARK}`)
    ? { exchange: '', routingKey: key.slice(0, -QUEUE_MARK.length - 1) }
    : { exchange, routingKey: key };
}

/**
 * The message as it was before the delay: without what the server noted at each level. Published again with these notes,
 * it would be taken for one that goes round in circles, and be dropped at the first level that it knows already.
 * Source: RabbitMQ 3.10, rabbit_dead_letter, detect_cycles.
 */
export function withoutDelayNotes(message: Message): Message {
  const { headers } = message;
  const deaths = headers['x-death'];
  if (!Array.isArray(deaths)) return message;
  const others = deaths.filter((death: { readonly queue?: unknown } | null) => !isDelayQueue(death?.queue));
  const kept = Object.entries(headers).filter(([name]) => {
    if (name === 'x-death') return false;
    const [, which] = /^x-(first|last)-death-/.exec(name) ?? [];
    return which === undefined || !isDelayQueue(headers[`x-${which}-death-queue`]);
  });
  return {
    ...message,
    headers: Object.fromEntries(others.length === 0 ? kept : [...kept, ['x-death', others]]),
  };
}

function isDelayQueue(name: unknown): boolean {
  return typeof name === 'string' && DELAY_QUEUES.includes(name);
}

/** Declares the 28 levels as Celery's workers do. Source: kombu/transport/native_delayed_delivery.py, declare_native_delayed_delivery_exchanges_and_queues. */
export async function declareDelays(api: Channel, queueType: 'quorum' | 'classic'): Promise<void> {
  await api.assertExchange(DELIVERY_EXCHANGE, 'topic', { durable: true });
  for (const [level, name] of DELAY_QUEUES.entries()) {
    const next = DELAY_QUEUES[level - 1] ?? DELIVERY_EXCHANGE;
    const prefix = '*.'.repeat(LEVELS - 1 - level);
    await api.assertExchange(name, 'topic', { durable: true });
    await api.assertQueue(name, {
      durable: true,
      arguments: writtenArguments({
        'x-queue-type': queueType,
        'x-overflow': 'reject-publish',
        'x-message-ttl': 2 ** level * 1000,
        'x-dead-letter-exchange': next,
        ...(queueType === 'quorum' ? { 'x-dead-letter-strategy': 'at-least-once' } : {}),
      }),
    });
    await api.bindQueue(name, name, `${prefix}1.#`);
    await api.bindExchange(next, name, `${prefix}0.#`);
  }
}

export async function bindDelayTarget(api: Channel, target: DelayTarget): Promise<void> {
  if (target.kind === 'queue') await api.bindQueue(target.queue, DELIVERY_EXCHANGE, target.pattern);
  else await api.bindExchange(target.exchange, DELIVERY_EXCHANGE, target.pattern);
}
