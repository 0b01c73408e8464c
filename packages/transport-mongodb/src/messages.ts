import { type MongoLink, SURE } from '@lovage/mongodb';
import {
  isLovageError,
  type LovageError,
  PublishError,
  type QueueEntry,
  type ReceiptSettlement,
} from '@lovage/core/transport';
import { Binary, type Document, MongoBulkWriteError, ObjectId } from 'mongodb';
import type { Layout } from './layout.ts';

/** A message as it was taken: whoever takes it later does so with another owner or another count. */
export interface MongoReceipt {
  readonly id: ObjectId;
  readonly owner: string;
  readonly deliveries: number;
}

export interface Taken {
  readonly queue: string;
  readonly payload: string | Uint8Array;
  readonly receipt: MongoReceipt;
}

/** Others were faster with all that we had found. */
export const MISSED: unique symbol = Symbol('missed');

/** Highest priority first, then the oldest. Source: kombu/transport/mongodb.py, _get and _ensure_indexes. */
const ORDER = { priority: 1, _id: 1 };
/** A message that is neither held nor delayed any more: Kombu finds it again. */
const BACK = { $rename: { lovage_queue: 'queue', lovage_expire_at: 'expire_at' } };

/**
 * Kombu's collection of messages: `{queue, payload, priority: 9 - p, expire_at?}`.
 *
 * Kombu takes a message by deleting it. We take it by renaming the field `queue`, by which every query of Kombu goes, to
 * `lovage_queue`: from then on Kombu neither finds, counts nor purges it, and no TTL index sees its `expire_at`. The
 * rename, the owner and the number of deliveries are one update of one document, so it is one side's or the other's at
 * every moment. A delayed message has no `queue` either, and a `lovage_due`.
 */
export class Messages {
  readonly #link: MongoLink;
  readonly #name: string;

  constructor(link: MongoLink, { messages }: Layout) {
    this.#link = link;
    this.#name = messages;
  }

  /** Rejects with `PublishError` that names what the server did not take. */
  async insert(entries: readonly QueueEntry[], expiry?: readonly (Date | undefined)[]): Promise<void> {
    const now = this.#link.serverMs;
    const documents = entries.map(({ queue, payload, priority, delayMs }, index) => {
      const expireAt = expiry?.[index];
      const rest = { payload, priority: 9 - priority };
      if (delayMs <= 0) return { queue, ...rest, ...(expireAt === undefined ? {} : { expire_at: expireAt }) };
      const due = now + delayMs;
      return {
        // Ids begin with a time, and order messages: a delayed one stands among those of the second when it is due.
        _id: new ObjectId(ObjectId.generate(Math.floor(due / 1000))),
        lovage_queue: queue,
        ...rest,
        lovage_due: new Date(due),
        ...(expireAt === undefined ? {} : { lovage_expire_at: expireAt }),
      };
    });
    const writeConcern = { w: SURE.w, journal: SURE.j, wtimeoutMS: SURE.wtimeout };
    const collection = this.#link.db.collection(this.#name);
    try {
      await this.#link.call(() => collection.insertMany(documents, { ordered: false, writeConcern }));
    } catch (error) {
      if (!isLovageError(error) || isLovageError(error, 'ERR_CONNECTION_LOST') || isLovageError(error, 'ERR_CLOSED'))
        throw error;
      throw new PublishError(this.#failures(error, entries.length), entries.length);
    }
  }

  #failures(error: LovageError, total: number): { readonly index: number; readonly error: LovageError }[] {
    const { cause } = error;
    const refused = cause instanceof MongoBulkWriteError ? [cause.writeErrors].flat() : [];
    if (refused.length > 0) return refused.map((one) => ({ index: one.index, error: this.#link.error(one.err) }));
    return Array.from({ length: total }, (_, index) => ({ index, error }));
  }

  /**
   * Takes up to `max` messages for `owner`. One queue and one message are one round trip, many are two: what is found is
   * claimed by one update, and asked for again only where others have claimed some of it meanwhile.
   */
  async take(
    queues: readonly string[],
    max: number,
    owner: string,
    signal: AbortSignal,
  ): Promise<readonly Taken[] | typeof MISSED> {
    if (max === 1 && queues.length === 1) return this.#takeOne(queues[0] as string, owner);
    const found = await this.#find(queues, max);
    if (found.length === 0 || signal.aborted) return [];
    const byCount = groupBy(found, ({ lovage_deliveries }) => countOf(lovage_deliveries));
    try {
      const reply = await this.#link.run({
        update: this.#name,
        updates: Array.from(byCount, ([count, documents]) => ({
          q: {
            _id: { $in: documents.map(({ _id }) => _id) },
            queue: queues.length === 1 ? queues[0] : { $in: queues },
            lovage_deliveries: count === 0 ? null : count,
          },
          u: {
            $rename: { queue: 'lovage_queue', expire_at: 'lovage_expire_at' },
            $set: { lovage_owner: owner, lovage_deliveries: count + 1 },
          },
          multi: true,
        })),
        ordered: false,
        writeConcern: SURE,
      });
      const claimed = Number(reply.nModified);
      if (claimed === 0) return MISSED;
      const taken = found.map((document) => toTaken(document, owner, countOf(document.lovage_deliveries) + 1));
      if (claimed === found.length) return taken;
      const ours = await this.#ours(
        owner,
        found.map(({ _id }) => _id as ObjectId),
      );
      return taken.filter(({ receipt }) => ours.get(receipt.id.toHexString()) === receipt.deliveries);
    } catch (error) {
      this.#claimFailed(error);
      throw error;
    }
  }

