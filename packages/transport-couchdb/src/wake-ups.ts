import { WakeUps } from '@lovage/core/transport';
import type { CouchDatabase } from '@lovage/couchdb';
import { type News, newsOf } from './layout.ts';

/** Listens to the database's feed of changes, and wakes who waits for a message. */
export class ChangeWakeUps extends WakeUps {
  readonly #database: CouchDatabase;
  readonly #onNews: (news: News) => void;
  readonly #end = new AbortController();
  #listening: Promise<void> | undefined;

  constructor(database: CouchDatabase, onNews: (news: News) => void) {
    super();
    this.#database = database;
    this.#onNews = onNews;
  }

  /** Resolves when every change from now on is heard. A feed that ends is the loss of the connection. */
  listen(): Promise<void> {
    this.#listening ??= new Promise((resolve, reject) => {
      this.#follow(resolve).catch((error: unknown) => {
        if (this.#end.signal.aborted) return resolve();
        reject(this.#database.fail(error));
        this.notify();
      });
    });
    return this.#listening;
  }

  stop(): void {
    this.#end.abort();
    this.notify();
  }

  async #follow(onListening: () => void): Promise<void> {
    for await (const change of this.#database.changes(this.#end.signal)) {
      if (change === undefined) {
        onListening();
        continue;
      }
      const news = newsOf(change);
      if (news === undefined) continue;
      this.#onNews(news);
      this.notify();
    }
    throw new Error('the feed of changes ended');
  }
}
