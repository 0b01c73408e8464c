import type { Logger } from '../internal/log.ts';
import { TurnBatch } from '../internal/turn-batch.ts';
import type { TaskMeta } from '../protocol/task-meta.ts';
import type { Subscription } from './contract.ts';
import type { KeyLayout } from './key-layout.ts';
import type { KeyValueStore, StoredValue } from './key-value-store.ts';
import type { StoreWatcher } from './store-link.ts';

const MAX_BATCH = 1000;

interface Watched {
  readonly taskId: string;
  readonly listeners: Set<(meta: TaskMeta) => void>;
  /** Resolves when the store notifies. */
  watching: Promise<void>;
}

const NOT_YET = Promise.resolve();

export interface KeyWatchOptions {
  readonly layout: KeyLayout;
  readonly decode: (taskId: string, value: StoredValue) => TaskMeta;
  /** Runs `work` on the live store, or the next one. */
  readonly call: <T>(work: (store: KeyValueStore) => Promise<T>) => Promise<T>;
  /** The live store. */
  readonly live: () => KeyValueStore | undefined;
  readonly logger: Logger;
}

/** Who wants to hear of which task, on stores that notify: each key is watched once, on every store after a loss. */
export class KeyWatch implements StoreWatcher {
  readonly #options: KeyWatchOptions;
  readonly #watched = new Map<string, Watched>();
  /** The keys that the present store watches. */
  #known = new Set<string>();
  readonly #watches: TurnBatch<string>;
  readonly #unwatches: TurnBatch<string>;
  #isClosed = false;

  constructor(options: KeyWatchOptions) {
    this.#options = options;
    this.#watches = new TurnBatch((keys) => this.#watch(keys), { maxItems: MAX_BATCH });
    this.#unwatches = new TurnBatch((keys) => this.#unwatch(keys), { maxItems: MAX_BATCH });
  }

  get isWaiting(): boolean {
    return this.#watched.size > 0;
  }

  async subscribe(taskIds: readonly string[], listener: (meta: TaskMeta) => void): Promise<Subscription> {
    const keys = [...new Set(taskIds.map((taskId) => this.#options.layout.task(taskId)))];
    // One listener may subscribe twice; each time ends for itself.
    const own = (meta: TaskMeta): void => listener(meta);
    const subscription = { unsubscribe: () => keys.forEach((key) => this.#unsubscribe(key, own)) };
    try {
      await Promise.all(keys.map((key) => this.#subscribe(key, own)));
    } catch (error) {
      subscription.unsubscribe();
      throw error;
    }
    return subscription;
  }

  async attach(store: KeyValueStore): Promise<void> {
    const keys = [...this.#watched.keys()];
    this.#known = new Set(keys);
    if (keys.length > 0) await store.feed?.watch(keys, this.#notify);
  }

  async catchUp(): Promise<void> {
    const keys = [...this.#watched.keys()];
    for (let start = 0; start < keys.length; start += MAX_BATCH) {
      const part = keys.slice(start, start + MAX_BATCH);
      const values = await this.#options.call((store) => store.get(part));
      for (const [index, value] of values.entries())
        if (value !== undefined) this.#notify(part[index] as string, value);
    }
  }

  /** Nobody is told any more. */
  close(): void {
    this.#isClosed = true;
    this.#watched.clear();
  }

  #subscribe(key: string, listener: (meta: TaskMeta) => void): Promise<void> {
    const present = this.#watched.get(key);
    if (present !== undefined) {
      present.listeners.add(listener);
      return present.watching;
    }
    const taskId = this.#options.layout.taskIdOf(key);
    const watched: Watched = { taskId, listeners: new Set([listener]), watching: NOT_YET };
    this.#watched.set(key, watched);
    // The add that fills a batch hands it on at once: the key has to be known by then.
    watched.watching = this.#watches.add(key);
    return watched.watching;
  }

  #unsubscribe(key: string, listener: (meta: TaskMeta) => void): void {
    const watched = this.#watched.get(key);
    if (watched?.listeners.delete(listener) !== true || watched.listeners.size > 0) return;
    this.#watched.delete(key);
    if (!this.#isClosed) void this.#unwatches.add(key);
  }

  async #watch(keys: readonly string[]): Promise<void> {
    await this.#options.call(async (store) => {
      // A store that was opened meanwhile watches them already.
      const fresh = keys.filter((key) => this.#watched.has(key) && !this.#known.has(key));
      if (fresh.length === 0) return;
      for (const key of fresh) this.#known.add(key);
      try {
        await store.feed?.watch(fresh, this.#notify);
      } catch (error) {
        for (const key of fresh) this.#known.delete(key);
        throw error;
      }
    });
  }

  async #unwatch(keys: readonly string[]): Promise<void> {
    const gone = keys.filter((key) => !this.#watched.has(key));
    for (const key of gone) this.#known.delete(key);
    if (gone.length > 0) this.#options.live()?.feed?.unwatch(gone);
  }

  readonly #notify = (key: string, value: StoredValue): void => {
    const watched = this.#watched.get(key);
    if (watched === undefined) return;
    const { decode, logger } = this.#options;
    const meta = decode(watched.taskId, value);
    for (const listener of watched.listeners) {
      try {
        listener(meta);
      } catch (error) {
        logger.error({ err: error, taskId: watched.taskId }, 'a listener for results threw');
      }
    }
  };
}
