import type { DocumentStore, StoredDocument } from '@lovage/core/backend';
import type { CouchDatabase, CouchDocument } from '@lovage/couchdb';

/** A document of CouchDB for each; its revision is the version. */
export class CouchDocuments implements DocumentStore {
  readonly #database: CouchDatabase;

  constructor(database: CouchDatabase) {
    this.#database = database;
  }

  async read(name: string): Promise<StoredDocument | undefined> {
    const [doc] = await this.#database.documents([idOf(name)]);
    if (doc?._rev === undefined || typeof doc['text'] !== 'string' || isExpired(doc)) return undefined;
    return { text: doc['text'], version: doc._rev };
  }

  async write(
    name: string,
    text: string,
    over: string | undefined,
    { ttlSeconds }: { readonly ttlSeconds?: number } = {},
  ): Promise<string | undefined> {
    const [present] = await this.#database.documents([idOf(name)]);
    const isThere = present !== undefined && !isExpired(present);
    // CouchDB itself takes any revision for a document that never was.
    if (over !== (isThere ? present._rev : undefined)) return undefined;
    const document = {
      _id: idOf(name),
      ...(present?._rev === undefined ? {} : { _rev: present._rev }),
      text,
      ...(ttlSeconds === undefined ? {} : { expires_at: Date.now() + ttlSeconds * 1000 }),
    };
    const { outcomes } = await this.#database.write([document]);
    return outcomes[0]?.rev;
  }
}

function idOf(name: string): string {
  return `lovage:document:${name}`;
}

function isExpired({ expires_at: expiresAt }: CouchDocument): boolean {
  return typeof expiresAt === 'number' && expiresAt <= Date.now();
}
