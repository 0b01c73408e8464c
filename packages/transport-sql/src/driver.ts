import {
  isSurelyDead,
  processIdentity,
  type BindingStore,
  type Capabilities,
  ClosedError,
  isLovageError,
  type Logger,
  type LovageError,
  PublishError,
  type PublishFailure,
  type Pulled,
  type PullRequest,
  type Queue,
  type QueueDriver,
  type QueueEntry,
  type ReceiptSettlement,
  type StoredBinding,
} from '@lovage/core/transport';
import type { Listening, SqlDatabase, SqlTransaction } from '@lovage/sql';
import type { ResolvedOptions } from './options.ts';
import type { ClaimedRow, QueueTables } from './tables.ts';

/** A message and the number under which it was taken: a later taker has another one. */
export interface SqlReceipt {
  readonly id: number;
  readonly consumer: number;
}

/** Most messages taken by one statement, however much is asked for: the loop is held for as long as it runs. */
const MAX_CLAIM = 500;
/** How often a consumer looks for dead ones, and a waiting one at the database in any case. */
const HOUSEKEEPING_MS = 1000;
/** On a server, where each look is a round trip. What nobody told of is looked for by the database's own clock. */
const SERVER_HOUSEKEEPING_MS = 3000;
/** Queues that go away with their process do so when nobody renewed them for this long, at least. */
const QUEUE_EXPIRY_MS = 300_000;
const QUEUE_RENEWAL_MS = 60_000;
/**
 * For all but a publish. A power loss ends every process that holds a message; it undoes the last claims, results and
 * settlements together, and the messages come again.
 */
const ORDERED = { durability: 'ordered' } as const;
const MAX_DELAY_MS = 10 * 365 * 86_400_000;

/**
 * Kombu's tables as a queue with leases. Calls of one turn of the event loop, of every driver and result store on the
 * same database, are committed together.
 */
export class SqlDriver implements QueueDriver<SqlReceipt> {
  readonly capabilities: Capabilities;
  readonly lost: Promise<never>;
  readonly bindings: BindingStore;
  readonly #database: SqlDatabase;
  readonly #tables: QueueTables;
  readonly #logger: Logger;
  readonly #leaseMs: number;
  readonly #topic: string;
  readonly #housekeepingMs: number;
  /** Queues that go away with this process, and what is bound to them. */
  readonly #ownQueues = new Map<
    string,
    { readonly expiryMs: number; readonly bindings: Map<string, [string, StoredBinding]> }
  >();
  #consumer: { readonly id: number; readonly leaseUntil: number } | undefined;
  #listening: Listening | undefined;
  #wake: (() => void) | undefined;
  #changes = 0;
  /** The last pull brought something: the next one need not ask first. */
  #expectsMore = false;
  #housekeepingAt = 0;
  #queueRenewalAt = 0;
  #closed = false;

  constructor(database: SqlDatabase, tables: QueueTables, options: ResolvedOptions, logger: Logger) {
    this.#database = database;
    this.#tables = tables;
    this.#logger = logger;
    this.#leaseMs = options.leaseMs;
    this.#housekeepingMs =
      database.product === 'sqlite' ? HOUSEKEEPING_MS : Math.min(SERVER_HOUSEKEEPING_MS, options.leaseMs);
    this.#topic = `messages:${options.messageTable}`;
    this.lost = database.lost;
    this.capabilities = {
      fanout: true,
      // Kombu's layout has no place for a priority and its consumers take by age: serving it on one side only would
      // let the other break it.
      priorityLevels: 0,
      servesFirst: 'highest',
      maxDelayMs: MAX_DELAY_MS,
      leaseMs: options.leaseMs,
      maxMessageBytes: tables.maxPayloadBytes,
      guarantee:
        database.product !== 'sqlite'
          ? `${database.product}: a publish that resolved is a committed transaction; it survives what the server's own settings say that a commit survives`
          : options.synchronous === 'full'
            ? 'sqlite, synchronous=full: a committed publish survives the death of every process and a power loss'
            : 'sqlite, synchronous=normal: a committed publish survives the death of every process; a power loss may take the last moments',
    };
    this.bindings = {
      add: (exchange, binding) => this.#bind(exchange, binding),
      remove: (exchange, binding) => this.#unbind(exchange, binding),
      list: (exchange) => tables.bindings(database, exchange),
    };
  }

