import type { Backend, DocumentStore, StoredDocument } from '../backend/contract.ts';
import { isPartOf } from '../backend/chord-part.ts';
import { keyValueBackend } from '../backend/key-value-backend.ts';
import type {
  ChordKeys,
  KeyFeed,
  KeyValueChords,
  KeyValueStore,
  KeyValueWrite,
  StoredValue,
} from '../backend/key-value-store.ts';
import { isKept } from '../backend/result-guard.ts';
import { ClosedError } from '../errors.ts';
import { brokerName } from './memory-broker.ts';

/**
 * A result store within the process, for tests and for trying things out: `cache+memory://` as Celery has it, or
 * `memory://any-name` to keep several apart. Nothing is kept beyond the process.
 */
export const memoryBackend: Backend = keyValueBackend({
  schemes: ['cache+memory', 'memory'],
  open: async (url) => new MemoryStore(memoryValues(brokerName(url.raw))),
});

interface Kept {
  readonly value: StoredValue;
  /** Epoch milliseconds; Infinity: for ever. */
  readonly expiresAt: number;
}

/** After so many writes what has expired is looked for and dropped. */
const SWEEP_EVERY = 10_000;

type Listener = (key: string, value: StoredValue) => void;

/** What all stores of one name in the process share. */
class MemoryValues {
  readonly #kept = new Map<string, Kept>();
  readonly #listeners = new Map<string, Set<Listener>>();
  #writes = 0;

  get(key: string): StoredValue | undefined {
    const kept = this.#kept.get(key);
    if (kept === undefined) return undefined;
    if (kept.expiresAt > Date.now()) return kept.value;
    this.#kept.delete(key);
    return undefined;
  }

  set(write: KeyValueWrite): void {
    const { key, value, ttlSeconds, guard } = write;
    const present = guard === undefined ? undefined : this.get(key);
    if (present !== undefined && isKept(present, write)) return;
    this.#kept.set(key, {
      value,
      expiresAt: ttlSeconds === undefined ? Number.POSITIVE_INFINITY : Date.now() + ttlSeconds * 1000,
    });
    for (const listener of this.#listeners.get(key) ?? []) listener(key, value);
    if (++this.#writes % SWEEP_EVERY === 0) this.sweep();
  }

  delete(key: string): void {
    this.#kept.delete(key);
  }

  sweep(): void {
    for (const key of this.#kept.keys()) this.get(key);
    for (const [key, { expiresAt }] of this.chords) if (expiresAt <= Date.now()) this.chords.delete(key);
  }

  listen(key: string, listener: Listener): void {
    const listeners = this.#listeners.get(key);
    if (listeners === undefined) this.#listeners.set(key, new Set([listener]));
    else listeners.add(listener);
  }

  readonly documents = new Map<string, StoredDocument>();
  /** Chords by the key of their parts. */
  readonly chords = new Map<string, MemoryChord>();

  unlisten(key: string, listener: Listener): void {
    const listeners = this.#listeners.get(key);
    if (listeners?.delete(listener) === true && listeners.size === 0) this.#listeners.delete(key);
  }
}

interface MemoryChord {
  /** Epoch milliseconds; Infinity: for ever. */
  expiresAt: number;
  size: number | undefined;
  readonly added: Set<string>;
  readonly parts: Map<string, { readonly index: number; readonly value: StoredValue }>;
  claim: string | undefined;
  isDone: boolean;
}

/** What the Redis script does, to be read. */
class MemoryChords implements KeyValueChords {
  readonly #values: MemoryValues;

  constructor(values: MemoryValues) {
    this.#values = values;
  }

  async begin({ parts }: ChordKeys, size: number, ttlSeconds: number | undefined): Promise<void> {
    this.#chord(parts, ttlSeconds).size = size;
  }

  async part(
    { parts }: ChordKeys,
    { value, taskId, index = Number.POSITIVE_INFINITY }: Parameters<KeyValueChords['part']>[1],
    ttlSeconds: number | undefined,
  ): Promise<readonly StoredValue[] | undefined> {
    const chord = this.#chord(parts, ttlSeconds);
    if (chord.isDone) return undefined;
    const present = chord.parts.get(taskId);
    if (present === undefined || isPartOf(present.value, taskId) !== 'succeeded')
      chord.parts.set(taskId, { index, value });
    if (chord.size === undefined || chord.parts.size < chord.size + chord.added.size) return undefined;
    if (chord.claim !== undefined && chord.claim !== taskId) return undefined;
    chord.claim = taskId;
    return [...chord.parts.values()].toSorted((a, b) => a.index - b.index).map((part) => part.value);
  }

  async finish({ parts }: ChordKeys, ttlSeconds: number | undefined): Promise<void> {
    const chord = this.#chord(parts, ttlSeconds);
    chord.parts.clear();
    chord.isDone = true;
  }

  async extend({ parts }: ChordKeys, taskId: string, ttlSeconds: number | undefined): Promise<void> {
    this.#chord(parts, ttlSeconds).added.add(taskId);
  }

  /** Its time begins anew. */
  #chord(key: string, ttlSeconds: number | undefined): MemoryChord {
    const now = Date.now();
    let chord = this.#values.chords.get(key);
    if (chord === undefined || chord.expiresAt <= now) {
      chord = { expiresAt: 0, size: undefined, added: new Set(), parts: new Map(), claim: undefined, isDone: false };
      this.#values.chords.set(key, chord);
    }
    chord.expiresAt = ttlSeconds === undefined ? Number.POSITIVE_INFINITY : now + ttlSeconds * 1000;
    return chord;
  }
}

