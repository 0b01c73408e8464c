import { setTimeout as sleep } from 'node:timers/promises';
import {
  ClosedError,
  ConnectionLostError,
  DecodeError,
  isLovageError,
  type LovageError,
  TimeoutError,
} from '../errors.ts';
import { LATE, within } from '../internal/deadline.ts';
import { silentLogger, type Logger } from '../internal/log.ts';
import { outsideOfTasks } from '../internal/outside-of-tasks.ts';
import { TurnBatch } from '../internal/turn-batch.ts';
import { readTaskMeta } from '../protocol/read-task-meta.ts';
import type { ExceptionInfo, TaskMeta } from '../protocol/task-meta.ts';
import type { BackendUrl } from '../transport/url.ts';
import type {
  Backend,
  BackendCapabilities,
  BackendOptions,
  ChordPart,
  ChordStore,
  DocumentStore,
  ResultBackend,
  ResultCodec,
  ResultWrite,
  Subscription,
} from './contract.ts';
import type {
  ChordKeys,
  KeyValueChords,
  KeyValueDefinition,
  KeyValueStore,
  KeyValueWrite,
  StoredValue,
  SuccessGuard,
} from './key-value-store.ts';
import { ResultPoll } from './poll.ts';

/** Every call to the store has an answer, or an error, within this time. */
const CALL_MS = 10_000;
const CLOSE_MS = 5000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;
const MAX_BATCH = 1000;
const MAX_BATCH_CHARS = 4 * 1024 * 1024;

/**
 * Makes a `Backend` of a store that knows only keys and values, in Celery's layout: `celery-task-meta-<id>` and
 * `celery-taskset-meta-<group id>`, after `global_keyprefix` of the transport options.
 * Source: celery/backends/base.py, KeyValueStoreBackend.
 *
 * Writes of one turn of the event loop go to the store together; a lost store is opened again by the next call, or at
 * once while somebody subscribes, and what was missed meanwhile is read.
 */
export function keyValueBackend(definition: KeyValueDefinition): Backend {
  return {
    schemes: definition.schemes,
    async open(url, options) {
      const backend = new KeyValueBackend(definition, url, options);
      await backend.connect();
      return backend;
    },
  };
}

/** A value and whom to tell. */
interface Writing {
  readonly write: KeyValueWrite;
  readonly done: (error: Error | undefined) => void;
}

interface Watched {
  readonly taskId: string;
  readonly listeners: Set<(meta: TaskMeta) => void>;
  /** Resolves when the store notifies. */
  watching: Promise<void>;
}

const NOT_YET = Promise.resolve();

class KeyValueBackend implements ResultBackend {
  readonly #definition: KeyValueDefinition;
  readonly #url: BackendUrl;
  readonly #options: BackendOptions;
  readonly #codec: ResultCodec;
  readonly #logger: Logger;
  readonly #prefix: string;
  readonly #guard: SuccessGuard;
  readonly #ttlSeconds: number | undefined;
  readonly #watched = new Map<string, Watched>();
  /** The keys that the present store watches. */
  #known = new Set<string>();
  readonly #poll: ResultPoll;
  readonly #writes: TurnBatch<Writing>;
  readonly #watches: TurnBatch<string>;
  readonly #unwatches: TurnBatch<string>;
  readonly #underway = new Set<Promise<unknown>>();
  chords?: ChordStore;
  documents?: DocumentStore;
  #capabilities: BackendCapabilities = { notifies: false, shared: true, autoExpires: false };
  #store: KeyValueStore | undefined;
  #opening: Promise<KeyValueStore> | undefined;
  #isReopening = false;
  #closing: Promise<void> | undefined;
  readonly #stop = new AbortController();

