import {
  BrokerBlockedError,
  isLovageError,
  isKept,
  type KeyValueStore,
  type KeyValueWrite,
  type StoredValue,
  WriteOrder,
} from '@lovage/core/backend';
import type { CouchDatabase, WriteOutcome } from '@lovage/couchdb';
import { CouchDocuments } from './documents.ts';
import { ChangesFeed } from './feed.ts';
import { DESIGN, resultDocument, valueOf } from './layout.ts';

/** How often a result that others write at the same time is tried. */
const ATTEMPTS = 20;
const BATCH = 500;

/** Results in CouchDB: a document each, written over the revision that was read. */
export class CouchStore implements KeyValueStore {
  /** An expired result is not given back, and removed by the cleanup. */
  readonly autoExpires = false;
  readonly lost: Promise<never>;
  readonly feed: ChangesFeed;
  readonly documents: CouchDocuments;
  readonly #database: CouchDatabase;
  readonly #order = new WriteOrder();

  constructor(database: CouchDatabase) {
    this.#database = database;
    this.lost = database.lost;
    this.feed = new ChangesFeed(database);
    this.documents = new CouchDocuments(database);
  }

  async get(keys: readonly string[]): Promise<readonly (StoredValue | undefined)[]> {
    return (await this.#database.documents(keys)).map(valueOf);
  }

  set(writes: readonly KeyValueWrite[]): Promise<readonly (Error | undefined)[]> {
    return this.#order.run(writes, async (round) => {
      const outcomes: (Error | undefined)[] = Array.from({ length: round.length });
      await this.#write(round, [...round.keys()], outcomes);
      return outcomes;
    });
  }

  async delete(keys: readonly string[]): Promise<void> {
    let left = keys;
    for (let attempt = 0; left.length > 0 && attempt < ATTEMPTS; attempt++) {
      const documents = (await this.#database.documents(left)).filter((doc) => doc !== undefined);
      if (documents.length === 0) return;
      const { outcomes } = await this.#database.write(
        documents.map(({ _id, _rev }) => ({ _id, _rev: _rev as string, _deleted: true as const })),
      );
      left = documents.flatMap(({ _id }, index) => (outcomes[index]?.rev === undefined ? [_id] : []));
    }
  }

  async cleanup(): Promise<void> {
    await this.#database.ensureDesign(DESIGN.name, DESIGN.views);
    for (;;) {
      const query = { endkey: Date.now(), limit: BATCH };
      const rows = await this.#database.view(DESIGN.name, 'expiring', query);
      if (rows.length === 0) return;
      const { outcomes } = await this.#database.write(
        rows.map(({ id, value }) => ({ _id: id, _rev: value as string, _deleted: true as const })),
      );
      // What was written again meanwhile has time left.
      if (outcomes.every(({ rev }) => rev === undefined)) return;
    }
  }

  async close(): Promise<void> {
    this.feed.stop();
    this.#database.close();
  }

  /** `indexes` of writes, all with different keys. */
  async #write(
    writes: readonly KeyValueWrite[],
    indexes: readonly number[],
    outcomes: (Error | undefined)[],
  ): Promise<void> {
    let left = indexes;
    for (let attempt = 1; left.length > 0; attempt++) {
      const present = await this.#database.documents(left.map((index) => (writes[index] as KeyValueWrite).key));
      const open = left.flatMap((index, place) => {
        const write = writes[index] as KeyValueWrite;
        const doc = present[place];
        const value = valueOf(doc);
        if (value !== undefined && isKept(value, write)) return [];
        return [{ index, document: resultDocument(write, doc?._rev) }];
      });
      if (open.length === 0) return;
      let written: readonly WriteOutcome[];
      try {
        written = (await this.#database.write(open.map(({ document }) => document))).outcomes;
      } catch (error) {
        if (!isLovageError(error, 'ERR_TOO_LARGE')) throw error;
        if (open.length === 1) {
          outcomes[(open[0] as { readonly index: number }).index] = error;
          return;
        }
        // CouchDB refuses a batch for the one that is too large for it.
        for (const { index } of open) await this.#write(writes, [index], outcomes);
        return;
      }
      const failed = open.filter((_, place) => written[place]?.rev === undefined);
      left = failed.map(({ index }) => index);
      if (attempt < ATTEMPTS) continue;
      for (const index of left) {
        outcomes[index] = new BrokerBlockedError('A result was written by others again and again, and given up here.');
      }
      return;
    }
  }
}
