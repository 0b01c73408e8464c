import { type ChordKeys, isLovageError, isPartOf, type KeyValueChords, type StoredValue } from '@lovage/core/backend';
import type { Bucket, Entry } from './bucket.ts';
import { PartCount, type Progress } from './part-count.ts';

const DONE = 'done';
/** How long a chord that is done is remembered where results are kept for ever. */
const A_DAY = 86_400;
/** After all that have an index. */
const NO_INDEX = 'z';

/**
 * Chords by keys below those of Redis: each part is a key of its own, `<parts>.<index>.<task id>`, each added one
 * `<added ids>.<task id>`. A part is written, then counted in `<size>.n`; one that may be the last by that count looks at
 * all others, by whose ids it is decided. So the last of them sees all, and the work grows with the parts, not their square.
 */
export class NatsChords implements KeyValueChords {
  readonly #bucket: Bucket;
  readonly #count: PartCount;
  /** What was found by looking, for all parts that were counted together. */
  readonly #looks = new WeakMap<Progress, Promise<readonly StoredValue[] | undefined>>();

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
    this.#count = new PartCount(bucket);
  }

  async begin({ size: key, claim }: ChordKeys, size: number, ttlSeconds: number | undefined): Promise<void> {
    if (textOf((await this.#bucket.read([claim]))[0]) === DONE) return;
    await this.#put(key, String(size), ttlSeconds);
  }

  async part(
    keys: ChordKeys,
    { value, taskId, index }: Parameters<KeyValueChords['part']>[1],
    ttlSeconds: number | undefined,
  ): Promise<readonly StoredValue[] | undefined> {
    const { parts, size: sizeKey, claim: claimKey } = keys;
    const key = `${parts}.${index ?? NO_INDEX}.${oneToken(taskId)}`;
    const [claim, present, begun] = await this.#bucket.read([claimKey, key, sizeKey]);
    if (textOf(claim) === DONE) return undefined;
    if (present?.value === undefined || isPartOf(present.value, taskId) !== 'succeeded') {
      await this.#put(key, value, ttlSeconds);
    }
    // One that comes again may have died before it was counted.
    const counted = () => this.#bucket.below(parts).then(({ length }) => length);
    const progress = await this.#count.add(countKey(keys), ttlSeconds, counted);
    const size = Number(textOf(begun) ?? Number.POSITIVE_INFINITY);
    if (progress.ended < Math.max(size, progress.wanted ?? 0)) return undefined;
    let look = this.#looks.get(progress);
    if (look === undefined) {
      look = this.#look(keys, size, progress, ttlSeconds);
      this.#looks.set(progress, look);
    }
    const all = await look;
    return all !== undefined && (await this.#claim(claimKey, taskId, ttlSeconds)) ? all : undefined;
  }

  async finish({ parts, size, claim, addedIds }: ChordKeys, ttlSeconds: number | undefined): Promise<void> {
    await this.#put(claim, DONE, ttlSeconds ?? A_DAY);
    await Promise.all([this.#bucket.purge([parts, addedIds, size]), this.#bucket.delete([size])]);
  }

  async extend({ addedIds }: ChordKeys, taskId: string, ttlSeconds: number | undefined): Promise<void> {
    await this.#put(`${addedIds}.${oneToken(taskId)}`, '1', ttlSeconds);
  }

  /** All parts in their order, if there are as many as the chord waits for. */
  async #look(
    keys: ChordKeys,
    size: number,
    progress: Progress,
    ttlSeconds: number | undefined,
  ): Promise<readonly StoredValue[] | undefined> {
    const { parts, addedIds } = keys;
    const [names, added] = await Promise.all([this.#bucket.below(parts), this.#bucket.below(addedIds)]);
    // Of the keys that are there, some may hold no value any more.
    const wanted = size + (await this.#values(addedIds, added)).length;
    const values = names.length < wanted ? [] : await this.#values(parts, names.toSorted(byIndex));
    if (names.length >= wanted && values.length >= wanted) return values;
    const ended = names.length < wanted ? names.length : values.length;
    await this.#count.correct(countKey(keys), progress, { ended, wanted }, ttlSeconds);
    return undefined;
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

function countKey({ size }: ChordKeys): string {
  return `${size}.n`;
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
