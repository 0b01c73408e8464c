import type { AwaitCursor, MongoLink } from '@lovage/mongodb';
import type { Logger } from '@lovage/core/backend';

const AWAIT_MS = 5000;
/** A change stream that nobody needs any more is kept for so long: the next wait often follows at once. */
const LINGER_MS = 5000;

interface Change {
  readonly documentKey?: { readonly _id: unknown };
}

/** Tells which documents of a collection were written, by whomever, while somebody wants to know. */
export class ChangedIds {
  readonly #link: MongoLink;
  readonly #collection: string;
  readonly #onChange: (ids: readonly string[]) => void;
  readonly #logger: Logger;
  #opening: Promise<void> | undefined;
  #cursor: AwaitCursor<Change> | undefined;
  #linger: NodeJS.Timeout | undefined;

  constructor(link: MongoLink, collection: string, onChange: (ids: readonly string[]) => void, logger: Logger) {
    this.#link = link;
    this.#collection = collection;
    this.#onChange = onChange;
    this.#logger = logger;
  }

  /** Resolves when whatever is written from now on will be told. Rejects where the server has no change streams. */
  want(): Promise<void> {
    clearTimeout(this.#linger);
    return (this.#opening ??= this.#open().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    }));
  }

  /** Nobody waits any more. */
  rest(): void {
    clearTimeout(this.#linger);
    this.#linger = setTimeout(() => this.stop(), LINGER_MS);
    this.#linger.unref();
  }

  stop(): void {
    clearTimeout(this.#linger);
    const cursor = this.#cursor;
    this.#opening = this.#cursor = undefined;
    void cursor?.close();
  }

  async #open(): Promise<void> {
    const cursor = this.#link.awaitCursor<Change>({
      aggregate: this.#collection,
      pipeline: [
        { $changeStream: {} },
        { $match: { operationType: { $ne: 'delete' } } },
        { $project: { documentKey: 1 } },
      ],
      cursor: {},
    });
    this.#tell(await cursor.next(1));
    this.#cursor = cursor;
    void this.#run(cursor);
  }

  async #run(cursor: AwaitCursor<Change>): Promise<void> {
    try {
      while (this.#cursor === cursor) this.#tell(await cursor.next(AWAIT_MS));
    } catch (error) {
      if (this.#cursor !== cursor || this.#link.isLost) return;
      this.stop();
      // Who waits must not wait for a stream that is gone: with the link everything is read again.
      this.#logger.debug({ err: error }, 'The change stream of results ended.');
      this.#link.fail(error);
    }
  }

  #tell(changes: readonly Change[]): void {
    const ids = changes.flatMap(({ documentKey }) => (typeof documentKey?._id === 'string' ? [documentKey._id] : []));
    if (ids.length > 0) this.#onChange(ids);
  }
}
