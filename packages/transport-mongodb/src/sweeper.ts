import { type MongoLink, SURE } from '@lovage/mongodb';
import type { Logger } from '@lovage/core/transport';
import type { Document } from 'mongodb';
import type { Layout } from './layout.ts';
import type { Messages } from './messages.ts';

/** A lease that ends is noticed after at most so long. */
const LONGEST_PAUSE_MS = 2000;
/** How often, at most, all holders of messages are compared with the records of the living. */
const ORPHANS_MS = 10_000;
/** How often queues are looked for that nobody renewed. */
const TEMPORARY_MS = 60_000;
const MOST_PER_SWEEP = 100;

export interface SweeperOptions {
  readonly link: MongoLink;
  readonly layout: Layout;
  readonly messages: Messages;
  readonly leaseMs: number;
  readonly logger: Logger;
  /** Messages came back. */
  readonly onRestored: () => void;
  /** Removes a queue that nobody renewed. */
  readonly removeQueue: (name: string) => Promise<void>;
  /** Says that our own temporary queues are in use. */
  readonly renewQueues: () => Promise<void>;
}

/**
 * Gives back what dead consumers hold. Each step can be done again by anybody: a record is marked as dead, its messages
 * go back, then it goes; a sweeper that dies between leaves the rest to the next one.
 *
 * A consumer that was frozen may take a message under a name that is gone already. Such messages are found by comparing
 * the owners in the collection with the records, and go back as well.
 */
export class Sweeper {
  readonly #options: SweeperOptions;
  readonly #pauseMs: number;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;
  #orphansAt = Number.NEGATIVE_INFINITY;
  #temporaryAt = Number.NEGATIVE_INFINITY;

  constructor(options: SweeperOptions) {
    this.#options = options;
    this.#pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(50, options.leaseMs / 4));
  }

  /** Looks now and from now on. Twice is fine. */
  start(): void {
    if (this.#timer === undefined && !this.#isStopped) this.#plan(0);
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #plan(ms: number): void {
    if (this.#isStopped) return;
    this.#timer = setTimeout(() => void this.#look(), ms);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    const { link, logger, onRestored, leaseMs } = this.#options;
    try {
      const now = performance.now();
      let restored = await this.#sweepDead();
      if (now - this.#orphansAt >= Math.max(leaseMs, ORPHANS_MS)) {
        this.#orphansAt = now;
        restored += await this.#sweepOrphans();
      }
      if (now - this.#temporaryAt >= TEMPORARY_MS) {
        this.#temporaryAt = now;
        await this.#options.renewQueues();
        await this.#sweepQueues();
      }
      if (restored > 0) {
        logger.warn({ messages: restored }, 'messages of dead workers were given back to their queues');
        onRestored();
      }
    } catch (error) {
      if (this.#isStopped || link.isLost) return;
      logger.warn({ err: error }, 'the search for messages of dead workers failed; will try again');
    }
    this.#plan(this.#pauseMs);
  }

  async #sweepDead(): Promise<number> {
    const { link, layout, messages } = this.#options;
    const expired = { $lt: new Date(link.serverMs) };
    const { cursor } = await link.run({
      find: layout.consumers,
      filter: { until: expired },
      limit: MOST_PER_SWEEP,
      batchSize: MOST_PER_SWEEP,
      singleBatch: true,
    });
    let restored = 0;
    for (const { _id, dead } of (cursor as { firstBatch: Document[] }).firstBatch) {
      if (dead !== true) {
        const updates = [{ q: { _id, until: expired }, u: { $set: { dead: true } } }];
        const { n } = await link.run({ update: layout.consumers, updates, writeConcern: SURE });
        // It has renewed its lease meanwhile, or somebody else has done all this.
        if (Number(n) === 0) continue;
      }
      restored += await messages.release(_id as unknown as string);
      await link.run({ delete: layout.consumers, deletes: [{ q: { _id }, limit: 1 }], writeConcern: SURE });
    }
    return restored;
  }

  /** Owners first: who registers between the two looks is not among them. */
  async #sweepOrphans(): Promise<number> {
    const { link, layout, messages } = this.#options;
    const owners = await messages.owners();
    if (owners.length === 0) return 0;
    const { values } = await link.run({
      distinct: layout.consumers,
      key: '_id',
      query: { _id: { $in: owners } },
    });
    const known = new Set(values as string[]);
    let restored = 0;
    for (const owner of owners) if (!known.has(owner)) restored += await messages.release(owner);
    return restored;
  }

  async #sweepQueues(): Promise<void> {
    const { link, layout, removeQueue } = this.#options;
    const query = { expire_at: { $lt: new Date(link.serverMs) } };
    const { values } = await link.run({ distinct: layout.temporary, key: '_id', query });
    for (const name of values as string[]) {
      // Renewed meanwhile, it is not removed.
      const { n } = await link.run({ delete: layout.temporary, deletes: [{ q: { _id: name, ...query }, limit: 1 }] });
      if (Number(n) === 1) await removeQueue(name);
    }
  }
}
