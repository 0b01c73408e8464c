import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ChordKeys,
  countedChordKeys,
  endOf,
  type KeyValueChords,
  NotFoundError,
  partsFrom,
  type ResultCodec,
  type StoredValue,
  taskIdsOf,
} from '@lovage/core/backend';
import { checkKeys, exptimeOf, INTEGER_FLAGS, isKey, valueOf } from './items.ts';
import type { StoreCommand } from './link.ts';
import type { Servers } from './servers.ts';

const DONE = 'done';
const COUNTING = 'counting';
/** So often, and so far apart, it is looked whether somebody else counts a part. */
const COUNT_LOOKS = 4;
const COUNT_PAUSE_MS = 50;
/** How long a chord that is done is remembered where results are kept for ever. */
const A_DAY = 86_400;

/**
 * Chords as Celery counts them in memcached, together with Python workers: the header is a saved group, each part counts
 * up `chord-unlock-<group id>`, and whoever counts the last one joins the stored results.
 * Source: celery/backends/cache.py, _apply_chord_incr; celery/backends/base.py, on_chord_part_return.
 *
 * Celery counts a part that is delivered twice twice. Here each part is counted once, under its task id, and a chord is
 * complete when all its parts have results: the counter says only when it is worth looking.
 *
 * Every call rejects with `UnsupportedError`, before its first command, when the group's id makes no keys.
 */
export class MemcachedChords implements KeyValueChords {
  readonly joinsResults = true;
  readonly #servers: Servers;
  readonly #codec: ResultCodec;

  constructor(servers: Servers, codec: ResultCodec) {
    this.#servers = servers;
    this.#codec = codec;
  }

