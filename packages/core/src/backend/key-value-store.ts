import type { BackendOptions, DocumentStore } from './contract.ts';
import type { BackendUrl } from '../transport/url.ts';

/**
 * What a store provides that knows only keys and values. `keyValueBackend` makes a `ResultBackend` of it: Celery's keys
 * and prefix, encoding, joining of calls, deadlines, reopening after a loss and subscriptions are written there, once.
 *
 * A store lives once: after a lost link every call rejects with `ConnectionLostError` and `lost` rejects; the backend
 * opens another one and watches the same keys again. Calls may overlap.
 */
export interface KeyValueStore {
  /** Removes expired values by itself. */
  readonly autoExpires: boolean;
  /**
   * Pending while the link lives; rejects with `ConnectionLostError`. Absent where no link can be lost, or the store opens
   * the links that it loses again: such a store stays.
   */
  readonly lost?: Promise<never>;
  /** In the order asked; undefined where nothing is kept or it has expired. */
  get(keys: readonly string[]): Promise<readonly (StoredValue | undefined)[]>;
  /**
   * Writes a batch: all that was stored within one tick. Resolves when every write is kept or refused: one entry per
   * write, `undefined` for kept (or rightly left alone by its guard), an error for a write that failed for its own
   * sake (too large). Rejects when nothing is known of the batch (a lost link). Watchers of the keys are told.
   * Two writes of the same key take effect in their order, within a batch and across overlapping calls.
   */
  set(writes: readonly KeyValueWrite[]): Promise<readonly (Error | undefined)[]>;
  /** A key that does not exist is no error. */
  delete(keys: readonly string[]): Promise<void>;
  /** Absent where the store cannot notify: the backend then polls. */
  readonly feed?: KeyFeed;
  /** Absent where the store cannot compare and swap. Names are keys of their own, apart from results. */
  readonly documents?: DocumentStore;
  /** Absent where the store cannot decide atomically: `celery.chord_unlock` then looks after chords. */
  readonly chords?: KeyValueChords;
  /** Removes what has expired, where the store does not do it by itself. */
  cleanup?(): Promise<void>;
  /** Disconnects: what is still under way rejects, and writes nothing any more. Never rejects; twice is fine. */
  close(): Promise<void>;
}

/** Text or bytes, as the codec made it. A store may give back either for what was written as the other. */
export type StoredValue = string | Uint8Array;

export interface KeyValueWrite {
  readonly key: string;
  readonly value: StoredValue;
  /** undefined: for ever. Whole seconds, at least 1. */
  readonly ttlSeconds: number | undefined;
  /**
   * Present: leave the key alone if what it holds now is a SUCCESS, or, where `at` is given, an end of a later time:
   * decided atomically with the write (a script, a transaction, compare-and-swap), by `isKept`. Celery reads first and
   * writes then, which lets a zombie overwrite a result.
   */
  readonly guard?: ResultGuard;
  /** When the task was in this state, epoch milliseconds; absent where the state is an end. */
  readonly at?: number;
}

/**
 * How stored values are told apart, in two ways. `status` is the first key of what Celery and Lovage store, so a script
 * needs to look at the beginning only. The same object for all writes of a backend.
 */
export interface ResultGuard {
  /**
   * A value is a SUCCESS if one of these texts (bytes as Latin-1) occurs wholly within its first `windowBytes` bytes.
   * Empty when the serializer leaves the order of keys open (YAML of Python sorts them): then only `isSuccess` tells.
   */
  readonly marks: readonly string[];
  /** The same for FAILURE and REVOKED. */
  readonly failureMarks: readonly string[];
  readonly windowBytes: number;
  /** Decodes the value; false for what cannot be read. */
  isSuccess(value: StoredValue): boolean;
  /** Decodes the value: a FAILURE or REVOKED whose `date_done` is not before `at`. False for what cannot be read. */
  isFailureSince(value: StoredValue, at: number): boolean;
}

/**
 * Notifications of a store, for all keys of a process over one connection.
 * The listener of a key is called for each value written to it by any process from the moment `watch` resolves.
 */
export interface KeyFeed {
  /** Called for keys that are not watched yet; the keys of one tick come together. */
  watch(keys: readonly string[], listener: (key: string, value: StoredValue) => void): Promise<void>;
  /** Best effort, in the background: a value that still arrives is ignored. */
  unwatch(keys: readonly string[]): void;
}

/** What `keyValueBackend` lifts to a `Backend`. */
export interface KeyValueDefinition {
  /** URL schemes, lower case, without `://`. */
  readonly schemes: readonly string[];
  /**
   * Opens one store. Rejects with `ConnectError`, `AuthError` or `ConfigError`; never retries. Abort rejects with the
   * signal's reason and leaves nothing open.
   */
  open(url: BackendUrl, options: BackendOptions & { readonly signal: AbortSignal }): Promise<KeyValueStore>;
}

/** Keys of a chord. Source: celery/backends/redis.py, on_chord_part_return. */
export interface ChordKeys {
  /** `.j`: the parts, in the order of their index. */
  readonly parts: string;
  /** `.t`: how many parts were added to the chord. */
  readonly added: string;
  /** `.s`: how many parts it began with. Watchers of the key are told. */
  readonly size: string;
  /** `.c`: ours. The task whose part completed the chord; `done` when the body is sent. */
  readonly claim: string;
  /** `.a`: ours. Ids of added parts. */
  readonly addedIds: string;
}

/**
 * Chords in a store that shares them with Python workers, who know of all but `claim` and `addedIds`. Each call is atomic.
 * `ttlSeconds` as in {@link KeyValueWrite}, for every key that it touches.
 */
export interface KeyValueChords {
  /** As in `ChordStore`. */
  readonly joinsResults?: boolean;
  begin(keys: ChordKeys, size: number, ttlSeconds: number | undefined): Promise<void>;
  /**
   * Adds a part, but for a chord that is done. `value` is `[1, task id, state, result]` encoded: it takes the place of one
   * with the same id, unless that one is a SUCCESS (see `isPartOf`). Gives all parts when there are as many
   * different ids as the chord waits for and no other task claims it.
   */
  part(
    keys: ChordKeys,
    part: { readonly value: StoredValue; readonly taskId: string; readonly index: number | undefined },
    ttlSeconds: number | undefined,
  ): Promise<readonly StoredValue[] | undefined>;
  finish(keys: ChordKeys, ttlSeconds: number | undefined): Promise<void>;
  extend(keys: ChordKeys, taskId: string, ttlSeconds: number | undefined): Promise<void>;
}