  async ensureQueue(queue: Queue): Promise<void> {
    const { name } = queue;
    if (queue.autoDelete !== true && queue.exclusive !== true) {
      await this.#database.transaction((transaction) => this.#tables.ensureQueue(transaction, name));
      return;
    }
    const declared = queue.arguments?.['x-expires'];
    const expiryMs = Math.max(QUEUE_EXPIRY_MS, typeof declared === 'number' ? declared : 0);
    await this.#database.transaction(async (transaction) => {
      await this.#tables.ensureQueue(transaction, name);
      await this.#tables.setQueueExpiry(transaction, name, this.#database.now() + expiryMs);
    });
    if (!this.#ownQueues.has(name)) this.#ownQueues.set(name, { expiryMs, bindings: new Map() });
  }

  async removeQueue(name: string): Promise<void> {
    this.#ownQueues.delete(name);
    await this.#database.transaction((transaction) => this.#tables.removeQueue(transaction, name));
  }

  async push(entries: readonly QueueEntry[]): Promise<void> {
    const error = await this.#pushTogether(entries);
    if (error === undefined) return;
    const failures: PublishFailure[] = [];
    // One that the database does not take is no reason to refuse the others of the batch.
    const isOfOne = entries.length > 1 && !isLovageError(error, 'ERR_BLOCKED') && !isLovageError(error, 'ERR_TIMEOUT');
    for (const [index, entry] of entries.entries()) {
      const own = isOfOne ? await this.#pushTogether([entry]) : error;
      if (own !== undefined) failures.push({ index, error: own });
    }
    if (failures.length > 0) throw new PublishError(failures, entries.length);
  }

  /** All or none of them; the refusal, if it is none. */
  async #pushTogether(entries: readonly QueueEntry[]): Promise<LovageError | undefined> {
    const waiting = new Map<string, string[]>();
    for (const { queue, payload, delayMs } of entries) {
      if (delayMs > 0) continue;
      const payloads = waiting.get(queue);
      if (payloads === undefined) waiting.set(queue, [payload]);
      else payloads.push(payload);
    }
    try {
      await this.#database.transaction(async (transaction) => {
        const now = this.#database.now();
        for (const [queue, payloads] of waiting) await this.#tables.insert(transaction, queue, payloads);
        for (const { queue, payload, delayMs } of entries) {
          if (delayMs > 0) await this.#tables.insertDelayed(transaction, queue, payload, now + delayMs);
        }
        transaction.signal(this.#topic);
      });
    } catch (error) {
      if (!isLovageError(error)) throw error;
      if (error.code === 'ERR_CONNECTION_LOST' || error.code === 'ERR_CLOSED') throw error;
      return error;
    }
    return undefined;
  }

  async pull({ queues, max, waitMs, signal }: PullRequest): Promise<readonly Pulled<SqlReceipt>[]> {
    this.#listening ??= this.#database.listen(this.#topic, () => {
      this.#changes++;
      this.#wake?.();
    });
    const deadline = Date.now() + waitMs;
    while (!signal.aborted) {
      const seen = this.#changes;
      await this.#keepHouse();
      const now = this.#database.now();
      const outlook = this.#expectsMore ? undefined : await this.#tables.outlook(this.#database, queues, now);
      if (outlook === undefined || outlook.ready) {
        const pulled = await this.#claim(queues, Math.min(max, MAX_CLAIM), signal);
        this.#expectsMore = pulled.length > 0;
        if (this.#expectsMore) return pulled;
        if (outlook === undefined) continue;
      }
      const { nextDueAt } = outlook;
      const waitMs = Math.min(
        deadline - Date.now(),
        this.#housekeepingMs,
        (nextDueAt ?? Number.POSITIVE_INFINITY) - this.#database.now(),
      );
      if (Date.now() >= deadline) break;
      if (this.#closed) throw new ClosedError(`The connection to "${this.#database.location}" is closed.`);
      // The signal may have fired meanwhile, and says so only once.
      if (seen === this.#changes && !signal.aborted) await this.#change(Math.max(1, waitMs), signal);
    }
    return [];
  }

  async settle(settlements: readonly ReceiptSettlement<SqlReceipt>[]): Promise<void> {
    const groups = new Map<string, { consumer: number; outcome: 'ack' | 'requeue'; ids: number[] }>();
    for (const { receipt, outcome } of settlements) {
      const key = `${outcome}${receipt.consumer}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, { consumer: receipt.consumer, outcome, ids: [receipt.id] });
      else group.ids.push(receipt.id);
    }
    await this.#database.transaction(async (transaction) => {
      for (const { consumer, outcome, ids } of groups.values()) {
        if (outcome === 'ack') await this.#tables.ack(transaction, consumer, ids);
        else {
          await this.#tables.requeue(transaction, consumer, ids);
          transaction.signal(this.#topic);
        }
      }
    }, ORDERED);
  }

  readonly renewsByHolder = true;

  /** Its number among the consumers; undefined before the first pull. */
  get leaseHolder(): number | undefined {
    return this.#consumer?.id;
  }

  async extendLease(receipts: readonly SqlReceipt[]): Promise<readonly SqlReceipt[]> {
    await this.#renewQueues();
    const consumer = this.#consumer;
    if (consumer === undefined) return receipts;
    let leaseUntil = 0;
    const isAlive = await this.#database.transaction((transaction) => {
      leaseUntil = this.#database.now() + this.#leaseMs;
      return this.#tables.renewLease(transaction, consumer.id, leaseUntil);
    }, ORDERED);
    if (isAlive && this.#consumer?.id === consumer.id) this.#consumer = { id: consumer.id, leaseUntil };
    return receipts.filter((receipt) => !isAlive || receipt.consumer !== consumer.id);
  }

  size(queue: string): Promise<number> {
    return this.#tables.size(this.#database, queue);
  }

  purge(queue: string): Promise<number> {
    return this.#database.transaction((transaction) => this.#tables.purge(transaction, queue));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listening?.stop();
    this.#wake?.();
    const consumer = this.#consumer;
    try {
      if (consumer !== undefined) {
        await this.#database.transaction(
          (transaction) => this.#tables.retireConsumer(transaction, consumer.id),
          ORDERED,
        );
      }
    } catch (error) {
      this.#logger.debug({ err: error }, 'The consumer stays registered until its lease ends.');
    }
    await this.#database.close();
  }

  async #claim(queues: readonly string[], max: number, signal: AbortSignal): Promise<readonly Pulled<SqlReceipt>[]> {
    const work = async (transaction: SqlTransaction) => {
      const now = this.#database.now();
      await this.#tables.releaseDue(transaction, now);
      const consumer = await this.#aliveConsumer(transaction, now);
      const pulled: Pulled<SqlReceipt>[] = [];
      for (const queue of queues) {
        if (pulled.length >= max) break;
        for (const row of await this.#tables.claim(transaction, queue, max - pulled.length, consumer.id)) {
          pulled.push(toPulled(queue, row, consumer.id));
        }
      }
      return { consumer, pulled };
    };
    try {
      const { consumer, pulled } = await this.#database.transaction(work, { signal, durability: 'ordered' });
      this.#consumer = consumer;
      return pulled;
    } catch (error) {
      if (signal.aborted) return [];
      throw error;
    }
  }

  /** Checked in the claiming transaction: nobody would ever give back what a forgotten consumer takes. */
  async #aliveConsumer(transaction: SqlTransaction, now: number): Promise<{ id: number; leaseUntil: number }> {
    const known = this.#consumer;
    const leaseUntil = now + this.#leaseMs;
    if (known !== undefined) {
      const isFresh = known.leaseUntil - now > (this.#leaseMs * 2) / 3;
      if (isFresh && (await this.#tables.isAlive(transaction, known.id))) return known;
      if (!isFresh && (await this.#tables.renewLease(transaction, known.id, leaseUntil)))
        return { id: known.id, leaseUntil };
    }
    return { id: await this.#tables.registerConsumer(transaction, leaseUntil, processIdentity()), leaseUntil };
  }

  async #keepHouse(): Promise<void> {
    const now = Date.now();
    if (now < this.#housekeepingAt) return;
    this.#housekeepingAt = now + this.#housekeepingMs;
    await this.#renewQueues();
    const stored = this.#database.now();
    const { consumers, hasExpiredQueue } = await this.#tables.census(this.#database, stored);
    const others = consumers.filter(({ id }) => id !== this.#consumer?.id);
    const expired = others.filter(({ leaseUntil }) => leaseUntil < stored).map(({ id }) => id);
    const dead = others.filter(({ process }) => isSurelyDead(process)).map(({ id }) => id);
    if (expired.length + dead.length === 0 && !hasExpiredQueue) return;
    const released = await this.#database.transaction(async (transaction) => {
      const count = await this.#tables.reap(transaction, this.#database.now(), expired, dead);
      if (count > 0) transaction.signal(this.#topic);
      return count;
    });
    if (released > 0)
      this.#logger.warn({ messages: released }, 'Messages of a process that died or went silent are given to others.');
  }

  async #renewQueues(): Promise<void> {
    const now = Date.now();
    if (this.#ownQueues.size === 0 || now < this.#queueRenewalAt) return;
    this.#queueRenewalAt = now + QUEUE_RENEWAL_MS;
    const own = new Map(this.#ownQueues);
    const expiryMs = Math.max(...[...own.values()].map((queue) => queue.expiryMs));
    await this.#database.transaction(async (transaction) => {
      const expiresAt = this.#database.now() + expiryMs;
      for (const name of await this.#tables.renewQueueExpiry(transaction, [...own.keys()], expiresAt)) {
        // This process slept for long (a suspended laptop), and another one took its queues for abandoned.
        await this.#tables.ensureQueue(transaction, name);
        await this.#tables.setQueueExpiry(transaction, name, expiresAt);
        for (const [exchange, binding] of own.get(name)?.bindings.values() ?? []) {
          await this.#tables.addBinding(transaction, exchange, binding);
        }
      }
    });
  }

  async #bind(exchange: string, binding: StoredBinding): Promise<void> {
    this.#ownQueues.get(binding.queue)?.bindings.set(keyOf(exchange, binding), [exchange, binding]);
    await this.#database.transaction((transaction) => this.#tables.addBinding(transaction, exchange, binding));
  }

  async #unbind(exchange: string, binding: StoredBinding): Promise<void> {
    this.#ownQueues.get(binding.queue)?.bindings.delete(keyOf(exchange, binding));
    await this.#database.transaction((transaction) => this.#tables.removeBinding(transaction, exchange, binding));
  }

  /** Until something changed, the time is up or the signal fires. */
  #change(waitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(end, waitMs);
      signal.addEventListener('abort', end);
      this.#wake = end;
    });
  }
}

function toPulled(queue: string, { id, payload, deliveries }: ClaimedRow, consumer: number): Pulled<SqlReceipt> {
  return { queue, payload, receipt: { id, consumer }, deliveryCount: deliveries };
}

function keyOf(exchange: string, { queue, routingKey, pattern }: StoredBinding): string {
  return JSON.stringify([exchange, queue, routingKey, pattern]);
}
