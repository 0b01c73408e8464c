import { isLovageError } from '../errors.ts';
import { silentLogger, type Logger } from '../internal/log.ts';
import { TurnBatch } from '../internal/turn-batch.ts';
import { readTaskMeta } from '../protocol/read-task-meta.ts';
import type { ExceptionInfo, TaskMeta } from '../protocol/task-meta.ts';
import { READY_STATES } from '../result/states.ts';
import type { BackendUrl } from '../transport/url.ts';
import type {
  Backend,
  BackendCapabilities,
  BackendOptions,
  ChordStore,
  DocumentStore,
  ResultBackend,
  ResultCodec,
  ResultWrite,
  Subscription,
} from './contract.ts';
import { globalKeyprefixOf, KeyLayout } from './key-layout.ts';
import { chordsOverKeys } from './key-value-chords.ts';
import type { KeyValueChords, KeyValueDefinition, KeyValueWrite, ResultGuard, StoredValue } from './key-value-store.ts';
import { KeyWatch } from './key-watch.ts';
import { ResultPoll } from './poll.ts';
import { resultGuard } from './result-guard.ts';
import { closedError, StoreLink } from './store-link.ts';

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

class KeyValueBackend implements ResultBackend {
  readonly #codec: ResultCodec;
  readonly #logger: Logger;
  readonly #layout: KeyLayout;
  readonly #guard: ResultGuard;
  readonly #ttlSeconds: number | undefined;
  readonly #link: StoreLink;
  readonly #watch: KeyWatch;
  readonly #poll: ResultPoll;
  readonly #writes: TurnBatch<Writing>;
  chords?: ChordStore;
  documents?: DocumentStore;
  #capabilities: BackendCapabilities = { notifies: false, shared: true, autoExpires: false };
  #closing: Promise<void> | undefined;

  constructor(definition: KeyValueDefinition, url: BackendUrl, options: BackendOptions) {
    const { codec, expiresSeconds, transportOptions = {}, logger = silentLogger } = options;
    this.#codec = codec;
    this.#logger = logger;
    this.#layout = new KeyLayout(globalKeyprefixOf(transportOptions));
    this.#ttlSeconds =
      expiresSeconds === undefined || expiresSeconds === 0 ? undefined : Math.max(1, Math.floor(expiresSeconds));
    this.#guard = resultGuard(codec);
    this.#watch = new KeyWatch({
      layout: this.#layout,
      decode: (taskId, value) => this.#decode(taskId, value),
      call: (work) => this.#link.call(work),
      live: () => this.#link.live,
      logger,
    });
    this.#link = new StoreLink(definition, url, options, this.#watch);
    this.#poll = new ResultPoll({ load: (taskIds) => this.load(taskIds), logger });
    this.#writes = new TurnBatch((items) => this.#write(items), { maxItems: MAX_BATCH, maxWeight: MAX_BATCH_CHARS });
  }

  get capabilities(): BackendCapabilities {
    return this.#capabilities;
  }

  async connect(): Promise<void> {
    const { feed, autoExpires, chords, documents } = await this.#link.opened();
    this.#capabilities = { notifies: feed !== undefined, shared: true, autoExpires };
    if (chords !== undefined) {
      this.chords = chordsOverKeys({
        call: (work) => this.#link.call((store) => work(store.chords as KeyValueChords)),
        joinsResults: chords.joinsResults ?? false,
        codec: this.#codec,
        layout: this.#layout,
        ttlSeconds: this.#ttlSeconds,
      });
    }
    if (documents !== undefined) this.documents = this.#documentStore();
  }

  async expect(): Promise<void> {} // any process reads any result here

  store(writes: readonly ResultWrite[]): Promise<void> {
    return this.#storeAll(
      writes.map(({ meta, at }) => () => {
        const key = this.#layout.task(meta.task_id);
        const value = this.#codec.encode(inOrder(meta));
        const [ttlSeconds, guard] = [this.#ttlSeconds, this.#guard];
        return READY_STATES.has(meta.status)
          ? { key, value, ttlSeconds, guard }
          : { key, value, ttlSeconds, guard, at: at ?? Date.now() };
      }),
    );
  }

  async load(taskIds: readonly string[]): Promise<readonly (TaskMeta | undefined)[]> {
    if (taskIds.length === 0) return [];
    const values = await this.#link.call((store) => store.get(taskIds.map((taskId) => this.#layout.task(taskId))));
    return taskIds.map((taskId, index) => {
      const value = values[index];
      return value === undefined ? undefined : this.#decode(taskId, value);
    });
  }

  async subscribe(taskIds: readonly string[], listener: (meta: TaskMeta) => void): Promise<Subscription> {
    const { feed } = await this.#link.opened();
    return feed === undefined ? this.#poll.subscribe(taskIds, listener) : this.#watch.subscribe(taskIds, listener);
  }

  async forget(taskIds: readonly string[]): Promise<void> {
    if (taskIds.length > 0)
      await this.#link.call((store) => store.delete(taskIds.map((taskId) => this.#layout.task(taskId))));
  }

  saveGroup(groupId: string, tuple: unknown): Promise<void> {
    return this.#storeAll([
      () => ({
        key: this.#layout.group(groupId),
        value: this.#codec.encode({ result: tuple }),
        ttlSeconds: this.#ttlSeconds,
      }),
    ]);
  }

  async loadGroup(groupId: string): Promise<unknown> {
    const [value] = await this.#link.call((store) => store.get([this.#layout.group(groupId)]));
    if (value === undefined) return undefined;
    const saved = this.#codec.decode(value);
    return isRecord(saved) ? saved['result'] : undefined;
  }

  async forgetGroup(groupId: string): Promise<void> {
    await this.#link.call((store) => store.delete([this.#layout.group(groupId)]));
  }

  async cleanup(): Promise<void> {
    await this.#link.call((store) => store.cleanup?.() ?? Promise.resolve(), { isLong: true });
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
    return this.#link
      .call((store) => store.set(items.map(({ write }) => write)), { isLast: true })
      .then(
        (errors) => {
          for (const [index, { done }] of items.entries()) done(errors[index]);
          this.#poll.wake();
        },
        (error: Error) => {
          for (const { done } of items) done(error);
        },
      );
  }

  #documentStore(): DocumentStore {
    const call = <T>(work: (documents: DocumentStore) => Promise<T>): Promise<T> =>
      this.#link.call((store) => work(store.documents as DocumentStore));
    return {
      read: (name) => call((documents) => documents.read(this.#layout.document(name))),
      write: (name, text, over, options) =>
        call((documents) => documents.write(this.#layout.document(name), text, over, options)),
    };
  }

  async #close(): Promise<void> {
    // What was stored before still goes out.
    this.#writes.flush();
    await this.#link.close(() => {
      this.#poll.close();
      this.#watch.close();
    });
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

function isRetryable(error: Error): boolean {
  return isLovageError(error) && error.retryable;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
