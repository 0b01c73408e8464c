import { type DocumentStore, isLovageError, type StoredDocument } from '@lovage/core/backend';
import type { Bucket } from './bucket.ts';

/** A key each; the sequence of its last write is the version. */
export class NatsDocuments implements DocumentStore {
  readonly #bucket: Bucket;

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
  }

  async read(name: string): Promise<StoredDocument | undefined> {
    const [entry] = await this.#bucket.read([name]);
    if (entry?.value === undefined) return undefined;
    return { text: Buffer.from(entry.value).toString(), version: String(entry.sequence) };
  }

  async write(
    name: string,
    text: string,
    over: string | undefined,
    { ttlSeconds }: { readonly ttlSeconds?: number } = {},
  ): Promise<string | undefined> {
    const ttl = ttlSeconds === undefined ? undefined : Math.max(1, Math.ceil(ttlSeconds));
    const write = { key: name, value: text, ttlSeconds: ttl, over: Number(over ?? 0) };
    let [outcome] = await this.#bucket.write([write]);
    if (outcome === undefined && over === undefined) {
      // What was there may be gone, and have left a mark.
      const [entry] = await this.#bucket.read([name]);
      if (entry === undefined || entry.value !== undefined) return undefined;
      [outcome] = await this.#bucket.write([{ ...write, over: entry.sequence }]);
    }
    if (isLovageError(outcome)) throw outcome;
    return outcome === undefined ? undefined : String(outcome as number);
  }
}