  async #takeOne(queue: string, owner: string): Promise<readonly Taken[]> {
    try {
      const { value } = await this.#link.run({
        findAndModify: this.#name,
        query: { queue },
        sort: ORDER,
        update: {
          $rename: { queue: 'lovage_queue', expire_at: 'lovage_expire_at' },
          $set: { lovage_owner: owner },
          $inc: { lovage_deliveries: 1 },
        },
        new: true,
        writeConcern: SURE,
      });
      if (value === null || value === undefined) return [];
      return [toTaken({ ...value, queue }, owner, countOf(value.lovage_deliveries))];
    } catch (error) {
      this.#claimFailed(error);
      throw error;
    }
  }

  /**
   * Something may be claimed now, and nobody knows what: it comes back when our lease ends, and that ends with the link.
   * Nothing is where the server refused to begin.
   */
  #claimFailed(error: unknown): void {
    if (!isLovageError(error, 'ERR_AUTH') && !isLovageError(error, 'ERR_UNSUPPORTED')) this.#link.fail(error);
  }

  /** All that waits if it is not more than `max`; else the same share of each queue, so that none waits for another. */
  async #find(queues: readonly string[], max: number): Promise<readonly Document[]> {
    const found = await this.#firstOf(queues.length === 1 ? queues[0] : { $in: queues }, max);
    if (found.length < max || queues.length === 1) return found;
    const share = Math.ceil(max / queues.length);
    const shares = await Promise.all(queues.map((queue) => this.#firstOf(queue, share)));
    return shares.flat().slice(0, max);
  }

  /** At most 16 MiB of them: what one reply holds. */
  async #firstOf(queue: unknown, limit: number): Promise<readonly Document[]> {
    const { cursor } = await this.#link.run({
      find: this.#name,
      filter: { queue },
      sort: ORDER,
      projection: { payload: 1, queue: 1, lovage_deliveries: 1 },
      limit,
      batchSize: limit,
      singleBatch: true,
    });
    return (cursor as { firstBatch: Document[] }).firstBatch;
  }

  /** Which of these are held by `owner`, with their count. */
  async #ours(owner: string, ids: readonly ObjectId[]): Promise<ReadonlyMap<string, number>> {
    const { cursor } = await this.#link.run({
      find: this.#name,
      filter: { _id: { $in: ids }, lovage_owner: owner },
      projection: { lovage_deliveries: 1 },
      batchSize: ids.length,
      singleBatch: true,
    });
    const { firstBatch } = cursor as { firstBatch: Document[] };
    return new Map(firstBatch.map(({ _id, lovage_deliveries }) => [String(_id), countOf(lovage_deliveries)]));
  }

  /** One command for all that is acked and one for all that goes back; what is not ours any more is left alone. */
  async settle(settlements: readonly ReceiptSettlement<MongoReceipt>[]): Promise<void> {
    const groups = groupBy(settlements, ({ receipt, outcome }) => `${outcome} ${receipt.owner} ${receipt.deliveries}`);
    const acks: Document[] = [];
    const requeues: Document[] = [];
    for (const group of groups.values()) {
      const { receipt, outcome } = group[0] as ReceiptSettlement<MongoReceipt>;
      const q = {
        _id: { $in: group.map(({ receipt: { id } }) => id) },
        lovage_owner: receipt.owner,
        lovage_deliveries: receipt.deliveries,
      };
      if (outcome === 'ack') acks.push({ q, limit: 0 });
      else requeues.push({ q, u: { ...BACK, $unset: { lovage_owner: '' } }, multi: true });
    }
    const common = { ordered: false, writeConcern: SURE };
    await Promise.all([
      acks.length > 0 ? this.#link.run({ delete: this.#name, deletes: acks, ...common }) : undefined,
      requeues.length > 0 ? this.#link.run({ update: this.#name, updates: requeues, ...common }) : undefined,
    ]);
  }

  /** Gives back all that an owner holds. How many they were. */
  async release(owner: string): Promise<number> {
    return this.#update({ lovage_owner: owner }, { ...BACK, $unset: { lovage_owner: '' } });
  }

  /** Everybody who holds something. */
  async owners(): Promise<readonly string[]> {
    const { values } = await this.#link.run({
      distinct: this.#name,
      key: 'lovage_owner',
      query: { lovage_owner: { $gt: '' } },
    });
    return values as string[];
  }

  /** Whether an owner holds something. */
  async holdsAny(owner: string): Promise<boolean> {
    const { n } = await this.#link.run({ count: this.#name, query: { lovage_owner: owner }, limit: 1 });
    return Number(n) > 0;
  }

  /** When the next delayed message of these queues is due, by the server's clock; undefined: there is none. */
  async nextDue(queues: readonly string[]): Promise<number | undefined> {
    const { cursor } = await this.#link.run({
      find: this.#name,
      filter: { lovage_queue: { $in: queues }, lovage_due: { $gt: new Date(0) } },
      sort: { lovage_due: 1 },
      projection: { lovage_due: 1 },
      limit: 1,
      singleBatch: true,
    });
    const due: unknown = (cursor as { firstBatch: Document[] }).firstBatch[0]?.lovage_due;
    return due instanceof Date ? due.getTime() : undefined;
  }

  /** Puts into the queues what is due by `now`. How many they were. */
  async promote(queues: readonly string[], now: number): Promise<number> {
    const due = { lovage_queue: { $in: queues }, lovage_due: { $gt: new Date(0), $lte: new Date(now) } };
    return this.#update(due, { ...BACK, $unset: { lovage_due: '' } });
  }

  async size(queue: string): Promise<number> {
    const counts = await Promise.all(
      waiting(queue).map(async (query) => Number((await this.#link.run({ count: this.#name, query })).n)),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  async purge(queue: string): Promise<number> {
    return this.#delete(waiting(queue));
  }

  /** With what others hold of it. */
  async remove(queue: string): Promise<void> {
    await this.#delete([{ queue }, { lovage_queue: queue }]);
  }

  async #update(q: Document, u: Document): Promise<number> {
    const updates = [{ q, u, multi: true }];
    const { nModified } = await this.#link.run({ update: this.#name, updates, writeConcern: SURE });
    return Number(nModified);
  }

  async #delete(queries: readonly Document[]): Promise<number> {
    const deletes = queries.map((q) => ({ q, limit: 0 }));
    const { n } = await this.#link.run({ delete: this.#name, deletes, writeConcern: SURE });
    return Number(n);
  }
}

/** What is in a queue and held by nobody, the delayed included. */
function waiting(queue: string): readonly Document[] {
  return [{ queue }, { lovage_queue: queue, lovage_due: { $gt: new Date(0) } }];
}

function countOf(deliveries: unknown): number {
  return typeof deliveries === 'number' ? deliveries : 0;
}

function toTaken({ _id, queue, payload }: Document, owner: string, deliveries: number): Taken {
  return { queue: String(queue), payload: bytesOf(payload), receipt: { id: _id as ObjectId, owner, deliveries } };
}

/** Kombu's payloads are text. Anything else is handed on as it is, and turns out to be no envelope. */
function bytesOf(payload: unknown): string | Uint8Array {
  if (typeof payload === 'string') return payload;
  return payload instanceof Binary ? payload.buffer.subarray(0, payload.position) : (JSON.stringify(payload) ?? '');
}

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): ReadonlyMap<K, readonly T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
