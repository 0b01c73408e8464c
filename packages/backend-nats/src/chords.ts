import { type ChordKeys, isLovageError, isPartOf, type KeyValueChords, type StoredValue } from '@lovage/core/backend';
import type { Bucket, Entry } from './bucket.ts';

const DONE = 'done';
/** How long a chord that is done is remembered where results are kept for ever. */
const A_DAY = 86_400;
/** After all that have an index. */
const NO_INDEX = 'z';

/**
 * Chords by keys below those of Redis: each part is a key of its own, `<parts>.<index>.<task id>`, each added one
 * `<added ids>.<task id>`. A part is written before they are counted, so that the last of them sees all.
 */
export class NatsChords implements KeyValueChords {
  readonly #bucket: Bucket;

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
  }

  async begin({ size: key, claim }: ChordKeys, size: number, ttlSeconds: number | undefined): Promise<void> {
    if (textOf((await this.#bucket.read([claim]))[0]) === DONE) return;
    await this.#put(key, String(size), ttlSeconds);
  }

  async part(
    { parts, size: sizeKey, claim: claimKey, addedIds }: ChordKeys,
    { value, taskId, index }: Parameters<KeyValueChords['part']>[1],
    ttlSeconds: number | undefined,
  ): Promise<readonly StoredValue[] | undefined> {
    const key = `${parts}.${index ?? NO_INDEX}.${oneToken(taskId)}`;
    const [claim, present] = await this.#bucket.read([claimKey, key]);
    if (textOf(claim) === DONE) return undefined;
    if (present?.value === undefined || isPartOf(present.value, taskId) !== 'succeeded') {
      await this.#put(key, value, ttlSeconds);
    }
    const [[size], ended, added] = await Promise.all([
      this.#bucket.read([sizeKey]),
      this.#bucket.below(parts),
      this.#bucket.below(addedIds),
    ]);
    const begun = textOf(size);
    if (begun === undefined || ended.length < Number(begun)) return undefined;
    // Of the keys that are there, some may hold no value any more.
    const wanted = Number(begun) + (await this.#values(addedIds, added)).length;
    if (ended.length < wanted) return undefined;
    const values = await this.#values(parts, ended.toSorted(byIndex));
    if (values.length < wanted || !(await this.#claim(claimKey, taskId, ttlSeconds))) return undefined;
    return values;
  }

  async finish({ parts, size, claim, addedIds }: ChordKeys, ttlSeconds: number | undefined): Promise<void> {
    await this.#put(claim, DONE, ttlSeconds ?? A_DAY);
    await Promise.all([this.#bucket.purge([parts, addedIds]), this.#bucket.delete([size])]);
  }

  async extend({ addedIds }: ChordKeys, taskId: string, ttlSeconds: number | undefined): Promise<void> {
    await this.#put(`${addedIds}.${oneToken(taskId)}`, '1', ttlSeconds);
  }

  /** False: it is another part's to send the body, or it is sent. */
  async #claim(key: string, taskId: string, ttlSeconds: number | undefined): Promise<boolean> {
    for (let over = 0; ; ) {
      const [outcome] = await this.#bucket.write([{ key, value: taskId, ttlSeconds, over }]);
      if (isLovageError(outcome)) throw outcome;
      if (outcome !== undefined) return true;
      const present = (await this.#bucket.read([key]))[0] as Entry;
      if (present.value !== undefined) return textOf(present) === taskId;
      over = present.sequence;
    }
  }

  async #values(key: string, names: readonly string[]): Promise<readonly StoredValue[]> {
    const entries = await this.#bucket.read(names.map((name) => `${key}.${name}`));
    return entries.flatMap(({ value }) => (value === undefined ? [] : [value]));
  }

  async #put(key: string, value: StoredValue, ttlSeconds: number | undefined): Promise<void> {
    const [outcome] = await this.#bucket.write([{ key, value, ttlSeconds, over: undefined }]);
    if (isLovageError(outcome)) throw outcome;
  }
}

function textOf(entry: Entry | undefined): string | undefined {
  return entry?.value === undefined ? undefined : Buffer.from(entry.value).toString();
}

/** The end of a key is one token of its subject. */
function oneToken(taskId: string): string {
  return Buffer.from(taskId).toString('base64url');
}

function byIndex(a: string, b: string): number {
  const [one, other] = [a, b].map((name) => name.slice(0, name.indexOf('.')));
  if (one === other) return 0;
  if (one === NO_INDEX || other === NO_INDEX) return one === NO_INDEX ? 1 : -1;
  return Number(one) - Number(other);
}
