import { isLovageError } from '@lovage/core/backend';
import type { Bucket } from './bucket.ts';

/** How far a chord is, as the key of the count says it. */
export interface Progress {
  /** At least as many parts have ended as were written and counted. */
  readonly ended: number;
  /** With so many there may be all of them. undefined: nobody has looked yet. */
  readonly wanted: number | undefined;
  /** Of the write that counted it. */
  readonly sequence: number;
}

interface Waiting {
  count: number;
  readonly progress: Promise<Progress>;
}

/**
 * How many parts of a chord have ended, in one key, so that only a part that may be the last looks at the others. Once all
 * who have written a part have counted it, it is not too low, whoever counts twice; where it is too high, somebody looks
 * for nothing and corrects it. Those who count at the same time in this process do so with one write.
 */
export class PartCount {
  readonly #bucket: Bucket;
  readonly #waiting = new Map<string, Waiting>();
  readonly #running = new Map<string, Promise<unknown>>();

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
  }

  /**
   * Counts one more, which is written already. `countAll` tells how many are written, where nothing is counted yet. All
   * that are counted by one write get the same object.
   */
  add(key: string, ttlSeconds: number | undefined, countAll: () => Promise<number>): Promise<Progress> {
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) {
      waiting.count++;
      return waiting.progress;
    }
    const before = this.#running.get(key);
    const progress = (async () => {
      await before?.catch(() => undefined);
      const { count } = await this.#taken(key);
      return this.#add(key, count, ttlSeconds, countAll);
    })();
    this.#waiting.set(key, { count: 1, progress });
    this.#running.set(key, progress);
    const forget = (): void => {
      if (this.#running.get(key) === progress) this.#running.delete(key);
    };
    progress.then(forget, forget);
    return progress;
  }

  /** Says what was found by looking after `progress`, unless somebody has counted meanwhile. */
  async correct(
    key: string,
    { sequence }: Progress,
    { ended, wanted }: { readonly ended: number; readonly wanted: number },
    ttlSeconds: number | undefined,
  ): Promise<void> {
    const [outcome] = await this.#bucket.write([{ key, value: `${ended} ${wanted}`, ttlSeconds, over: sequence }]);
    if (isLovageError(outcome)) throw outcome;
  }

  /** Those who wait, from the end of this turn on no more. */
  async #taken(key: string): Promise<Waiting> {
    await Promise.resolve();
    const waiting = this.#waiting.get(key) as Waiting;
    this.#waiting.delete(key);
    return waiting;
  }

  async #add(
    key: string,
    count: number,
    ttlSeconds: number | undefined,
    countAll: () => Promise<number>,
  ): Promise<Progress> {
    for (;;) {
      const [present] = await this.#bucket.read([key]);
      const [before, wanted] = present?.value === undefined ? [] : numbersIn(present.value);
      // Those who count now are among all.
      const ended = before === undefined ? await countAll() : before + count;
      const value = wanted === undefined ? String(ended) : `${ended} ${wanted}`;
      const [sequence] = await this.#bucket.write([{ key, value, ttlSeconds, over: present?.sequence ?? 0 }]);
      if (isLovageError(sequence)) throw sequence;
      if (sequence !== undefined) return { ended, wanted, sequence: sequence as number };
    }
  }
}

function numbersIn(value: Uint8Array): readonly number[] {
  return Buffer.from(value).toString().split(' ').map(Number);
}
