import { type MongoLink, serverCode, SURE } from '@lovage/mongodb';
import { UnsupportedError } from '@lovage/core/transport';
import type { Document } from 'mongodb';
import type { DriverSettings } from './options.ts';

/** `NamespaceExists`. */
const EXISTS = 48;

/** The names of the collections. Kombu's have its names; ours begin with the one of the messages. */
export interface Layout {
  readonly messages: string;
  readonly routing: string;
  readonly broadcast: string;
  /** Kombu's, with `ttl` only. */
  readonly queues: string;
  /** Who holds messages, and until when: `{_id, until}`. */
  readonly consumers: string;
  /** Queues that go away when nobody renews them: `{_id: queue, expire_at}`. */
  readonly temporary: string;
}

export function layoutOf({ messages, routing, broadcast, queues }: DriverSettings): Layout {
  return {
    messages,
    routing,
    broadcast,
    queues,
    consumers: `${messages}.lovage_consumers`,
    temporary: `${messages}.lovage_queues`,
  };
}

/**
 * Makes the collections and indexes that are not there yet, under the names and with the options that pymongo gives
 * them, so that either side may come first. Source: kombu/transport/mongodb.py, _create_broadcast, _ensure_indexes.
 */
export async function ensureLayout(link: MongoLink, layout: Layout, settings: DriverSettings): Promise<void> {
  await Promise.all([
    createBroadcast(link, layout, settings),
    createIndexes(link, layout.messages, [
      { key: { queue: 1, priority: 1, _id: 1 }, background: true },
      { key: { lovage_owner: 1 }, sparse: true },
      { key: { lovage_queue: 1, lovage_due: 1 }, sparse: true },
    ]),
    createIndexes(link, layout.routing, [{ key: { queue: 1, exchange: 1 } }]),
  ]);
  if (settings.ttl) await createTtlIndexes(link, layout);
}

async function createBroadcast(link: MongoLink, { broadcast }: Layout, settings: DriverSettings): Promise<void> {
  try {
    await link.run({ create: broadcast, capped: true, size: settings.cappedQueueSize });
  } catch (error) {
    if (serverCode((error as Error).cause) !== EXISTS) throw error;
  }
  await createIndexes(link, broadcast, [{ key: { queue: 1 } }]);
}

async function createTtlIndexes(link: MongoLink, { messages, routing, queues }: Layout): Promise<void> {
  const index = { key: { expire_at: 1 }, expireAfterSeconds: 0 };
  try {
    await Promise.all([messages, routing, queues].map((name) => createIndexes(link, name, [index])));
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_UNSUPPORTED') throw error;
    throw new UnsupportedError('This server has no TTL indexes. Remove the option "ttl".', { cause: error });
  }
}

async function createIndexes(link: MongoLink, collection: string, indexes: readonly Document[]): Promise<void> {
  await link.run({
    createIndexes: collection,
    indexes: indexes.map(({ key, ...more }) => ({ key, name: indexName(key), ...more })),
    ...(link.replication === undefined ? {} : { writeConcern: SURE }),
  });
}

/** As every driver names an index that has no name. */
function indexName(key: Document): string {
  return Object.entries(key)
    .map(([field, direction]) => `${field}_${direction}`)
    .join('_');
}
