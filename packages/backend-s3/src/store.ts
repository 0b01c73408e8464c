import { unlessLost } from '@lovage/aws';
import {
  BrokerBlockedError,
  inParallel,
  isKept,
  type KeyValueStore,
  type KeyValueWrite,
  type StoredValue,
  WriteOrder,
} from '@lovage/core/backend';
import type { S3Bucket } from './bucket.ts';
import { S3Documents } from './documents.ts';

/** How often a result that others write at the same time is tried. */
const ATTEMPTS = 20;
const CLEANUP_BATCH = 1000;

export interface S3StoreOptions {
  readonly writesOnCondition: boolean;
  readonly expiresSeconds: number | undefined;
  /** What the keys of this app's results begin with: others may keep theirs beside them, for longer. */
  readonly prefixes: readonly string[];
}

/** Results as Celery keeps them in S3: an object named like the key below the base path, the encoded value in it. */
export class S3Store implements KeyValueStore {
  readonly autoExpires = false;
  readonly lost: Promise<never>;
  readonly documents?: S3Documents;
  readonly #bucket: S3Bucket;
  readonly #options: S3StoreOptions;
  readonly #order = new WriteOrder();

  constructor(bucket: S3Bucket, options: S3StoreOptions) {
    this.#bucket = bucket;
    this.#options = options;
    this.lost = bucket.lost;
    if (options.writesOnCondition) this.documents = new S3Documents(bucket);
  }

  get(keys: readonly string[]): Promise<readonly (StoredValue | undefined)[]> {
    return inParallel(keys, async (key) => (await this.#bucket.get(key))?.value);
  }

  set(writes: readonly KeyValueWrite[]): Promise<readonly (Error | undefined)[]> {
    return this.#order.run(writes, (round) => inParallel(round, (write) => this.#write(write).catch(unlessLost)));
  }

  delete(keys: readonly string[]): Promise<void> {
    return this.#bucket.delete(keys);
  }

  /** By the time of writing, as Celery does for files; documents by their own time. */
  async cleanup(): Promise<void> {
    await this.documents?.removeExpired();
    const { expiresSeconds = 0, prefixes } = this.#options;
    if (expiresSeconds === 0) return;
    for (const prefix of prefixes) await this.#removeOlder(prefix, expiresSeconds);
  }

  async close(): Promise<void> {
    this.#bucket.close();
  }

  async #removeOlder(prefix: string, seconds: number): Promise<void> {
    let expired: string[] = [];
    for await (const page of this.#bucket.list(prefix)) {
      const before = Date.now() - seconds * 1000;
      for (const { key, writtenAt } of page) {
        if (writtenAt < before) expired.push(key);
      }
      if (expired.length < CLEANUP_BATCH) continue;
      await this.#bucket.delete(expired);
      expired = [];
    }
    await this.#bucket.delete(expired);
  }

  async #write(write: KeyValueWrite): Promise<Error | undefined> {
    const { key, value, guard } = write;
    if (guard === undefined) {
      await this.#bucket.put(key, value);
      return undefined;
    }
    const { writesOnCondition } = this.#options;
    // Most results are the first of their key: no reading before it.
    if (writesOnCondition && (await this.#bucket.put(key, value, 'nothing')) !== undefined) return undefined;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const present = await this.#bucket.get(key);
      if (present !== undefined && isKept(present.value, write)) return undefined;
      const condition = present === undefined ? 'nothing' : { etag: present.etag };
      if ((await this.#bucket.put(key, value, writesOnCondition ? condition : undefined)) !== undefined) {
        return undefined;
      }
    }
    return new BrokerBlockedError(`${JSON.stringify(key)} was written by others again and again, and given up here.`);
  }
}
