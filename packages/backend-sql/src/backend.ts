import {
  type BackendCapabilities,
  type BackendOptions,
  ClosedError,
  EncodeError,
  isLovageError,
  type Logger,
  type ResultBackend,
  type ResultCodec,
  type ResultWrite,
  silentLogger,
  type Subscription,
  type TaskMeta,
} from '@lovage/core/backend';
import type { Listening, SqlDatabase, SqlTransactionOptions } from '@lovage/sql';
import { SqlDocuments } from './documents.ts';
import { readGroup, writeGroup } from './groups.ts';
import { fromRow, toColumnDate, toRow } from './rows.ts';
import type { ResultTables } from './tables.ts';
import type { TaskRow } from './task-row.ts';

/** Rows removed by one transaction of `cleanup()`: others write in between. */
const CLEANUP_BATCH = 1000;

/** How long it rests after a look, in times of the look's own length, where that is worth a timer. */
const REST = 3;
const LEAST_REST_MS = 20;

/** An open database and its tables, ready for use. */
export interface OpenStore {
  readonly database: SqlDatabase;
  readonly tables: ResultTables;
}

interface Listener {
  (meta: TaskMeta): void;
}

interface Followed {
  readonly listeners: Set<Listener>;
  /** What was last seen of a row that may change: its state, date and result. undefined: there was no row. */
  seen: string | undefined;
  /** A SUCCESS is never overwritten, so nothing more will come. */
  isFinal: boolean;
}