  constructor(definition: KeyValueDefinition, url: BackendUrl, options: BackendOptions) {
    const { codec, expiresSeconds, transportOptions = {}, logger = silentLogger } = options;
    this.#definition = definition;
    this.#url = url;
    this.#options = options;
    this.#codec = codec;
    this.#logger = logger;
    this.#prefix = keyPrefix(transportOptions['global_keyprefix'] ?? transportOptions['globalKeyprefix']);
    this.#ttlSeconds =
      expiresSeconds === undefined || expiresSeconds === 0 ? undefined : Math.max(1, Math.floor(expiresSeconds));
    this.#guard = successGuard(codec);
    this.#poll = new ResultPoll({ load: (taskIds) => this.load(taskIds), logger });
    this.#writes = new TurnBatch((items) => this.#write(items), { maxItems: MAX_BATCH, maxWeight: MAX_BATCH_CHARS });
    this.#watches = new TurnBatch((keys) => this.#watch(keys), { maxItems: MAX_BATCH });
    this.#unwatches = new TurnBatch((keys) => this.#unwatch(keys), { maxItems: MAX_BATCH });
  }

  get capabilities(): BackendCapabilities {
    return this.#capabilities;
  }

  async connect(): Promise<void> {
    const store = await this.#opened();
    this.#capabilities = { notifies: store.feed !== undefined, shared: true, autoExpires: store.autoExpires };
    if (store.chords !== undefined) this.chords = this.#chordStore(store.chords.joinsResults ?? false);
    if (store.documents !== undefined) this.documents = this.#documentStore();
  }

  async expect(): Promise<void> {} // any process reads any result here