  async begin(keys: ChordKeys, _size: number, ttlSeconds: number | undefined): Promise<void> {
    const { counter, group } = countedChordKeys(keys);
    const early = earlyKey(group);
    checkKeys(counter, group, early);
    await this.#add(counter, '0', ttlSeconds, INTEGER_FLAGS);
    await (await this.#servers.of(early)).delete(early);
  }

  async part(
    keys: ChordKeys,
    { value, taskId }: Parameters<KeyValueChords['part']>[1],
    ttlSeconds: number | undefined,
  ): Promise<readonly StoredValue[] | undefined> {
    const { counter, group, taskKey } = countedChordKeys(keys);
    checkKeys(counter, group, earlyKey(group), markKey(keys, taskId), keys.claim, keys.addedIds);
    const [claim, before] = [await this.#text(keys.claim), await this.#text(counter)];
    if (claim === DONE) return undefined;
    const header = await this.#header(group);
    if (header === undefined) {
      // Not begun yet; or ended by a Python worker, which removes group and counter when it has sent the body.
      if (before !== undefined && (await this.#text(earlyKey(group))) === undefined) {
        throw new NotFoundError(
          `The saved group "${group}" of a chord no longer exists, so its parts cannot be joined.`,
        );
      }
      await this.#add(earlyKey(group), '1', ttlSeconds);
      await this.#count(keys, counter, taskId, ttlSeconds, () => Promise.resolve(1));
      return undefined;
    }
    const ids = [...header, ...(await this.#added(keys))];
    const count = await this.#count(keys, counter, taskId, ttlSeconds, async () => {
      const kept = await this.#kept(ids.map(taskKey));
      return kept.filter((value) => endOf(value, this.#codec) !== undefined).length;
    });
    if (count < ids.length) return undefined;
    const kept = await this.#kept(ids.map(taskKey));
    const parts = partsFrom(
      ids.map((id, index) => [id, kept[index]]),
      { taskId, value },
      this.#codec,
    );
    if (parts === undefined) return undefined;
    if (claim !== taskId && !(await this.#add(keys.claim, taskId, ttlSeconds))) {
      // Another part was faster, or this one was here before.
      if ((await this.#text(keys.claim)) !== taskId) return undefined;
    }
    return parts;
  }

  /** The counter and the group expire by themselves: what a Python worker does with them later does no harm. */
  async finish({ claim }: ChordKeys, ttlSeconds: number | undefined): Promise<void> {
    checkKeys(claim);
    await (await this.#servers.of(claim)).store('set', command(claim, DONE, ttlSeconds ?? A_DAY));
  }

  async extend({ addedIds }: ChordKeys, taskId: string, ttlSeconds: number | undefined): Promise<void> {
    checkKeys(addedIds);
    const link = await this.#servers.of(addedIds);
    for (;;) {
      if (await this.#add(addedIds, JSON.stringify([taskId]), ttlSeconds)) return;
      const item = (await link.items([addedIds])).get(addedIds);
      if (item === undefined) continue;
      const ids = JSON.parse(item.value.toString()) as readonly string[];
      if (ids.includes(taskId)) return;
      const more = command(addedIds, JSON.stringify([...ids, taskId]), ttlSeconds);
      if ((await link.store('cas', more, item.cas)) === 'STORED') return;
    }
  }

  /**
   * Counts a part, once, and gives the how many-th it is: of one that is not the last another worker, which may be a Python
   * one, ends the chord. A part that comes again after its worker died in mid-count is counted if there are more results
   * than counts.
   */
  async #count(
    keys: ChordKeys,
    counter: string,
    taskId: string,
    ttlSeconds: number | undefined,
    countResults: () => Promise<number>,
  ): Promise<number> {
    const mark = markKey(keys, taskId);
    if (!(await this.#add(mark, COUNTING, ttlSeconds))) {
      let marked = await this.#text(mark);
      // Whoever counts it right now is done in a moment.
      for (let looks = 1; marked === COUNTING && looks < COUNT_LOOKS; looks++) {
        await sleep(COUNT_PAUSE_MS);
        marked = await this.#text(mark);
      }
      if (marked !== undefined && marked !== COUNTING) return Number(marked);
      const counted = Number((await this.#text(counter)) ?? '0');
      if (counted >= (await countResults())) return counted;
    }
    const link = await this.#servers.of(counter);
    let count = await link.increment(counter);
    if (count === undefined) {
      // It has not begun yet, or its counter was evicted.
      await this.#add(counter, '0', ttlSeconds, INTEGER_FLAGS);
      count = (await link.increment(counter)) ?? 1;
    }
    await Promise.all([
      link.touch(counter, exptimeOf(ttlSeconds)),
      (await this.#servers.of(mark)).store('set', command(mark, String(count), ttlSeconds)),
    ]);
    return count;
  }

  /** Ids of the saved group's tasks, those of groups within it too. */
  async #header(group: string): Promise<readonly string[] | undefined> {
    const item = (await this.#servers.items([group])).get(group);
    return item === undefined ? undefined : taskIdsOf(valueOf(item), this.#codec);
  }

  async #added({ addedIds }: ChordKeys): Promise<readonly string[]> {
    const text = await this.#text(addedIds);
    return text === undefined ? [] : (JSON.parse(text) as readonly string[]);
  }

  async #kept(keys: readonly string[]): Promise<readonly (StoredValue | undefined)[]> {
    const items = await this.#servers.items(keys.filter(isKey));
    return keys.map((key) => {
      const item = items.get(key);
      return item === undefined ? undefined : valueOf(item);
    });
  }

  async #text(key: string): Promise<string | undefined> {
    return (await this.#servers.items([key])).get(key)?.value.toString();
  }

  /** False: there is something already. */
  async #add(key: string, text: string, ttlSeconds: number | undefined, flags = 0): Promise<boolean> {
    const link = await this.#servers.of(key);
    return (await link.store('add', { ...command(key, text, ttlSeconds), flags })) === 'STORED';
  }
}

/** There before the chord has begun, when a part has ended already. */
function earlyKey(group: string): string {
  return `${group}.e`;
}

/** The part that was counted. Hashed, as keys are short, and an id that a result is kept under may be as long as one. */
function markKey({ parts }: ChordKeys, taskId: string): string {
  return `${parts}.${createHash('sha256').update(taskId).digest('base64url')}`;
}

function command(key: string, text: string, ttlSeconds: number | undefined): StoreCommand {
  return { key, data: Buffer.from(text), flags: 0, exptime: exptimeOf(ttlSeconds) };
}
