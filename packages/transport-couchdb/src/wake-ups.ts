import type { CouchDatabase } from '@lovage/couchdb';
import { type News, newsOf } from './layout.ts';

/** Listens to the database's feed of changes, and wakes who waits for a message. */
export class WakeUps {
  readonly #database: CouchDatabase;
  readonly #onNews: (news: News) => void;
  readonly #end = new AbortController();
  readonly #waiters = new Set<() => void>();
  #count = 0;
  #listening: Promise<void> | undefined;

  constructor(database: CouchDatabase, onNews: (news: News) => void) {
    this.#database = database;
    this.#onNews = onNews;
  }

  /** How many hints came so far. */
  get count(): number {
    return this.#count;
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

  /** Wakes everybody. */
  notify(): void {
    this.#count++;
    for (const wake of this.#waiters) wake();
  }

  stop(): void {
    this.#end.abort();
    this.notify();
  }

  /** Resolves on the first hint after the `seen`th, after `ms`, or on abort. */
  async sleep(seen: number, ms: number, signal: AbortSignal): Promise<void> {
    if (this.#count !== seen || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        this.#waiters.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      signal.addEventListener('abort', wake, { once: true });
      this.#waiters.add(wake);
    });
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
