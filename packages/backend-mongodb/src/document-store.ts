import { randomUUID } from 'node:crypto';
import { type DocumentStore, isLovageError, type StoredDocument } from '@lovage/core/backend';
import { type MongoLink, SURE } from '@lovage/mongodb';
import type { Document } from 'mongodb';

const COLLECTION = 'lovage_documents';
/** `DuplicateKey`. */
const DUPLICATE = 11_000;

/** Runs `act` on the open store, within the time of a call. */
export type WithLink = <T>(act: (link: MongoLink) => Promise<T>) => Promise<T>;

/**
 * What several processes agree by: a document each in `lovage_documents`, written over the version that was read, in one
 * step on the server. Times are the server's.
 */
export class MongoDocuments implements DocumentStore {
  readonly #with: WithLink;
  #isIndexed = false;

  constructor(withLink: WithLink) {
    this.#with = withLink;
  }

  read(name: string): Promise<StoredDocument | undefined> {
    return this.#with(async (link) => {
      const { cursor } = await link.run({ find: COLLECTION, filter: { _id: name }, limit: 1, singleBatch: true });
      const [found] = (cursor as { readonly firstBatch: readonly Document[] }).firstBatch;
      if (found === undefined) return undefined;
      const { text, version, expires_at: expiresAt } = found;
      if (typeof text !== 'string' || typeof version !== 'string') return undefined;
      return expiresAt instanceof Date && expiresAt.getTime() <= link.serverMs ? undefined : { text, version };
    });
  }

  write(
    name: string,
    text: string,
    over: string | undefined,
    { ttlSeconds }: { readonly ttlSeconds?: number } = {},
  ): Promise<string | undefined> {
    return this.#with(async (link) => {
      await this.#index(link);
      const version = randomUUID();
      const now = new Date(link.serverMs);
      const document = {
        _id: name,
        text,
        version,
        ...(ttlSeconds === undefined ? {} : { expires_at: new Date(link.serverMs + ttlSeconds * 1000) }),
      };
      const update =
        over === undefined
          ? // What is there and has not expired is not found, and making another of its id is refused.
            { q: { _id: name, expires_at: { $lte: now } }, u: document, upsert: true }
          : { q: { _id: name, version: over }, u: document };
      try {
        const { n } = await link.run({ update: COLLECTION, updates: [update], writeConcern: SURE });
        return n === 1 ? version : undefined;
      } catch (error) {
        if (isLovageError(error) && (error.cause as { readonly code?: unknown } | undefined)?.code === DUPLICATE) {
          return undefined;
        }
        throw error;
      }
    });
  }

  /** For servers that have not removed it themselves yet. */
  async removeExpired(link: MongoLink): Promise<void> {
    const expired = { expires_at: { $lte: new Date(link.serverMs) } };
    await link.run({ delete: COLLECTION, deletes: [{ q: expired, limit: 0 }], writeConcern: SURE });
  }

  /** The server removes what has expired. The index is made when it is first needed: most stores keep results only. */
  async #index(link: MongoLink): Promise<void> {
    if (this.#isIndexed) return;
    const indexes = [{ key: { expires_at: 1 }, name: 'expires_at_1', expireAfterSeconds: 0 }];
    await link.run({ createIndexes: COLLECTION, indexes, writeConcern: SURE });
    this.#isIndexed = true;
  }
}
