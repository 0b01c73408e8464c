import type { SerializerRegistry } from '../serialization/registry.ts';
import type { Message } from '../transport/message.ts';
import type { Exchange, Topology } from '../transport/topology.ts';
import { listenerQueue } from './listener-queue.ts';

/** How events are set up. Times are seconds, null: none. */
export interface EventSettings {
  readonly eventExchange: string;
  readonly eventSerializer: string;
  readonly eventQueuePrefix: string;
  readonly eventQueueTtl: number | null;
  readonly eventQueueExpires: number | null;
  readonly eventQueueDurable: boolean;
  readonly eventQueueExclusive: boolean;
}

/** One event as it travels: what every event has, and the fields of its type. Source: celery/events/event.py. */
export interface EventMessage {
  /** `task-succeeded`, `worker-heartbeat` ... */
  readonly type: string;
  /** Node name of the sender. */
  readonly hostname: string;
  readonly pid?: number;
  /** The sender's logical clock. */
  readonly clock?: number;
  /** Epoch seconds. */
  readonly timestamp: number;
  /** Whole hours west of UTC. */
  readonly utcoffset?: number;
  readonly [field: string]: unknown;
}

/** Redis has no topic exchange; Kombu sends events through a fanout with patterns there. So does NATS here. */
const FANOUT_SCHEMES = /^(?:redis|rediss|redis\+socket|valkey|valkeys|sentinel|gcpubsub|nats|tls\+nats)$/;

/** The exchange of events on a broker. Source: celery/events/event.py, get_exchange. */
export function eventExchange({ eventExchange: name }: EventSettings, scheme: string): Exchange {
  return { name, type: FANOUT_SCHEMES.test(scheme) ? 'fanout' : 'topic', durable: true };
}

/** A listener's queue and its binding. Source: celery/events/receiver.py. */
export function eventQueueTopology(
  id: string,
  routingKey: string,
  settings: EventSettings,
  scheme: string,
  ttl: number | null = settings.eventQueueTtl,
): Topology & { readonly queue: string } {
  const exchange = eventExchange(settings, scheme);
  const queue = `${settings.eventQueuePrefix}.${id}`;
  const { eventQueueDurable: durable, eventQueueExclusive: exclusive, eventQueueExpires: expires } = settings;
  return {
    queue,
    exchanges: [exchange],
    queues: [listenerQueue(queue, { durable, exclusive, expires, ttl })],
    bindings: [{ queue, exchange: exchange.name, routingKey }],
  };
}

export interface EventFacts {
  readonly nodeName: string;
  readonly clock: number;
  /** Epoch milliseconds. */
  readonly now: number;
}

/** An event in Celery's order of fields. Source: celery/events/dispatcher.py, publish; celery/events/event.py, Event. */
export function makeEvent(
  type: string,
  fields: Readonly<Record<string, unknown>>,
  { nodeName, clock, now }: EventFacts,
): EventMessage {
  return {
    hostname: nodeName,
    utcoffset: Math.floor(new Date(now).getTimezoneOffset() / 60),
    pid: process.pid,
    clock,
    ...fields,
    timestamp: now / 1000,
    type,
  };
}

/** One event, or several of a group, as a message. Source: celery/events/dispatcher.py, _publish. */
export function encodeEvents(
  events: EventMessage | readonly EventMessage[],
  nodeName: string,
  serializer: string,
  serializers: SerializerRegistry,
): Message {
  return {
    ...serializers.encode(serializer, events),
    headers: { hostname: nodeName },
    properties: { deliveryMode: 1, priority: 0 },
  };
}

/** The events in a message; what is no event is left out. Throws what decoding throws. */
export function decodeEvents(
  message: Message,
  serializers: SerializerRegistry,
  accepted?: ReadonlySet<string>,
): readonly EventMessage[] {
  const body = serializers.decode(message, accepted);
  return (Array.isArray(body) ? (body as unknown[]) : [body]).filter(isEvent);
}

function isEvent(value: unknown): value is EventMessage {
  if (typeof value !== 'object' || value === null) return false;
  const { type, hostname, timestamp } = value as Record<string, unknown>;
  return typeof type === 'string' && typeof hostname === 'string' && typeof timestamp === 'number';
}

/** What the sender's software is. Source: celery/worker/state.py, SOFTWARE_INFO. */
export interface SoftwareInfo {
  readonly sw_ident: string;
  readonly sw_ver: string;
  readonly sw_sys: string;
}

const SYSTEMS: Readonly<Record<string, string>> = { linux: 'Linux', darwin: 'Darwin', win32: 'Windows' };

export function softwareInfo(version: string): SoftwareInfo {
  return {
    sw_ident: 'lovage',
    sw_ver: version,
    sw_sys: SYSTEMS[process.platform] ?? process.platform,
  };
}
