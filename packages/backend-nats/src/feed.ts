import type { KeyFeed, StoredValue } from '@lovage/core/backend';
import { type NatsLink, toLovageError } from '@lovage/nats';
import type { Msg, Subscription } from '@nats-io/transport-node';
import { type Bucket, MARKS } from './bucket.ts';

/**
 * What the stream republishes as soon as it has stored it: one subscription for each key, all on the store's own connection.
 * A plain subscription to the keys would hear of writes that the stream then refuses.
 */
export class BucketFeed implements KeyFeed {
  readonly #link: NatsLink;
  readonly #bucket: Bucket;
  readonly #subscriptions = new Map<string, Subscription>();

  constructor(link: NatsLink, bucket: Bucket) {
    this.#link = link;
    this.#bucket = bucket;
  }

  async watch(keys: readonly string[], listener: (key: string, value: StoredValue) => void): Promise<void> {
    const { connection, endpoint } = this.#link;
    let refusal: Error | undefined;
    try {
      for (const key of keys) {
        if (this.#subscriptions.has(key)) continue;
        const subscription = connection.subscribe(this.#bucket.toldAt(key) as string, {
          callback: (error, message) => {
            if (error !== null) refusal ??= error;
            else if (!isMark(message)) listener(key, message.data);
          },
        });
        this.#subscriptions.set(key, subscription);
      }
      // The server has seen the subscriptions when it answers what was sent after them.
      await connection.flush();
      if (refusal === undefined) return;
    } catch (error) {
      this.unwatch(keys);
      this.#link.fail(error);
      throw this.#link.loss ?? error;
    }
    // A user who may not listen there: another connection would be told the same.
    this.unwatch(keys);
    throw toLovageError(refusal, 'open', endpoint.url);
  }

  unwatch(keys: readonly string[]): void {
    for (const key of keys) {
      this.#subscriptions.get(key)?.unsubscribe();
      this.#subscriptions.delete(key);
    }
  }
}

/** Of something deleted, or removed by the server. */
function isMark({ headers }: Msg): boolean {
  return headers !== undefined && MARKS.some((name) => headers.has(name));
}
