import {
  BrokerBlockedError,
  isLovageError,
  isKept,
  type KeyFeed,
  type KeyValueStore,
  type KeyValueWrite,
  type StoredValue,
  WriteOrder,
} from '@lovage/core/backend';
import type { NatsLink } from '@lovage/nats';
import type { Bucket } from './bucket.ts';
import { NatsChords } from './chords.ts';
import { NatsDocuments } from './documents.ts';
import { BucketFeed } from './feed.ts';

/** How often a result that others write at the same time is tried. */
const ATTEMPTS = 50;
/** Of so many keys it is remembered what was written last, so that the next state needs no look before. */
const MOST_REMEMBERED = 10_000;

/** Results in a bucket: a key each, written over the sequence that was read. */
export class NatsStore implements KeyValueStore {
  readonly autoExpires = true;
  readonly lost: Promise<never>;
  readonly feed?: KeyFeed;
  readonly documents: NatsDocuments;
  readonly chords: NatsChords;
  readonly #link: NatsLink;
  readonly #bucket: Bucket;
  readonly #order = new WriteOrder();
  readonly #sequences = new Map<string, number>();

  constructor(link: NatsLink, bucket: Bucket) {
    this.#link = link;
    this.#bucket = bucket;
    this.lost = link.lost;
    if (bucket.toldAt('') !== undefined) this.feed = new BucketFeed(link, bucket);
    this.documents = new NatsDocuments(bucket);
    this.chords = new NatsChords(bucket);
  }

  async get(keys: readonly string[]): Promise<readonly (StoredValue | undefined)[]> {
    return (await this.#bucket.read(keys)).map(({ value }) => value);
  }

  set(writes: readonly KeyValueWrite[]): Promise<readonly (Error | undefined)[]> {
    return this.#order.run(writes, (round) => this.#write(round));
  }

  delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#sequences.delete(key);
    return this.#bucket.delete(keys);
  }

  async close(): Promise<void> {
    await this.#link.close();
  }

  /** All keys are different. Whoever is overtaken reads and decides again. */
  async #write(writes: readonly KeyValueWrite[]): Promise<readonly (Error | undefined)[]> {
    const outcomes: (Error | undefined)[] = Array.from({ length: writes.length });
    let left = writes.map((write, index) => ({ index, over: this.#overOf(write) }));
    for (let attempt = 0; left.length > 0 && attempt < ATTEMPTS; attempt++) {
      const written = await this.#bucket.write(
        left.map(({ index, over }) => ({ ...(writes[index] as KeyValueWrite), over })),
      );
      const overtaken = left.filter(({ index }, place) => {
        const outcome = written[place];
        if (isLovageError(outcome)) outcomes[index] = outcome;
        else if (outcome !== undefined) this.#remember(writes[index] as KeyValueWrite, outcome as number);
        return outcome === undefined;
      });
      if (overtaken.length === 0) return outcomes;
      const present = await this.#bucket.read(overtaken.map(({ index }) => (writes[index] as KeyValueWrite).key));
      left = overtaken.flatMap(({ index }, place) => {
        const { value, sequence } = present[place] as (typeof present)[number];
        if (value !== undefined && isKept(value, writes[index] as KeyValueWrite)) return [];
        return [{ index, over: sequence }];
      });
    }
    for (const { index } of left) {
      outcomes[index] = new BrokerBlockedError('A result was written by others again and again, and given up here.');
    }
    return outcomes;
  }

  /** Nothing, or what this process wrote last: a guess, which the server checks. */
  #overOf({ key, guard }: KeyValueWrite): number | undefined {
    return guard === undefined ? undefined : (this.#sequences.get(key) ?? 0);
  }

  #remember({ key, guard, at }: KeyValueWrite, sequence: number): void {
    this.#sequences.delete(key);
    // What is written over an end has to look at it.
    if (guard === undefined || at === undefined) return;
    this.#sequences.set(key, sequence);
    if (this.#sequences.size > MOST_REMEMBERED) {
      for (const oldest of this.#sequences.keys()) {
        this.#sequences.delete(oldest);
        break;
      }
    }
  }
}
