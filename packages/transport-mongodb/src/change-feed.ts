import { type AwaitCursor, CursorEndedError, type MongoLink } from '@lovage/mongodb';
import { isLovageError, type Logger } from '@lovage/core/transport';
import type { Layout } from './layout.ts';

const AWAIT_MS = 5000;
/** A feed that nobody needed for so long is ended: reading what it missed would cost more than opening another. */
const STALE_MS = 1000;

/**
 * A change stream that says when something came into queues, whoever put it there. It is read only while somebody
 * waits: a busy consumer gets its messages without hints.
 */
export class ChangeFeed {
  readonly #link: MongoLink;
  readonly #collection: string;
  readonly #notify: () => void;
  readonly #logger: Logger;
  #isSupported: boolean;
  #cursor: AwaitCursor<unknown> | undefined;
  #queues = '';
  /** Somebody sleeps, and wants the next hint. */
  #arm: (() => void) | undefined;
  #isArmed = false;

  constructor(link: MongoLink, { messages }: Layout, isWanted: boolean, notify: () => void, logger: Logger) {
    this.#link = link;
    this.#collection = messages;
    this.#isSupported = isWanted;
    this.#notify = notify;
    this.#logger = logger;
  }

  /**
   * Before sleeping. `'live'`: a hint comes. `'opened'`: a hint comes for what happens from now on, so look once more.
   * `'none'`: this server has no change streams, or does not let us: poll.
   */
  async arm(queues: readonly string[]): Promise<'live' | 'opened' | 'none'> {
    if (!this.#isSupported) return 'none';
    const wanted = JSON.stringify(queues.toSorted());
    if (this.#cursor !== undefined && this.#queues === wanted) {
      this.#isArmed = true;
      this.#arm?.();
      return 'live';
    }
    this.#end();
    const cursor = this.#open(queues);
    try {
      await cursor.next(1);
    } catch (error) {
      void cursor.close();
      if (isLovageError(error) && !isLovageError(error, 'ERR_CONNECTION_LOST') && !isLovageError(error, 'ERR_CLOSED')) {
        this.#isSupported = false;
        this.#logger.info(
          { err: error },
          'This MongoDB gives no change streams (they need a replica set and the right to read them): its queues are polled.',
        );
        return 'none';
      }
      if (error instanceof CursorEndedError) return 'none';
      throw error;
    }
    this.#cursor = cursor;
    this.#queues = wanted;
    this.#isArmed = true;
    void this.#run(cursor);
    return 'opened';
  }

  stop(): void {
    this.#isSupported = false;
    this.#end();
  }

  #end(): void {
    const cursor = this.#cursor;
    this.#cursor = undefined;
    this.#arm?.();
    void cursor?.close();
  }

  #open(queues: readonly string[]): AwaitCursor<unknown> {
    const among = { $in: queues };
    return this.#link.awaitCursor({
      aggregate: this.#collection,
      pipeline: [
        { $changeStream: {} },
        {
          $match: {
            $or: [
              { 'fullDocument.queue': among },
              { 'fullDocument.lovage_queue': among },
              { 'updateDescription.updatedFields.queue': among },
            ],
          },
        },
        { $project: { _id: 1 } },
      ],
      cursor: {},
    });
  }

  async #run(cursor: AwaitCursor<unknown>): Promise<void> {
    try {
      while (this.#cursor === cursor) {
        if (!this.#isArmed && !(await this.#armed())) break;
        if ((await cursor.next(AWAIT_MS)).length === 0) continue;
        this.#isArmed = false;
        this.#notify();
      }
    } catch (error) {
      if (!this.#link.isLost) this.#logger.debug({ err: error }, 'a change stream ended; another one will be opened');
    }
    if (this.#cursor === cursor) {
      this.#end();
      // Who sleeps would get no hint any more.
      this.#notify();
    }
  }

  /** False: nobody slept for a while. */
  #armed(): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#arm = undefined;
        resolve(false);
      }, STALE_MS);
      timer.unref();
      this.#arm = () => {
        this.#arm = undefined;
        clearTimeout(timer);
        resolve(true);
      };
    });
  }
}
