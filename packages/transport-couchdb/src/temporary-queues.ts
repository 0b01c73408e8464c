import type { Queue, StoredBinding } from '@lovage/core/transport';
import type { CouchDatabase, CouchDocument } from '@lovage/couchdb';
import { bindingDocument, QUEUES, endOf, queueId } from './layout.ts';

/** A temporary queue that nobody renewed for so long goes away, at least. Clocks of machines may differ by less. */
const EXPIRY_MS = 300_000;
const RENEWAL_MS = 60_000;

interface Own {
  readonly expiryMs: number;
  readonly bindings: Map<string, readonly [string, StoredBinding]>;
}

/**
 * Queues that are to go with the process that declared them (`autoDelete`, `exclusive`): reply queues, mailboxes, those
 * of monitors. A process that dies leaves them behind, so each has a document with the time of its end, which its
 * process moves every minute.
 */
export class TemporaryQueues {
  readonly #database: CouchDatabase;
  readonly #own = new Map<string, Own>();
  #renewedAt = 0;

  constructor(database: CouchDatabase) {
    this.#database = database;
  }

  async add({ name, arguments: args }: Queue): Promise<void> {
    const declared = args?.['x-expires'];
    const expiryMs = Math.max(EXPIRY_MS, typeof declared === 'number' ? declared : 0);
    if (!this.#own.has(name)) this.#own.set(name, { expiryMs, bindings: new Map() });
    await this.#write([name]);
  }

  /** Gives back whether it was one. */
  async remove(name: string): Promise<void> {
    if (!this.#own.delete(name)) return;
    const [doc] = await this.#database.documents([queueId(name)]);
    if (doc?._rev !== undefined) await this.#database.write([{ _id: doc._id, _rev: doc._rev, _deleted: true }]);
  }

  bound(exchange: string, binding: StoredBinding): void {
    const { _id } = bindingDocument(exchange, binding);
    this.#own.get(binding.queue)?.bindings.set(_id, [exchange, binding]);
  }

  unbound(exchange: string, binding: StoredBinding): void {
    this.#own.get(binding.queue)?.bindings.delete(bindingDocument(exchange, binding)._id);
  }

  /** Does something once a minute. The names of queues that have expired and are not there any more. */
  async keep(): Promise<readonly string[]> {
    const now = Date.now();
    if (now - this.#renewedAt < RENEWAL_MS) return [];
    this.#renewedAt = now;
    await this.#write([...this.#own.keys()]);
    const rows = await this.#database.range(QUEUES, endOf(QUEUES), { include_docs: true });
    const expired = rows.flatMap(({ doc }) =>
      typeof doc?.['expires_at'] === 'number' && doc['expires_at'] < now ? [doc] : [],
    );
    if (expired.length === 0) return [];
    // Its process may have come back meanwhile.
    const { outcomes } = await this.#database.write(
      expired.map(({ _id, _rev }) => ({ _id, _rev: _rev as string, _deleted: true as const })),
    );
    return expired.flatMap(({ name }, index) =>
      outcomes[index]?.rev !== undefined && typeof name === 'string' ? [name] : [],
    );
  }

  async #write(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const present = await this.#database.documents(names.map(queueId));
    const documents: CouchDocument[] = [];
    for (const [index, name] of names.entries()) {
      const own = this.#own.get(name);
      if (own === undefined) continue;
      const rev = present[index]?._rev;
      const expires_at = Date.now() + own.expiryMs;
      documents.push({ _id: queueId(name), name, expires_at, ...(rev === undefined ? {} : { _rev: rev }) });
      // This process slept for long (a suspended laptop), and another one took its queue for abandoned.
      if (rev === undefined) for (const binding of own.bindings.values()) documents.push(bindingDocument(...binding));
    }
    await this.#database.write(documents);
  }
}
