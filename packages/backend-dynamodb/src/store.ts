import { unlessLost } from '@lovage/aws';
import {
  BrokerBlockedError,
  inParallel,
  isKept,
  type KeyValueStore,
  type KeyValueWrite,
  MessageTooLargeError,
  type ResultCodec,
  type StoredValue,
  WriteOrder,
} from '@lovage/core/backend';
import { DynamoChords } from './chords.ts';
import { DynamoDocuments } from './documents.ts';
import { hasExpired, idOf, KEY, MOST_BYTES, timesOf, TTL, VALUE } from './layout.ts';
import type { Expression, Item, Table } from './table.ts';

/** How often a result that others write at the same time is tried. */
const ATTEMPTS = 20;
/** What an item has beside its key and its value: names and numbers. */
const OTHER_BYTES = 100;
const NOTHING: Expression = { expression: `attribute_not_exists(${KEY})` };

export interface DynamoStoreOptions {
  /** Instead of what each write says; undefined: as it says. */
  readonly ttlSeconds: number | 'never' | undefined;
  /** Whether DynamoDB removes what has expired. Rejects no more when the store is open. */
  readonly removesExpired: Promise<boolean>;
  readonly codec: ResultCodec;
}

/** Results as Celery keeps them in DynamoDB: an item for each key, the encoded value in its `result`. */
export class DynamoStore implements KeyValueStore {
  /** What has expired is not given back. */
  readonly autoExpires = true;
  readonly lost: Promise<never>;
  readonly documents: DynamoDocuments;
  readonly chords: DynamoChords;
  readonly #table: Table;
  readonly #options: DynamoStoreOptions;
  readonly #order = new WriteOrder();

  constructor(table: Table, options: DynamoStoreOptions) {
    this.#table = table;
    this.#options = options;
    this.lost = table.lost;
    this.documents = new DynamoDocuments(table);
    this.chords = new DynamoChords(table, options.codec, (ttlSeconds) => this.#ttl(ttlSeconds));
  }

  async get(keys: readonly string[]): Promise<readonly (StoredValue | undefined)[]> {
    const ids = keys.map(idOf);
    const items = await this.#table.get(ids);
    return ids.map((id) => valueOf(items.get(id)));
  }

  set(writes: readonly KeyValueWrite[]): Promise<readonly (Error | undefined)[]> {
    return this.#order.run(writes, (round) => inParallel(round, (write) => this.#write(write).catch(unlessLost)));
  }

  delete(keys: readonly string[]): Promise<void> {
    return this.#table.delete(keys.map(idOf));
  }

  /** Where DynamoDB does not do it: reads the whole table. */
  async cleanup(): Promise<void> {
    if (await this.#options.removesExpired) return;
    const expired: Expression = {
      expression: '#ttl <= :now',
      names: { '#ttl': TTL },
      values: { ':now': { N: String(Math.floor(Date.now() / 1000)) } },
    };
    for await (const ids of this.#table.scan(expired)) {
      await inParallel(ids, (id) => this.#table.deleteIf(id, expired));
    }
  }

  async close(): Promise<void> {
    // A table that is new still gets its time to live.
    await this.#options.removesExpired;
    this.#table.close();
  }

  async #write(write: KeyValueWrite): Promise<Error | undefined> {
    const { key, value, ttlSeconds, guard } = write;
    const id = idOf(key);
    const bytes = typeof value === 'string' ? Buffer.from(value) : value;
    const size = Buffer.byteLength(id) + bytes.byteLength + OTHER_BYTES;
    if (size > MOST_BYTES) {
      return new MessageTooLargeError(
        `${JSON.stringify(key)} has ${size} bytes, and an item of DynamoDB at most ${MOST_BYTES}. Return less, or where it is.`,
      );
    }
    const item: Item = { [KEY]: { S: id }, [VALUE]: { B: bytes }, ...timesOf(this.#ttl(ttlSeconds)) };
    if (guard === undefined) {
      await this.#table.put(item);
      return undefined;
    }
    // Most results are the first of their key: no reading before it.
    for (let condition = NOTHING, attempt = 0; attempt < ATTEMPTS; attempt++) {
      const written = await this.#table.put(item, condition);
      if (written === 'written') return undefined;
      const { present } = written;
      const kept = valueOf(present);
      if (kept !== undefined && isKept(kept, write)) return undefined;
      condition = present === undefined ? NOTHING : unchanged(present);
    }
    return new BrokerBlockedError(`${JSON.stringify(key)} was written by others again and again, and given up here.`);
  }

  #ttl(ttlSeconds: number | undefined): number | undefined {
    const { ttlSeconds: given } = this.#options;
    return given === undefined ? ttlSeconds : given === 'never' ? undefined : given;
  }
}

function valueOf(item: Item | undefined): Uint8Array | undefined {
  return item === undefined || hasExpired(item) ? undefined : item[VALUE]?.B;
}

/** Holds while an item has the value that was read. */
function unchanged({ [VALUE]: value }: Item): Expression {
  return value === undefined
    ? { expression: 'attribute_not_exists(#value)', names: { '#value': VALUE } }
    : { expression: '#value = :value', names: { '#value': VALUE }, values: { ':value': value } };
}
