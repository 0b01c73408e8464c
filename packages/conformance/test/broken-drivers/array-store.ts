import {
  type Backend,
  isKept,
  keyValueBackend,
  type KeyFeed,
  type KeyValueStore,
  type KeyValueWrite,
  type StoredValue,
} from '@lovage/core/backend';
import { trip } from './fault.ts';

export interface Entry {
  value: StoredValue;
  /** Epoch milliseconds. */
  readonly expiresAt: number;
}

/** What all stores of one broken backend share. */
export class Shelf {
  readonly entries = new Map<string, Entry>();
  readonly watchers = new Set<(key: string, value: StoredValue) => void>();

  get(key: string): Entry | undefined {
    const entry = this.entries.get(key);
    return entry === undefined || entry.expiresAt <= Date.now() ? undefined : entry;
  }

  put({ key, value, ttlSeconds }: KeyValueWrite): void {
    const expiresAt = ttlSeconds === undefined ? Number.POSITIVE_INFINITY : Date.now() + ttlSeconds * 1000;
    this.entries.set(key, { value, expiresAt });
    for (const tell of this.watchers) tell(key, value);
  }
}

export interface ArrayStoreOptions {
  /** Default: tells its watchers. */
  readonly notifies?: boolean;
  readonly set?: (shelf: Shelf, writes: readonly KeyValueWrite[]) => Promise<readonly (Error | undefined)[]>;
}

/** A small right store of its own, every call a trip of the event loop, whose parts can be replaced. */
export function arrayBackend({ notifies = true, set = setGuarded }: ArrayStoreOptions = {}): Backend {
  const shelf = new Shelf();
  return keyValueBackend({ schemes: ['memory'], open: async () => openStore(shelf, notifies, set) });
}

function openStore(shelf: Shelf, notifies: boolean, set: NonNullable<ArrayStoreOptions['set']>): KeyValueStore {
  const watched = new Map<string, Parameters<KeyFeed['watch']>[1]>();
  const tell = (key: string, value: StoredValue): void => watched.get(key)?.(key, value);
  shelf.watchers.add(tell);
  const feed: KeyFeed = {
    watch: async (keys, listener) => {
      for (const key of keys) watched.set(key, listener);
      await trip();
    },
    unwatch: (keys) => {
      for (const key of keys) watched.delete(key);
    },
  };
  return {
    autoExpires: true,
    get: async (keys) => {
      await trip();
      return keys.map((key) => shelf.get(key)?.value);
    },
    set: async (writes) => {
      const errors = await set(shelf, writes);
      await trip();
      return errors;
    },
    delete: async (keys) => {
      await trip();
      for (const key of keys) shelf.entries.delete(key);
    },
    close: async () => {
      shelf.watchers.delete(tell);
    },
    ...(notifies ? { feed } : {}),
  };
}

async function setGuarded(shelf: Shelf, writes: readonly KeyValueWrite[]): Promise<readonly undefined[]> {
  for (const one of writes) {
    const present = shelf.get(one.key);
    if (present === undefined || !isKept(present.value, one)) shelf.put(one);
  }
  return writes.map(() => undefined);
}
