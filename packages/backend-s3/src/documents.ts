import { randomUUID } from 'node:crypto';
import { type DocumentStore, inParallel, type StoredDocument } from '@lovage/core/backend';
import type { S3Bucket, S3Object } from './bucket.ts';

/** Before the names of documents. */
const DOCUMENT = 'lovage-document/';

/** What the object of a document holds. */
interface Kept {
  readonly text: string;
  /** Another one for each write: no two writes have one ETag, whatever they say. */
  readonly write: string;
  /** Epoch milliseconds; null: for ever. */
  readonly expiresAt: number | null;
}

/** An object for each document, written over the ETag that was read, which is the version. */
export class S3Documents implements DocumentStore {
  readonly #bucket: S3Bucket;

  constructor(bucket: S3Bucket) {
    this.#bucket = bucket;
  }

  async read(name: string): Promise<StoredDocument | undefined> {
    const object = await this.#bucket.get(keyOf(name));
    if (object === undefined) return undefined;
    const { text, expiresAt } = keptIn(object);
    return isPast(expiresAt) ? undefined : { text, version: object.etag };
  }

  async write(
    name: string,
    text: string,
    over: string | undefined,
    { ttlSeconds }: { readonly ttlSeconds?: number } = {},
  ): Promise<string | undefined> {
    const key = keyOf(name);
    const write = randomUUID();
    const kept: Kept = { text, write, expiresAt: ttlSeconds === undefined ? null : Date.now() + ttlSeconds * 1000 };
    const body = JSON.stringify(kept);
    const etag = await this.#bucket.put(key, body, over === undefined ? 'nothing' : { etag: over });
    if (etag !== undefined) return etag;
    const present = await this.#bucket.get(key);
    if (present === undefined) return undefined;
    const { write: last, expiresAt } = keptIn(present);
    // It was this write itself, whose first answer was lost.
    if (last === write) return present.etag;
    if (over !== undefined || !isPast(expiresAt)) return undefined;
    // What has expired counts as nothing.
    return this.#bucket.put(key, body, { etag: present.etag });
  }

  /** Each has to be read for it. */
  async removeExpired(): Promise<void> {
    for await (const page of this.#bucket.list(DOCUMENT)) {
      await inParallel(page, async ({ key }) => {
        const object = await this.#bucket.get(key);
        if (object !== undefined && isPast(keptIn(object).expiresAt))
          await this.#bucket.deleteVersion(key, object.etag);
      });
    }
  }
}

function keyOf(name: string): string {
  return DOCUMENT + encodeURIComponent(name);
}

function keptIn({ value }: S3Object): Kept {
  return JSON.parse(Buffer.from(value).toString()) as Kept;
}

function isPast(expiresAt: number | null): boolean {
  return expiresAt !== null && expiresAt <= Date.now();
}