  store(writes: readonly ResultWrite[]): Promise<void> {
    return this.#storeAll(
      writes.map(({ meta }) => () => ({
        key: this.#taskKey(meta.task_id),
        value: this.#codec.encode(inOrder(meta)),
        ttlSeconds: this.#ttlSeconds,
        guard: this.#guard,
      })),
    );
  }

  async load(taskIds: readonly string[]): Promise<readonly (TaskMeta | undefined)[]> {
    if (taskIds.length === 0) return [];
    const values = await this.#call((store) => store.get(taskIds.map((taskId) => this.#taskKey(taskId))));
    return taskIds.map((taskId, index) => {
      const value = values[index];
      return value === undefined ? undefined : this.#decode(taskId, value);
    });
  }

  async subscribe(taskIds: readonly string[], listener: (meta: TaskMeta) => void): Promise<Subscription> {
    const store = await this.#opened();
    if (store.feed === undefined) return this.#poll.subscribe(taskIds, listener);
    const keys = [...new Set(taskIds.map((taskId) => this.#taskKey(taskId)))];
    // One listener may subscribe twice; each time ends for itself.
    const own = (meta: TaskMeta): void => listener(meta);
    const subscription = { unsubscribe: () => keys.forEach((key) => this.#unsubscribe(key, own)) };
    try {
      await Promise.all(keys.map((key) => this.#subscribeKey(key, own)));
    } catch (error) {
      subscription.unsubscribe();
      throw error;
    }
    return subscription;
  }

  async forget(taskIds: readonly string[]): Promise<void> {
    if (taskIds.length > 0) await this.#call((store) => store.delete(taskIds.map((taskId) => this.#taskKey(taskId))));
  }

  saveGroup(groupId: string, tuple: unknown): Promise<void> {
    return this.#storeAll([
      () => ({
        key: this.#groupKey(groupId),
        value: this.#codec.encode({ result: tuple }),
        ttlSeconds: this.#ttlSeconds,
      }),
    ]);
  }

  async loadGroup(groupId: string): Promise<unknown> {
    const [value] = await this.#call((store) => store.get([this.#groupKey(groupId)]));
    if (value === undefined) return undefined;
    const saved = this.#codec.decode(value);
    return isRecord(saved) ? saved['result'] : undefined;
  }

  async forgetGroup(groupId: string): Promise<void> {
    await this.#call((store) => store.delete([this.#groupKey(groupId)]));
  }

  async cleanup(): Promise<void> {
    await this.#call((store) => store.cleanup?.() ?? Promise.resolve());
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // Writing

  /** Encodes one by one: what cannot be written does not hurt the others. */
  #storeAll(writes: readonly (() => KeyValueWrite)[]): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(closedError());
    if (writes.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      let left = writes.length;
      let failure: Error | undefined;
      const done = (error: Error | undefined): void => {
        // An error that will not pass is worth more to the caller than one that will.
        if (error !== undefined && (failure === undefined || !isRetryable(error))) failure = error;
        if (--left > 0) return;
        if (failure === undefined) resolve();
        else reject(failure);
      };
      for (const encode of writes) {
        let write: KeyValueWrite;
        try {
          write = encode();
        } catch (error) {
          done(error as Error);
          continue;
        }
        void this.#writes.add({ write, done }, write.value.length);
      }
    });
  }

  /** Never rejects: each item is told. */
  #write(items: readonly Writing[]): Promise<void> {
    return this.#call((store) => store.set(items.map(({ write }) => write)), true).then(
      (errors) => {
        for (const [index, { done }] of items.entries()) done(errors[index]);
        this.#poll.wake();
      },
      (error: Error) => {
        for (const { done } of items) done(error);
      },
    );
  }

  // Subscriptions

  #subscribeKey(key: string, listener: (meta: TaskMeta) => void): Promise<void> {
    const present = this.#watched.get(key);
    if (present !== undefined) {
      present.listeners.add(listener);
      return present.watching;
    }
    const taskId = key.slice(this.#taskKey('').length);
    const watched: Watched = { taskId, listeners: new Set([listener]), watching: NOT_YET };
    this.#watched.set(key, watched);
    // The add that fills a batch hands it on at once: the key has to be known by then.
    watched.watching = this.#watches.add(key);
    return watched.watching;
  }

  #unsubscribe(key: string, listener: (meta: TaskMeta) => void): void {
    const watched = this.#watched.get(key);
    if (watched?.listeners.delete(listener) !== true || watched.listeners.size > 0) return;
    this.#watched.delete(key);
    if (this.#closing === undefined) void this.#unwatches.add(key);
  }

  async #watch(keys: readonly string[]): Promise<void> {
    await this.#call(async (store) => {
      // A store that was opened meanwhile watches them already.
      const fresh = keys.filter((key) => this.#watched.has(key) && !this.#known.has(key));
      if (fresh.length === 0) return;
      for (const key of fresh) this.#known.add(key);
      try {
        await store.feed?.watch(fresh, this.#notify);
      } catch (error) {
        for (const key of fresh) this.#known.delete(key);
        throw error;
      }
    });
  }

  async #unwatch(keys: readonly string[]): Promise<void> {
    const gone = keys.filter((key) => !this.#watched.has(key));
    for (const key of gone) this.#known.delete(key);
    if (gone.length > 0) this.#store?.feed?.unwatch(gone);
  }

  readonly #notify = (key: string, value: StoredValue): void => {
    const watched = this.#watched.get(key);
    if (watched === undefined) return;
    const meta = this.#decode(watched.taskId, value);
    for (const listener of watched.listeners) {
      try {
        listener(meta);
      } catch (error) {
        this.#logger.error({ err: error, taskId: watched.taskId }, 'a listener for results threw');
      }
    }
  };

  // Documents

  #documentStore(): DocumentStore {
    const call = <T>(work: (documents: DocumentStore) => Promise<T>): Promise<T> =>
      this.#call((store) => work(store.documents as DocumentStore));
    return {
      read: (name) => call((documents) => documents.read(`${this.#prefix}${name}`)),
      write: (name, text, over, options) =>
        call((documents) => documents.write(`${this.#prefix}${name}`, text, over, options)),
    };
  }

  // Chords

  #chordStore(joinsResults: boolean): ChordStore {
    const call = <T>(work: (chords: KeyValueChords) => Promise<T>): Promise<T> =>
      this.#call((store) => work(store.chords as KeyValueChords));
    return {
      joinsResults,
      begin: (groupId, size) => call((chords) => chords.begin(this.#chordKeys(groupId), size, this.#ttlSeconds)),
      part: async (groupId, { taskId, index, state, result }) => {
        const value = this.#codec.encode([1, taskId, state, result]);
        const part = { value, taskId, index };
        const parts = await call((chords) => chords.part(this.#chordKeys(groupId), part, this.#ttlSeconds));
        return parts?.map((each) => readChordPart(this.#codec.decode(each)));
      },
      finish: (groupId) => call((chords) => chords.finish(this.#chordKeys(groupId), this.#ttlSeconds)),
      extend: (groupId, taskId) => call((chords) => chords.extend(this.#chordKeys(groupId), taskId, this.#ttlSeconds)),
    };
  }

  #chordKeys(groupId: string): ChordKeys {
    const key = this.#groupKey(groupId);
    return { parts: `${key}.j`, added: `${key}.t`, size: `${key}.s`, claim: `${key}.c`, addedIds: `${key}.a` };
  }

  // The store's life

  /** Runs `work` on the live store, opening one if there is none, within the time of a call. */
  async #call<T>(work: (store: KeyValueStore) => Promise<T>, isLast = false): Promise<T> {
    if (this.#closing !== undefined && !isLast) throw closedError();
    const deadline = Date.now() + CALL_MS;
    const store = this.#store ?? (await this.#opened(deadline));
    const running = work(store);
    this.#underway.add(running);
    try {
      const result = await within(running, deadline - Date.now());
      if (result !== LATE) return result;
    } catch (error) {
      if (isLovageError(error, 'ERR_CONNECTION_LOST')) this.#lose(store, error);
      // Another call has found the link lost and closed it: to this one that is a loss too, and it may be tried again.
      if (isLovageError(error, 'ERR_CLOSED') && this.#closing === undefined && this.#store !== store) {
        throw new ConnectionLostError('The link to the result store was lost during the call.', { cause: error });
      }
      throw error;
    } finally {
      this.#underway.delete(running);
    }
    const error = new TimeoutError(`The result store ${String(this.#url)} did not answer within ${CALL_MS} ms.`, {
      facts: { url: String(this.#url) },
    });
    // A link that answers nothing is of no use to the next call either.
    this.#lose(store, error);
    throw error;
  }

  async #opened(deadline: number = Date.now() + CALL_MS): Promise<KeyValueStore> {
    if (this.#store !== undefined) return this.#store;
    if (this.#stop.signal.aborted) throw closedError();
    this.#opening ??= outsideOfTasks(() => this.#open()).finally(() => {
      this.#opening = undefined;
    });
    const store = await within(this.#opening, deadline - Date.now());
    if (store === LATE) {
      throw new TimeoutError(`The result store ${String(this.#url)} could not be opened within ${CALL_MS} ms.`, {
        facts: { url: String(this.#url) },
      });
    }
    return store;
  }

  async #open(): Promise<KeyValueStore> {
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(CALL_MS)]);
    const store = await this.#definition.open(this.#url, { ...this.#options, signal });
    try {
      if (signal.aborted) throw closedError();
      const keys = [...this.#watched.keys()];
      this.#known = new Set(keys);
      if (keys.length > 0) await store.feed?.watch(keys, this.#notify);
    } catch (error) {
      void store.close();
      throw error;
    }
    this.#store = store;
    store.lost?.catch((error: unknown) => this.#lose(store, error));
    return store;
  }

  #lose(store: KeyValueStore, error: unknown): void {
    if (this.#store !== store) return;
    this.#store = undefined;
    void store.close();
    if (this.#closing !== undefined) return;
    this.#logger.warn({ err: error, url: String(this.#url) }, 'the link to the result store was lost');
    if (this.#watched.size > 0) void this.#reopen();
  }

  /** Somebody waits for notifications: opens again without being asked, and reads what was missed. */
  async #reopen(): Promise<void> {
    if (this.#isReopening) return;
    this.#isReopening = true;
    for (let failures = 0; this.#watched.size > 0 && this.#closing === undefined; failures++) {
      try {
        await this.#opened();
        await this.#catchUp();
        break;
      } catch (error) {
        const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures) * (0.5 + Math.random() / 2);
        this.#logger.warn(
          { err: error, url: String(this.#url), pauseMs },
          'the result store could not be opened; trying again',
        );
        await sleep(pauseMs, undefined, { ref: false, signal: this.#stop.signal }).catch(() => {}); // closed meanwhile
      }
    }
    this.#isReopening = false;
  }

  async #catchUp(): Promise<void> {
    const keys = [...this.#watched.keys()];
    for (let start = 0; start < keys.length; start += MAX_BATCH) {
      const part = keys.slice(start, start + MAX_BATCH);
      const values = await this.#call((store) => store.get(part));
      for (const [index, value] of values.entries())
        if (value !== undefined) this.#notify(part[index] as string, value);
    }
  }

  async #close(): Promise<void> {
    // What was stored before still goes out.
    this.#writes.flush();
    const deadline = Date.now() + CLOSE_MS;
    await within(Promise.allSettled(this.#underway), CLOSE_MS);
    this.#stop.abort(closedError());
    this.#poll.close();
    this.#watched.clear();
    const store = this.#store;
    this.#store = undefined;
    if (store !== undefined) await within(store.close(), Math.max(500, deadline - Date.now()));
  }

  // Celery's layout

  #taskKey(taskId: string): string {
    return `${this.#prefix}celery-task-meta-${taskId}`;
  }

  #groupKey(groupId: string): string {
    return `${this.#prefix}celery-taskset-meta-${groupId}`;
  }

  /**
   * A result that cannot be read becomes a FAILURE with a `DecodeError` that says why: whoever waits for it learns of it,
   * and results beside it are not held up.
   */
  #decode(taskId: string, value: StoredValue): TaskMeta {
    try {
      return readTaskMeta(this.#codec.decode(value), taskId);
    } catch (error) {
      this.#logger.warn({ err: error, taskId }, 'a stored result cannot be read');
      const { message } = error as Error;
      const info: ExceptionInfo = { exc_type: 'DecodeError', exc_message: [message], exc_module: 'lovage' };
      return { status: 'FAILURE', result: info, traceback: null, children: null, date_done: null, task_id: taskId };
    }
  }
}

/** Celery's order of keys: `status` first, where a store looks for it; `task_id` last. */
function inOrder(meta: TaskMeta): TaskMeta {
  for (const key in meta) {
    if (key === 'status') return meta;
    break;
  }
  const { status, result, traceback, children, date_done, task_id, ...rest } = meta;
  return { status, result, traceback, children, date_done, ...rest, task_id };
}

/** Source: celery/backends/base.py, _add_global_keyprefix. */
function keyPrefix(given: unknown): string {
  if (typeof given !== 'string' || given === '') return '';
  return /[:_\-.]$/.test(given) ? given : `${given}_`;
}

function successGuard(codec: ResultCodec): SuccessGuard {
  return {
    marks: SUCCESS_MARKS[codec.contentType] ?? [],
    windowBytes: 24,
    isSuccess: (value) => {
      try {
        const meta = codec.decode(value);
        return isRecord(meta) && meta['status'] === 'SUCCESS';
      } catch {
        return false;
      }
    },
  };
}

/** Within the first bytes no nested value can look the same. The spaced form is Python's. */
const SUCCESS_MARKS: Readonly<Record<string, readonly string[]>> = {
  'application/json': ['"status": "SUCCESS"', '"status":"SUCCESS"'],
  'application/x-msgpack': ['\xa6status\xa7SUCCESS'],
};

/** Source: celery/backends/redis.py, _unpack_chord_result. */
function readChordPart(part: unknown): ChordPart {
  const [, taskId, state, result] = Array.isArray(part) ? (part as unknown[]) : [];
  if (typeof taskId !== 'string' || typeof state !== 'string') {
    throw new DecodeError('A stored part of a chord is not [1, task id, state, result].');
  }
  return { taskId, index: undefined, state, result };
}

function isRetryable(error: Error): boolean {
  return isLovageError(error) && error.retryable;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function closedError(): LovageError {
  return new ClosedError('The result store is closed.');
}
