import { type MongoLink, SURE } from '@lovage/mongodb';
import { decodeEnvelope, type Queue, type QueueEntry, type StoredBinding } from '@lovage/core/transport';
import type { Document } from 'mongodb';
import type { Layout } from './layout.ts';

/** What other processes changed about a queue is noticed after so long. */
const FRESH_MS = 5000;
/** Queues that go away with their process do so when nobody renewed them for this long, at least. */
const TEMPORARY_MS = 300_000;

/**
 * Kombu's expiry of messages and queues, for its option `ttl`: a record of every queue with its arguments, and fields
 * `expire_at` that TTL indexes look at. Source: kombu/transport/mongodb.py, _new_queue, _put, _update_queues_expire.
 */
export class QueueTtl {
  readonly #link: MongoLink;
  readonly #layout: Layout;
  readonly #known = new Map<string, { readonly arguments: Document; readonly readAt: number }>();
  readonly #renewedAt = new Map<string, number>();

  constructor(link: MongoLink, layout: Layout) {
    this.#link = link;
    this.#layout = layout;
  }

  async declare({
    name,
    durable = true,
    exclusive = false,
    autoDelete = false,
    arguments: given,
  }: Queue): Promise<void> {
    const own = { ...given };
    this.#known.set(name, { arguments: own, readAt: performance.now() });
    await this.#link.run({
      update: this.#layout.queues,
      updates: [
        {
          q: { _id: name },
          u: {
            $set: {
              options: { durable, exclusive, auto_delete: autoDelete, arguments: own },
              expire_at: this.#in(own['x-expires']) ?? null,
            },
          },
          upsert: true,
        },
      ],
      writeConcern: SURE,
    });
  }

  /** When a binding to the queue goes; null: never. */
  async ofBinding(queue: string): Promise<Date | null> {
    return this.#in((await this.#argumentsOf(queue))['x-expires']) ?? null;
  }

  /** When each message goes: the earlier of the queue's `x-message-ttl` and its own `expiration`, after its delay. */
  ofMessages(entries: readonly QueueEntry[]): Promise<readonly (Date | undefined)[]> {
    return Promise.all(
      entries.map(async ({ queue, payload, delayMs }) => {
        const { expiration } = decodeEnvelope(payload).message.properties;
        const limits = [(await this.#argumentsOf(queue))['x-message-ttl'], expiration]
          .filter((limit) => limit !== undefined && limit !== null)
          .map(Number)
          .filter((limit) => Number.isFinite(limit));
        return limits.length === 0 ? undefined : this.#in(Math.min(...limits) + Math.max(0, delayMs));
      }),
    );
  }

  /** The queues are in use: those that expire when unused stay. */
  async renew(queues: readonly string[]): Promise<void> {
    const now = performance.now();
    await Promise.all(
      queues.map(async (queue) => {
        const expires = Number((await this.#argumentsOf(queue))['x-expires']);
        if (!(expires > 0) || now - (this.#renewedAt.get(queue) ?? Number.NEGATIVE_INFINITY) < expires / 3) return;
        this.#renewedAt.set(queue, now);
        const u = { $set: { expire_at: this.#in(expires) } };
        const { queues: names, routing } = this.#layout;
        await Promise.all([
          this.#link.run({ update: names, updates: [{ q: { _id: queue }, u }] }),
          this.#link.run({ update: routing, updates: [{ q: { queue }, u, multi: true }] }),
        ]);
      }),
    );
  }

  async remove(queue: string): Promise<void> {
    this.#known.delete(queue);
    await this.#link.run({ delete: this.#layout.queues, deletes: [{ q: { _id: queue }, limit: 1 }] });
  }

  async #argumentsOf(queue: string): Promise<Document> {
    const known = this.#known.get(queue);
    if (known !== undefined && performance.now() - known.readAt < FRESH_MS) return known.arguments;
    const { cursor } = await this.#link.run({
      find: this.#layout.queues,
      filter: { _id: queue },
      limit: 1,
      singleBatch: true,
    });
    const found: unknown = (cursor as { firstBatch: Document[] }).firstBatch[0]?.options?.arguments;
    const read = typeof found === 'object' && found !== null ? (found as Document) : {};
    this.#known.set(queue, { arguments: read, readAt: performance.now() });
    return read;
  }

  #in(ms: unknown): Date | undefined {
    const value = Number(ms);
    return ms === undefined || ms === null || !Number.isFinite(value)
      ? undefined
      : new Date(this.#link.serverMs + value);
  }
}

/**
 * Queues that belong to one process (`autoDelete`, `exclusive`, `x-expires`): somebody removes them when it has not
 * renewed them for five minutes, so that nothing is copied for ever into the queue of a dead worker.
 */
export class TemporaryQueues {
  readonly #link: MongoLink;
  readonly #name: string;
  readonly #own = new Map<
    string,
    { readonly expiryMs: number; readonly bindings: Map<string, StoredBinding & { readonly exchange: string }> }
  >();

  constructor(link: MongoLink, { temporary }: Layout) {
    this.#link = link;
    this.#name = temporary;
  }

  /** Whether the queue is one of them; then it is recorded. */
  async declare({ name, autoDelete, exclusive, arguments: given }: Queue): Promise<boolean> {
    const expires = Number(given?.['x-expires']);
    if (autoDelete !== true && exclusive !== true && !(expires > 0)) return false;
    const expiryMs = Math.max(TEMPORARY_MS, expires > 0 ? expires : 0);
    if (!this.#own.has(name)) this.#own.set(name, { expiryMs, bindings: new Map() });
    await this.#record([name]);
    return true;
  }

  bound(exchange: string, binding: StoredBinding): void {
    this.#own.get(binding.queue)?.bindings.set(JSON.stringify([exchange, binding]), { exchange, ...binding });
  }

  unbound(exchange: string, binding: StoredBinding): void {
    this.#own.get(binding.queue)?.bindings.delete(JSON.stringify([exchange, binding]));
  }

  async removed(queue: string): Promise<void> {
    this.#own.delete(queue);
    await this.#link.run({ delete: this.#name, deletes: [{ q: { _id: queue }, limit: 1 }] });
  }

  /** Ours are in use. `bind` makes again the bindings of those that were taken for dead. */
  async renew(bind: (exchange: string, binding: StoredBinding) => Promise<void>): Promise<void> {
    const names = [...this.#own.keys()];
    if (names.length === 0) return;
    const fresh = await this.#record(names);
    for (const name of fresh) {
      for (const { exchange, ...binding } of this.#own.get(name)?.bindings.values() ?? [])
        await bind(exchange, binding);
    }
  }

  /** The names of those that had no record. */
  async #record(names: readonly string[]): Promise<readonly string[]> {
    const { upserted } = await this.#link.run({
      update: this.#name,
      updates: names.map((name) => ({
        q: { _id: name },
        u: {
          $set: { expire_at: new Date(this.#link.serverMs + (this.#own.get(name)?.expiryMs ?? TEMPORARY_MS)) },
        },
        upsert: true,
      })),
    });
    return ((upserted ?? []) as { _id: string }[]).map(({ _id }) => _id);
  }
}
