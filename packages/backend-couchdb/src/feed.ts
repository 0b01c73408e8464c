import type { KeyFeed, StoredValue } from '@lovage/core/backend';
import type { CouchDatabase } from '@lovage/couchdb';
import { valueOf } from './layout.ts';

/** Listens to the database's feed of changes for all results that somebody waits for. */
export class ChangesFeed implements KeyFeed {
  readonly #database: CouchDatabase;
  readonly #listeners = new Map<string, (key: string, value: StoredValue) => void>();
  readonly #end = new AbortController();
  #listening: Promise<void> | undefined;
  /** Changed, and not yet read. */
  #changed = new Set<string>();
  #isReading = false;

  constructor(database: CouchDatabase) {
    this.#database = database;
  }

  async watch(keys: readonly string[], listener: (key: string, value: StoredValue) => void): Promise<void> {
    for (const key of keys) this.#listeners.set(key, listener);
    this.#listening ??= new Promise((resolve, reject) => {
      this.#follow(resolve).catch((error: unknown) => {
        if (this.#end.signal.aborted) resolve();
        else reject(this.#database.fail(error));
      });
    });
    await this.#listening;
  }

  unwatch(keys: readonly string[]): void {
    for (const key of keys) this.#listeners.delete(key);
  }

  stop(): void {
    this.#end.abort();
  }

  async #follow(onListening: () => void): Promise<void> {
    for await (const change of this.#database.changes(this.#end.signal)) {
      if (change === undefined) onListening();
      else if (!change.deleted && this.#listeners.has(change.id)) {
        this.#changed.add(change.id);
        if (!this.#isReading) void this.#read();
      }
    }
    throw new Error('the feed of changes ended');
  }

  /** What changes while it reads is read together, next. */
  async #read(): Promise<void> {
    this.#isReading = true;
    try {
      while (this.#changed.size > 0) {
        const keys = [...this.#changed];
        this.#changed = new Set();
        const documents = await this.#database.documents(keys);
        for (const [index, key] of keys.entries()) {
          const value = valueOf(documents[index]);
          if (value !== undefined) this.#listeners.get(key)?.(key, value);
        }
      }
    } catch {
      // The loss of the link is told by the store itself, and what was missed is read by whoever opens another.
    } finally {
      this.#isReading = false;
    }
  }
}
