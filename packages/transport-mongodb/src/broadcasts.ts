import { type AwaitCursor, CursorEndedError, type MongoLink } from '@lovage/mongodb';
import { type Broadcast, type Logger, MessageTooLargeError } from '@lovage/core/transport';
import type { Document } from 'mongodb';
import type { Layout } from './layout.ts';

/** How long the server keeps a reader waiting before it answers that nothing came. */
const AWAIT_MS = 5000;
/** Between two looks at a collection that is still empty: a cursor cannot wait there. */
const EMPTY_PAUSE_MS = 250;
/** Documents of one reply; what was there before is read in one. */
const BATCH = 10_000;

type Listener = Parameters<Broadcast['subscribe']>[2];

/**
 * Kombu's fanout: one capped collection, `{payload, queue: exchange}`, in which every reader has a tailable cursor; the
 * routing key is not looked at. Source: kombu/transport/mongodb.py, _put_fanout and BroadcastCursor.
 *
 * We never write anything else into it: Python's readers skip as many messages as there are documents of any kind.
 */
export class Broadcasts implements Broadcast {
  readonly #link: MongoLink;
  readonly #name: string;
  readonly #sizeBytes: number;
  readonly #logger: Logger;
  readonly #tails = new Map<string, Tail>();

  constructor(link: MongoLink, { broadcast }: Layout, sizeBytes: number, logger: Logger) {
    this.#link = link;
    this.#name = broadcast;
    this.#sizeBytes = sizeBytes;
    this.#logger = logger;
  }

  async publish(exchange: string, _routingKey: string, payload: string): Promise<void> {
    const bytes = Buffer.byteLength(payload) + 512;
    if (bytes > this.#sizeBytes) {
      throw new MessageTooLargeError(
        `A message of ${bytes} bytes does not fit into the collection "${this.#name}" of ${this.#sizeBytes} bytes. Set the option "capped_queue_size" before the collection is made.`,
        { facts: { limitBytes: this.#sizeBytes, exchange } },
      );
    }
    await this.#link.run({ insert: this.#name, documents: [{ payload, queue: exchange }], writeConcern: { w: 1 } });
  }

  async subscribe(exchange: string, _key: string, listener: Listener): Promise<{ unsubscribe(): Promise<void> }> {
    let tail = this.#tails.get(exchange);
    if (tail === undefined) {
      tail = new Tail(this.#link, this.#name, exchange, this.#logger);
      this.#tails.set(exchange, tail);
    }
    const { listeners } = tail;
    const entry = { listener };
    listeners.add(entry);
    const unsubscribe = async (): Promise<void> => {
      if (!listeners.delete(entry) || listeners.size > 0) return;
      if (this.#tails.get(exchange) === tail) this.#tails.delete(exchange);
      await tail.stop();
    };
    try {
      await tail.ready;
    } catch (error) {
      await unsubscribe();
      throw error;
    }
    return { unsubscribe };
  }

  stop(): void {
    for (const tail of this.#tails.values()) void tail.stop();
    this.#tails.clear();
  }
}

/** Reads the messages of one exchange from now on, for all listeners of a connection. */
class Tail {
  readonly listeners = new Set<{ readonly listener: Listener }>();
  /** Resolves when whatever is published from now on will be read. */
  readonly ready: Promise<void>;
  readonly #link: MongoLink;
  readonly #collection: string;
  readonly #exchange: string;
  readonly #logger: Logger;
  #cursor: AwaitCursor<Document> | undefined;
  #isStopped = false;
  #endPause: (() => void) | undefined;

  constructor(link: MongoLink, collection: string, exchange: string, logger: Logger) {
    this.#link = link;
    this.#collection = collection;
    this.#exchange = exchange;
    this.#logger = logger;
    let isReady!: () => void;
    let isFailed!: (error: unknown) => void;
    this.ready = new Promise((resolve, reject) => {
      isReady = resolve;
      isFailed = reject;
    });
    this.ready.catch(() => undefined);
    void this.#run(isReady).catch(isFailed);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endPause?.();
    void this.#cursor?.close();
  }

  async #run(isReady: () => void): Promise<void> {
    // In a collection that was empty when we came, everything is new.
    let isEmpty = !(await this.#skip());
    isReady();
    while (!this.#isStopped) {
      try {
        if (isEmpty) {
          await this.#pause(EMPTY_PAUSE_MS);
          this.#cursor = this.#open();
        }
        for (;;) {
          const documents = await (this.#cursor as AwaitCursor<Document>).next(AWAIT_MS);
          isEmpty = false;
          for (const document of documents) this.#hand(document);
          if (this.#isStopped) return;
        }
      } catch (error) {
        if (this.#isStopped || this.#link.isLost) return;
        await this.#cursor?.close();
        if (error instanceof CursorEndedError && isEmpty) continue;
        this.#logger.warn(
          { err: error, exchange: this.#exchange },
          'reading broadcasts was interrupted, and some may have been missed; going on with new ones',
        );
        await this.#pause(EMPTY_PAUSE_MS);
        isEmpty = !(await this.#skip().catch(() => true));
      }
    }
  }

  /** Opens a cursor behind all that is there. False: the collection is empty, and no cursor can wait in it. */
  async #skip(): Promise<boolean> {
    this.#cursor = this.#open();
    try {
      while ((await this.#cursor.next(1)).length > 0);
      return true;
    } catch (error) {
      if (error instanceof CursorEndedError) return false;
      throw error;
    }
  }

  #open(): AwaitCursor<Document> {
    return this.#link.awaitCursor<Document>({
      find: this.#collection,
      filter: { queue: this.#exchange },
      batchSize: BATCH,
      tailable: true,
      awaitData: true,
    });
  }

  #hand({ payload }: Document): void {
    if (typeof payload !== 'string') return;
    for (const { listener } of this.listeners) listener(payload, '');
  }

  async #pause(ms: number): Promise<void> {
    if (this.#isStopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