class MemoryDocuments implements DocumentStore {
  readonly #kept: Map<string, StoredDocument>;

  constructor(kept: Map<string, StoredDocument>) {
    this.#kept = kept;
  }

  async read(name: string): Promise<StoredDocument | undefined> {
    return this.#kept.get(name);
  }

  async write(name: string, text: string, over: string | undefined): Promise<string | undefined> {
    if (this.#kept.get(name)?.version !== over) return undefined;
    const version = String(Number(over ?? '0') + 1);
    this.#kept.set(name, { text, version });
    return version;
  }
}

const named = new Map<string, MemoryValues>();

function memoryValues(name: string): MemoryValues {
  let values = named.get(name);
  if (values === undefined) named.set(name, (values = new MemoryValues()));
  return values;
}

class MemoryStore implements KeyValueStore {
  readonly autoExpires = true;
  readonly feed: KeyFeed;
  readonly chords: KeyValueChords;
  readonly documents: DocumentStore;
  readonly #values: MemoryValues;
  readonly #watched = new Map<string, Listener>();
  #isClosed = false;

  constructor(values: MemoryValues) {
    this.#values = values;
    this.chords = new MemoryChords(values);
    this.documents = new MemoryDocuments(values.documents);
    this.feed = {
      watch: async (keys, listener) => {
        this.#check();
        for (const key of keys) {
          this.#watched.set(key, listener);
          values.listen(key, listener);
        }
      },
      unwatch: (keys) => {
        for (const key of keys) this.#unwatch(key);
      },
    };
  }

  async get(keys: readonly string[]): Promise<readonly (StoredValue | undefined)[]> {
    this.#check();
    return keys.map((key) => this.#values.get(key));
  }

  async set(writes: readonly KeyValueWrite[]): Promise<readonly undefined[]> {
    this.#check();
    for (const write of writes) this.#values.set(write);
    return writes.map(() => undefined);
  }

  async delete(keys: readonly string[]): Promise<void> {
    this.#check();
    for (const key of keys) this.#values.delete(key);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const key of this.#watched.keys()) this.#unwatch(key);
  }

  #unwatch(key: string): void {
    const listener = this.#watched.get(key);
    this.#watched.delete(key);
    if (listener !== undefined) this.#values.unlisten(key, listener);
  }

  #check(): void {
    if (this.#isClosed) throw new ClosedError('The memory store is closed.');
  }
}