/** Results in Celery's tables. Waiting costs nothing: a commit, of this process or another, is what makes it look. */
export class SqlResultBackend implements ResultBackend {
  readonly capabilities: BackendCapabilities = { notifies: true, shared: true, autoExpires: false };
  readonly documents: SqlDocuments = new SqlDocuments(async () => (await this.#open()).database);
  readonly #reopen: () => Promise<OpenStore>;
  readonly #codec: ResultCodec;
  readonly #logger: Logger;
  readonly #expiresSeconds: number | undefined;
  readonly #topic: string;
  readonly #followed = new Map<string, Followed>();
  #store: Promise<OpenStore> | undefined;
  #listening: Listening | undefined;
  #position = 0;
  #scan: Promise<void> | undefined;
  #scanAgain = false;
  #wakeFromRest: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(store: OpenStore, reopen: () => Promise<OpenStore>, options: BackendOptions, topic: string) {
    this.#reopen = reopen;
    this.#codec = options.codec;
    this.#logger = options.logger ?? silentLogger;
    this.#expiresSeconds = options.expiresSeconds;
    this.#topic = topic;
    this.#adopt(store);
  }

  /** Results are rows: nothing has to be prepared. */
  async expect(): Promise<void> {}

  async store(writes: readonly ResultWrite[]): Promise<void> {
    const { database, tables } = await this.#open();
    const rows: TaskRow[] = [];
    let failure: unknown;
    const now = Date.now();
    for (const { meta, at = now } of writes) {
      try {
        checkId(meta.task_id);
        rows.push(tables.fit(toRow(meta, this.#codec, at)));
      } catch (error) {
        failure ??= error;
      }
    }
    if (rows.length > 0) {
      await database.transaction(async (transaction) => {
        await tables.store(transaction, rows);
        transaction.signal(this.#topic);
      }, durabilityIn(database));
    }
    if (failure !== undefined) throw failure;
  }

  async load(taskIds: readonly string[]): Promise<readonly (TaskMeta | undefined)[]> {
    if (taskIds.length === 0) return [];
    const { database, tables } = await this.#open();
    const rows = new Map((await tables.load(database, taskIds)).map((row) => [row.task_id, row]));
    return taskIds.map((id) => {
      const row = rows.get(id);
      return row === undefined ? undefined : fromRow(row, this.#codec, this.#logger);
    });
  }

  async subscribe(taskIds: readonly string[], listener: (meta: TaskMeta) => void): Promise<Subscription> {
    const { database, tables } = await this.#open();
    if (this.#followed.size === 0) this.#position = await tables.position(database);
    this.#listen(database);
    // Each subscription has its own listener, even when the same function is given twice.
    const own: Listener = (meta) => listener(meta);
    const fresh: string[] = [];
    for (const id of taskIds) {
      let followed = this.#followed.get(id);
      if (followed === undefined) {
        followed = { listeners: new Set(), seen: undefined, isFinal: false };
        this.#followed.set(id, followed);
        fresh.push(id);
      }
      followed.listeners.add(own);
    }
    const unsubscribe = (): void => {
      for (const id of taskIds) {
        const followed = this.#followed.get(id);
        if (followed?.listeners.delete(own) === true && followed.listeners.size === 0) this.#followed.delete(id);
      }
      if (this.#followed.size > 0) return;
      this.#listening?.stop();
      this.#listening = undefined;
    };
    try {
      // What is stored already is not news, but it may change.
      for (const row of await tables.load(database, fresh)) {
        const followed = this.#followed.get(row.task_id);
        if (followed !== undefined && followed.seen === undefined) note(followed, row);
      }
    } catch (error) {
      unsubscribe();
      throw error;
    }
    return { unsubscribe };
  }

  async forget(taskIds: readonly string[]): Promise<void> {
    const { database, tables } = await this.#open();
    await database.transaction((transaction) => tables.forget(transaction, taskIds));
  }

  async saveGroup(groupId: string, tuple: unknown): Promise<void> {
    checkId(groupId);
    const pickle = writeGroup(tuple);
    const dateDone = toColumnDate(new Date().toISOString()) as string;
    const { database, tables } = await this.#open();
    tables.fitGroup(groupId, pickle);
    await database.transaction((transaction) => tables.saveGroup(transaction, groupId, pickle, dateDone));
  }

  async loadGroup(groupId: string): Promise<unknown> {
    const { database, tables } = await this.#open();
    const pickle = await tables.loadGroup(database, groupId);
    return pickle === undefined ? undefined : readGroup(pickle);
  }

  async forgetGroup(groupId: string): Promise<void> {
    const { database, tables } = await this.#open();
    await database.transaction((transaction) => tables.forgetGroup(transaction, groupId));
  }

  async cleanup(): Promise<void> {
    await this.#removeExpired();
    await this.documents.removeExpired();
  }

  async #removeExpired(): Promise<void> {
    if (this.#expiresSeconds === undefined) return;
    const before = toColumnDate(new Date(Date.now() - this.#expiresSeconds * 1000).toISOString()) as string;
    const { database, tables } = await this.#open();
    for (;;) {
      const removed = await database.transaction((transaction) =>
        tables.removeExpired(transaction, before, CLEANUP_BATCH),
      );
      if (removed < CLEANUP_BATCH) return;
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#listening?.stop();
    this.#listening = undefined;
    this.#followed.clear();
    this.#wakeFromRest?.();
    try {
      await this.#scan;
      await (await this.#store)?.database.close();
    } catch (error) {
      this.#logger.debug({ err: error }, 'The result store was not open when it was closed.');
    }
  }

  async #open(): Promise<OpenStore> {
    if (this.#closing !== undefined) throw new ClosedError('The result backend is closed.');
    this.#store ??= this.#reopen().then(
      (store) => this.#adopt(store),
      (error: unknown) => {
        this.#store = undefined;
        throw error;
      },
    );
    return this.#store;
  }

  #adopt(store: OpenStore): OpenStore {
    this.#store = Promise.resolve(store);
    store.database.lost.catch((error: unknown) => {
      if (this.#closing !== undefined) return;
      this.#logger.warn({ err: error }, 'The result store was lost and is opened again.');
      this.#store = undefined;
      this.#listening?.stop();
      this.#listening = undefined;
      void store.database.close();
      if (this.#followed.size > 0) void this.#resume();
    });
    return store;
  }

  /** Follows the same tasks in the new database, once there is one, and reads what was missed. */
  async #resume(): Promise<void> {
    for (let waitMs = 50; this.#followed.size > 0 && this.#closing === undefined; waitMs = Math.min(1000, waitMs * 2)) {
      try {
        const { database } = await this.#open();
        this.#position = 0;
        this.#listen(database);
        this.#look();
        return;
      } catch (error) {
        if (isLovageError(error) && !error.retryable) {
          this.#logger.error({ err: error }, 'The result store cannot be opened again; the next call tries it.');
          return;
        }
        this.#logger.warn({ err: error }, 'The result store cannot be opened yet; it is tried again.');
      }
      await new Promise((resolve) => {
        setTimeout(resolve, waitMs * (0.5 + Math.random())).unref();
      });
    }
  }

  #listen(database: SqlDatabase): void {
    this.#listening ??= database.listen(this.#topic, () => this.#look(), { keepAlive: true });
  }

  #look(): void {
    if (this.#scan !== undefined) {
      this.#scanAgain = true;
      return;
    }
    const beganAt = performance.now();
    this.#scan = this.#scanOnce()
      .catch((error: unknown) => {
        this.#logger.warn({ err: error }, 'Results could not be read; the next change tries again.');
      })
      // Thousands of waiters make a look long: then there are few of them, whatever is told meanwhile.
      .then(() => this.#rest((performance.now() - beganAt) * REST))
      .finally(() => {
        this.#scan = undefined;
        if (!this.#scanAgain) return;
        this.#scanAgain = false;
        if (this.#followed.size > 0) this.#look();
      });
  }

  async #rest(ms: number): Promise<void> {
    if (ms < LEAST_REST_MS || this.#closing !== undefined) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeFromRest = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #scanOnce(): Promise<void> {
    const { database, tables } = await this.#open();
    const { showsInOrder } = tables;
    const news = showsInOrder ? await tables.newTaskIds(database, this.#position) : undefined;
    const wanted = new Set(news?.taskIds.filter((id) => this.#followed.has(id)));
    for (const [id, { seen, isFinal }] of this.#followed) {
      if (!isFinal && (seen !== undefined || !showsInOrder)) wanted.add(id);
    }
    const rows = wanted.size === 0 ? [] : await tables.load(database, [...wanted]);
    this.#position = Math.max(this.#position, news?.position ?? 0);
    for (const row of rows) {
      const followed = this.#followed.get(row.task_id);
      if (followed === undefined || !note(followed, row)) continue;
      const meta = fromRow(row, this.#codec, this.#logger);
      for (const listener of followed.listeners) {
        try {
          listener(meta);
        } catch (error) {
          this.#logger.error({ err: error, taskId: row.task_id }, 'A listener of results threw.');
        }
      }
    }
  }
}

/**
 * Where this process has its messages in the same database, the settlement of a message follows its result in one log: a
 * power loss that takes the result takes the settlement too, and the task runs again.
 */
function durabilityIn({ holdsMessages }: SqlDatabase): SqlTransactionOptions {
  return { durability: holdsMessages ? 'ordered' : 'synced' };
}

/** True when the row is news. */
function note(followed: Followed, row: TaskRow): boolean {
  if (followed.isFinal) return false;
  const isFinal = row.status === 'SUCCESS';
  const seen = isFinal
    ? 'SUCCESS'
    : `${row.status}\0${row.date_done}\0${Buffer.from(row.result ?? []).toString('latin1')}`;
  if (seen === followed.seen) return false;
  followed.seen = seen;
  followed.isFinal = isFinal;
  return true;
}

function checkId(id: string): void {
  if (!id.includes('\0')) return;
  throw new EncodeError(`The id ${JSON.stringify(id)} contains a NUL character, which no database keeps.`);
}
