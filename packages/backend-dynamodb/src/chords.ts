import { createHash } from 'node:crypto';
import {
  type ChordKeys,
  countedChordKeys,
  type KeyValueChords,
  NotFoundError,
  partsFrom,
  type ResultCodec,
  type StoredValue,
  taskIdsOf,
} from '@lovage/core/backend';
import { COUNT, hasExpired, idOf, KEY, timesOf, TIMESTAMP, TTL, VALUE } from './layout.ts';
import type { Item, Table } from './table.ts';

/** Ours, in the item that Python counts in: who was counted here, and who was the last of them. */
const COUNTED = 'lovage_counted';
const LAST = 'lovage_last';
/** Counted before the chord was begun, or after Python had ended it. */
const EARLY = 'lovage_early';
const OWNER = 'owner';
const ADDED = 'added';
const DONE = 'done';
/** How long a chord that is done is remembered where results are kept for ever. */
const A_DAY = 86_400;
/**
 * Chords as Celery counts them in DynamoDB, together with Python workers: the header is a saved group, each part counts up
 * `chord_count` of the item `chord-unlock-<group id>`, and whoever counts the last one joins the stored results and sends
 * the body. Source: celery/backends/dynamodb.py, _apply_chord_incr; celery/backends/base.py, on_chord_part_return.
 *
 * Celery counts a part that is delivered twice twice; here it is counted once, in the same step that notes its id.
 */
export class DynamoChords implements KeyValueChords {
  readonly joinsResults = true;
  readonly #table: Table;
  readonly #codec: ResultCodec;
  readonly #ttl: (ttlSeconds: number | undefined) => number | undefined;

  /** `ttl`: how long something is kept that is to be kept for so many seconds. */
  constructor(table: Table, codec: ResultCodec, ttl: (ttlSeconds: number | undefined) => number | undefined) {
    this.#table = table;
    this.#codec = codec;
    this.#ttl = ttl;
  }

  async begin(keys: ChordKeys, _size: number, ttlSeconds: number | undefined): Promise<void> {
    const { counter } = countedChordKeys(keys);
    const item: Item = { [KEY]: { S: idOf(counter) }, [COUNT]: { N: '0' }, ...timesOf(this.#ttl(ttlSeconds)) };
    await this.#table.put(item, { expression: `attribute_not_exists(${KEY})` });
  }

  async part(
    keys: ChordKeys,
    { value, taskId }: Parameters<KeyValueChords['part']>[1],
    ttlSeconds: number | undefined,
  ): Promise<readonly StoredValue[] | undefined> {
    const { counter, group, taskKey } = countedChordKeys(keys);
    const items = await this.#items([keys.claim, group, counter, keys.addedIds]);
    const owner = items.get(keys.claim)?.[OWNER]?.S;
    if (owner === DONE) return undefined;
    const saved = items.get(group)?.[VALUE]?.B;
    if (saved === undefined) {
      const item = items.get(counter);
      // Not begun yet; or a Python worker, which removes both when it has sent the body.
      if (item === undefined || item[EARLY] !== undefined) {
        await this.#count(counter, taskId, ttlSeconds, { isEarly: true });
        return undefined;
      }
      throw new NotFoundError(`The saved group "${group}" of a chord no longer exists, so its parts cannot be joined.`);
    }
    const ids = [...taskIdsOf(saved, this.#codec), ...(items.get(keys.addedIds)?.[ADDED]?.SS ?? [])];
    const { count, isLast } = await this.#count(counter, taskId, ttlSeconds);
    if (count < ids.length || !isLast) return undefined;
    const results = await this.#items(ids.map(taskKey));
    const parts = partsFrom(
      ids.map((id) => [id, results.get(taskKey(id))?.[VALUE]?.B]),
      { taskId, value },
      this.#codec,
    );
    // One of them has no result, because another was counted twice.
    if (parts === undefined) return undefined;
    return owner === taskId || (await this.#claim(keys.claim, taskId, ttlSeconds)) ? parts : undefined;
  }

  async finish({ claim }: ChordKeys, ttlSeconds: number | undefined): Promise<void> {
    await this.#table.put({
      [KEY]: { S: idOf(claim) },
      [OWNER]: { S: DONE },
      ...timesOf(this.#ttl(ttlSeconds) ?? A_DAY),
    });
  }

  async extend({ addedIds }: ChordKeys, taskId: string, ttlSeconds: number | undefined): Promise<void> {
    await this.#change(addedIds, `ADD ${ADDED} :added`, { ':added': { SS: [taskId] } }, ttlSeconds);
  }

  /**
   * Counts a part, once. `isLast`: nobody was counted here after it, also when it comes again. One that is complete by the
   * count and is not the last has left the body to another worker, which may be a Python one.
   */
  async #count(
    counter: string,
    taskId: string,
    ttlSeconds: number | undefined,
    { isEarly = false }: { readonly isEarly?: boolean } = {},
  ): Promise<{ readonly count: number; readonly isLast: boolean }> {
    const mark = createHash('sha256').update(taskId).digest('base64url').slice(0, 16);
    const early = isEarly ? `, ${EARLY} = :one` : '';
    const { item, isChanged } = await this.#change(
      counter,
      `SET ${COUNT} = if_not_exists(${COUNT}, :zero) + :one, ${LAST} = :mark${early} ADD ${COUNTED} :marks`,
      { ':zero': { N: '0' }, ':one': { N: '1' }, ':mark': { S: mark }, ':marks': { SS: [mark] } },
      ttlSeconds,
      `attribute_not_exists(${COUNTED}) OR NOT contains(${COUNTED}, :mark)`,
    );
    return { count: Number(item?.[COUNT]?.N ?? 0), isLast: isChanged || item?.[LAST]?.S === mark };
  }

  async #claim(key: string, taskId: string, ttlSeconds: number | undefined): Promise<boolean> {
    const item: Item = { [KEY]: { S: idOf(key) }, [OWNER]: { S: taskId }, ...timesOf(this.#ttl(ttlSeconds)) };
    const written = await this.#table.put(item, { expression: `attribute_not_exists(${KEY})` });
    return written === 'written' || written.present?.[OWNER]?.S === taskId;
  }

  /** Makes the item where there is none. */
  #change(
    key: string,
    expression: string,
    values: Item,
    ttlSeconds: number | undefined,
    condition?: string,
  ): Promise<{ readonly item: Item | undefined; readonly isChanged: boolean }> {
    const { [TIMESTAMP]: time = { N: '0' }, [TTL]: end } = timesOf(this.#ttl(ttlSeconds));
    const set = ['#time = :time', ...(end === undefined ? [] : ['#end = :end'])].join(', ');
    return this.#table.update(
      idOf(key),
      {
        expression: expression.startsWith('SET ')
          ? expression.replace('SET ', `SET ${set}, `)
          : `SET ${set} ${expression}`,
        names: { '#time': TIMESTAMP, ...(end === undefined ? {} : { '#end': TTL }) },
        values: { ...values, ':time': time, ...(end === undefined ? {} : { ':end': end }) },
      },
      condition,
    );
  }

  /** By key; without what has expired. */
  async #items(keys: readonly string[]): Promise<ReadonlyMap<string, Item>> {
    const items = await this.#table.get(keys.map(idOf));
    const found = new Map<string, Item>();
    for (const key of keys) {
      const item = items.get(idOf(key));
      if (item !== undefined && !hasExpired(item)) found.set(key, item);
    }
    return found;
  }
}
