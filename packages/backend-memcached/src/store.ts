import {
  BrokerBlockedError,
  isKept,
  type KeyValueStore,
  type KeyValueWrite,
  type ResultCodec,
  type StoredValue,
  WriteOrder,
} from '@lovage/core/backend';
import { MemcachedChords } from './chords.ts';
import { MemcachedDocuments } from './documents.ts';
import { exptimeOf, flagsOf, isKey, noKey, valueOf } from './items.ts';
import type { StoreCommand } from './link.ts';
import type { Servers } from './servers.ts';

/** How often a result that others write at the same time is tried. */
const ATTEMPTS = 50;

/** Results as Celery keeps them: an item each, the encoded value as text. */
export class MemcachedStore implements KeyValueStore {
  readonly autoExpires = true;
  readonly chords: MemcachedChords;
  readonly documents: MemcachedDocuments;
  readonly #servers: Servers;
  readonly #order = new WriteOrder();

  constructor(servers: Servers, codec: ResultCodec) {
    this.#servers = servers;
    this.chords = new MemcachedChords(servers, codec);
    this.documents = new MemcachedDocuments(servers);
  }

  async get(keys: readonly string[]): Promise<readonly (StoredValue | undefined)[]> {
    const items = await this.#servers.items(keys.filter(isKey));
    return keys.map((key) => {
      const item = items.get(key);
      return item === undefined ? undefined : valueOf(item);
    });
  }

  set(writes: readonly KeyValueWrite[]): Promise<readonly (Error | undefined)[]> {
    return this.#order.run(writes, (round) =>
      Promise.all(round.map((write) => this.#write(write).catch((error: Error) => error))),
    );
  }

  async delete(keys: readonly string[]): Promise<void> {
    await Promise.all(keys.filter(isKey).map(async (key) => (await this.#servers.of(key)).delete(key)));
  }

  async close(): Promise<void> {
    this.#servers.close();
  }

  /** Adds it, or writes it over what was read and is no SUCCESS. */
  async #write(write: KeyValueWrite): Promise<Error | undefined> {
    const { key, value, ttlSeconds, guard } = write;
    if (!isKey(key)) return noKey(key);
    const link = await this.#servers.of(key);
    const command: StoreCommand = {
      key,
      data: typeof value === 'string' ? Buffer.from(value) : value,
      flags: flagsOf(value),
      exptime: exptimeOf(ttlSeconds),
    };
    if (guard === undefined) {
      await link.store('set', command);
      return undefined;
    }
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if ((await link.store('add', command)) === 'STORED') return undefined;
      const present = (await link.items([key])).get(key);
      // It has expired meanwhile.
      if (present === undefined) continue;
      if (isKept(valueOf(present), write)) return undefined;
      if ((await link.store('cas', command, present.cas)) === 'STORED') return undefined;
    }
    return new BrokerBlockedError(`The result "${key}" was written by others again and again, and given up here.`);
  }
}
