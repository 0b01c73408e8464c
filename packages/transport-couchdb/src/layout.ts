import type { StoredBinding } from '@lovage/core/transport';
import type { Change, CouchDocument, Row } from '@lovage/couchdb';

/**
 * The documents of a broker.
 *
 * A message is waiting, delayed or held; a revision each. `queue` and `payload` are Kombu's fields, so that its last
 * version that knew CouchDB can still publish to Lovage and finds nothing but waiting messages in its own view.
 * Source: kombu/transport/couchdb.py (3.0).
 */
export interface Waiting extends CouchDocument {
  readonly queue: string;
  /** The envelope, text. */
  readonly payload: string;
  /** 1 to 9; absent: 0. */
  readonly priority?: number;
  /** When it was published or became due, epoch milliseconds with fractions that keep the order within a process. */
  readonly at?: number;
  /** How often it was taken so far. */
  readonly deliveries?: number;
}

const MESSAGE = 'm';
const DELAYED = 'd';
/** Priorities are 0 to 9, the highest is served first. */
const HIGHEST_PRIORITY = 9;

/**
 * One view for all states, so that CouchDB runs one function per change: `["r", queue, 9 - priority, at]` for what is
 * ready, `["d", queue, due]`, `["h", owner]`. The value is the revision: enough to delete by.
 */
export const DESIGN = {
  name: 'lovage-queues-1',
  views: {
    messages: {
      map: `function (doc) {
  if (doc.queue && doc.payload !== undefined) {
    emit(['r', doc.queue, ${HIGHEST_PRIORITY} - (doc.priority || 0), doc.at || 0], doc._rev);
  } else if (doc.delayed) {
    emit(['d', doc.delayed, doc.due], doc._rev);
  } else if (doc.held) {
    emit(['h', doc.owner], doc._rev);
  }
}`,
      reduce: '_count',
    },
  },
} as const;

/** The part of the view's keys that belongs to a queue or an owner; `until` bounds the last part. */
export function keysOf(state: 'r' | 'd' | 'h', name: string, until: unknown = {}): Readonly<Record<string, unknown>> {
  return { startkey: [state, name], endkey: [state, name, until] };
}

/** What is ready. The id says the queue, so that the feed of changes, which has nothing but ids, tells whom to wake. */
export function waitingMessage(queue: string, payload: string, priority: number, at: number, unique: string): Waiting {
  return {
    _id: `${MESSAGE}:${encodeURIComponent(queue)}:${unique}`,
    queue,
    payload,
    ...(priority > 0 ? { priority } : {}),
    at,
  };
}

export function delayedMessage(
  queue: string,
  payload: string,
  priority: number,
  due: number,
  unique: string,
): CouchDocument {
  return {
    _id: `${DELAYED}:${encodeURIComponent(queue)}:${unique}`,
    delayed: queue,
    due,
    payload,
    ...(priority > 0 ? { priority } : {}),
  };
}

/** The message of a row as it was before it is held; undefined where it has changed since the view was read. */
export function messageOf({ doc }: Row, queue: string): Waiting | undefined {
  if (doc?._rev === undefined || (doc['queue'] !== queue && doc['delayed'] !== queue)) return undefined;
  const { _id, _rev, payload, priority, at, due, deliveries } = doc;
  const time = numberOr(at, numberOr(due, 0));
  return {
    _id,
    _rev,
    queue,
    // Whatever a stranger put there is handed on, and found to be no envelope.
    payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
    ...(priority === undefined ? {} : { priority: numberOr(priority, 0) }),
    at: time,
    ...(deliveries === undefined ? {} : { deliveries: numberOr(deliveries, 0) }),
  };
}

/** The same, as the property of an owner. */
export function heldMessage({ queue, deliveries = 0, ...message }: Waiting, owner: string): CouchDocument {
  return { ...message, held: queue, owner, deliveries: deliveries + 1 };
}

/** Back to its place; undefined where this owner does not hold it. */
export function releasedMessage(doc: CouchDocument | null | undefined, owner: string): CouchDocument | undefined {
  if (doc?.['owner'] !== owner) return undefined;
  const { held, owner: _, ...message } = doc;
  return { ...message, queue: held };
}

function numberOr(value: unknown, otherwise: number): number {
  return typeof value === 'number' ? value : otherwise;
}

/** What a change says to those who wait. */
export type News =
  /** A message of this queue is ready, or `undefined`: it may be one of any queue. */
  | { readonly kind: 'ready'; readonly queue: string | undefined }
  /** The next delayed message of this queue may be due at another time. */
  | { readonly kind: 'delayed'; readonly queue: string };

/** A message is published by its first revision; each time it is held and given back adds two. */
export function newsOf({ id, rev, deleted }: Change): News | undefined {
  if (deleted || id.startsWith('_design/') || id.startsWith(OURS)) return undefined;
  const [kind, name, unique] = id.split(':');
  if ((kind !== MESSAGE && kind !== DELAYED) || name === undefined || unique === undefined) {
    return { kind: 'ready', queue: undefined };
  }
  const generation = Number.parseInt(rev, 10);
  if (generation % 2 === 0) return undefined;
  const queue = decoded(name);
  if (queue === undefined) return { kind: 'ready', queue: undefined };
  return kind === DELAYED && generation === 1 ? { kind: 'delayed', queue } : { kind: 'ready', queue };
}

/** undefined: not one of our ids after all. */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

// What is no message

const OURS = 'lovage:';

/** Consumers, each with a lease: who renews it adds a revision, and others see that it lives. */
export const CONSUMERS = `${OURS}consumer:`;

export function consumerId(owner: string): string {
  return CONSUMERS + owner;
}

export function ownerOf(id: string): string {
  return id.slice(CONSUMERS.length);
}

/** Queues that go away when nobody renews them. */
export const QUEUES = `${OURS}queue:`;
export const BINDINGS = `${OURS}binding:`;
/** Behind every id that begins so. */
export const endOf = (prefix: string): string => `${prefix}\ufff0`;

export function queueId(name: string): string {
  return QUEUES + encodeURIComponent(name);
}

export function bindingsOf(exchange: string): string {
  return `${BINDINGS}${encodeURIComponent(exchange)}:`;
}

export function bindingDocument(exchange: string, { routingKey, pattern, queue }: StoredBinding): CouchDocument {
  return {
    _id: bindingsOf(exchange) + [queue, routingKey, pattern].map(encodeURIComponent).join(':'),
    exchange,
    routing_key: routingKey,
    pattern,
    queue,
  };
}

export function bindingOf(doc: CouchDocument | null | undefined): StoredBinding | undefined {
  const { routing_key: routingKey, pattern, queue } = (doc ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof routingKey !== 'string' || typeof pattern !== 'string' || typeof queue !== 'string') return undefined;
  return { routingKey, pattern, queue };
}
