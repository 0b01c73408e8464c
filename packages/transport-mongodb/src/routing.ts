import { type MongoLink, SURE } from '@lovage/mongodb';
import type { BindingStore, StoredBinding } from '@lovage/core/transport';
import type { Document } from 'mongodb';
import type { Layout } from './layout.ts';

/**
 * Kombu's table of bindings: `{exchange, queue, routing_key, pattern}`, where `pattern` is null but for topics.
 * Source: kombu/transport/mongodb.py, _queue_bind and get_table.
 */
export class Routing implements BindingStore {
  readonly #link: MongoLink;
  readonly #name: string;
  readonly #expiryOf: (queue: string) => Promise<Date | null | undefined>;

  /** `expiryOf`: what `expire_at` a binding to this queue gets; undefined: no such field. */
  constructor(link: MongoLink, { routing }: Layout, expiryOf: (queue: string) => Promise<Date | null | undefined>) {
    this.#link = link;
    this.#name = routing;
    this.#expiryOf = expiryOf;
  }

  async add(exchange: string, binding: StoredBinding): Promise<void> {
    const q = toDocument(exchange, binding);
    const expireAt = await this.#expiryOf(binding.queue);
    const $set = expireAt === undefined ? q : { ...q, expire_at: expireAt };
    await this.#link.run({
      update: this.#name,
      updates: [{ q, u: { $set }, upsert: true }],
      writeConcern: SURE,
    });
  }

  async remove(exchange: string, binding: StoredBinding): Promise<void> {
    const deletes = [{ q: toDocument(exchange, binding), limit: 0 }];
    await this.#link.run({ delete: this.#name, deletes, writeConcern: SURE });
  }

  async list(exchange: string): Promise<readonly StoredBinding[]> {
    const collection = this.#link.db.collection(this.#name);
    const documents = await this.#link.call(() => collection.find({ exchange }).toArray());
    return documents.map(({ routing_key, pattern, queue }) => ({
      routingKey: textOf(routing_key),
      pattern: textOf(pattern),
      queue: textOf(queue),
    }));
  }

  async removeQueue(queue: string): Promise<void> {
    await this.#link.run({ delete: this.#name, deletes: [{ q: { queue }, limit: 0 }], writeConcern: SURE });
  }
}

function toDocument(exchange: string, { routingKey, pattern, queue }: StoredBinding): Document {
  return { exchange, queue, routing_key: routingKey, pattern: pattern === '' ? null : pattern };
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
