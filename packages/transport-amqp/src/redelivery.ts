import type { Message } from '@lovage/core/transport';

/**
 * A header of ours on classic queues, which count nothing: how often the message was delivered, and where it was
 * published first. Taken off again before the message is handed on; Python workers ignore it.
 */
const HEADER = 'x-lovage-redelivery';
/** Quorum queues count by themselves: deliveries that failed before this one. */
const QUORUM_HEADER = 'x-delivery-count';

/** What is known about the deliveries of one message. */
export interface DeliveryHistory {
  /** 1 at first. */
  readonly count: number;
  readonly redelivered: boolean;
  readonly exchange: string;
  readonly routingKey: string;
  readonly message: Message;
  /** The broker cannot count on: the count has to be written into the message before anybody works on it. */
  readonly mustBeRecorded: boolean;
}

/** Reads the counters of a delivery, and takes ours off. */
export function readHistory(
  message: Message,
  redelivered: boolean,
  exchange: string,
  routingKey: string,
): DeliveryHistory {
  const recorded = message.headers[HEADER];
  const failedBefore = message.headers[QUORUM_HEADER];
  if (recorded === undefined && typeof failedBefore !== 'number') {
    return { count: redelivered ? 2 : 1, redelivered, exchange, routingKey, message, mustBeRecorded: redelivered };
  }
  if (typeof failedBefore === 'number') {
    return { count: failedBefore + 1, redelivered, exchange, routingKey, message, mustBeRecorded: false };
  }
  const { [HEADER]: _, ...headers } = message.headers;
  const origin = isRecord(recorded) ? recorded : {};
  const before = typeof origin['count'] === 'number' ? origin['count'] : 1;
  return {
    count: before + (redelivered ? 1 : 0),
    redelivered: redelivered || before > 1,
    exchange: typeof origin['exchange'] === 'string' ? origin['exchange'] : exchange,
    routingKey: typeof origin['routing_key'] === 'string' ? origin['routing_key'] : routingKey,
    message: { ...message, headers: Object.assign(Object.create(null), headers) as Record<string, unknown> },
    mustBeRecorded: redelivered,
  };
}

/** The message with its history in it, to be published to its queue again. */
export function recordHistory({ message, count, exchange, routingKey }: DeliveryHistory): Message {
  return { ...message, headers: { ...message.headers, [HEADER]: { count, exchange, routing_key: routingKey } } };
}

/** For another queue: what this queue counted means nothing there. */
export function withoutCounters(message: Message): Message {
  if (message.headers[QUORUM_HEADER] === undefined) return message;
  const { [QUORUM_HEADER]: _, ...headers } = message.headers;
  return { ...message, headers };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
