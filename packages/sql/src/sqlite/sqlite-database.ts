import { closeSync, openSync, statSync } from 'node:fs';
import { ClosedError, ConnectionLostError, type Logger, type LovageError } from '@lovage/core/transport';
import type {
  InsertStatement,
  Listening,
  ListenOptions,
  SqlCallOptions,
  SqlDatabase,
  SqlRow,
  SqlTransaction,
  SqlTransactionOptions,
  SqlValue,
} from '../database.ts';
import { type Call, JoinedCalls } from '../joined-calls.ts';
import { openSqliteDriver, SQLITE, type SqliteDriver, SqliteFailure } from './driver.ts';
import { isBusy, isFatal, toLovageError } from './errors.ts';
import { FileWatch } from './file-watch.ts';

export interface SqliteOptions {
  /**
   * `full`: what was committed survives a power loss. `normal`: it survives the death of every process, and the last
   * moments before a power loss may be missing; about eight times cheaper per commit. The database is never damaged.
   */
  readonly synchronous: 'full' | 'normal';
  /** How long a call waits for other processes. */
  readonly busyTimeoutMs: number;
  readonly driver?: SqliteDriver['name'];
  readonly logger: Logger;
}

/** Beyond this the log is copied into the file: often enough to stay small, seldom enough to be cheap. Pages of 4 KiB. */
const CHECKPOINT_PAGES = 4000;
/** Waiting for another writer: first at every turn of the loop (a commit takes about that long), then by timers. */
const SPIN_MS = 3;
const LONGEST_WAIT_MS = 25;
const IDENTITY_CHECK_MS = 1000;

/**
 * The one connection of this process to a file. Writers of all processes take turns by `BEGIN IMMEDIATE`; no call
 * blocks the event loop while another process writes.
 */
export class SqliteDatabase implements SqlDatabase {
  readonly dialect = 'sqlite';
  readonly product = 'sqlite';
  readonly maxStatementBytes = 0;
  readonly location: string;
  readonly lost: Promise<never>;
  readonly #path: string;
  readonly #inMemory: boolean;
  readonly #driver: SqliteDriver;
  readonly #options: SqliteOptions;
  readonly #listeners = new Map<string, Set<(foreign: boolean) => void>>();
  #reportLoss: (error: LovageError) => void = () => {};
  #loss: LovageError | undefined;
  readonly #calls = new JoinedCalls(() => this.#flush());
  #inTransaction = false;
  #watch: FileWatch | undefined;
  #keepAlive = 0;
  #dataVersion: SqlValue = null;
  #identity: string | undefined;
  #identityCheckedAt = 0;
  /** `synchronous` of the strictest opener. */
  #syncs: boolean;
  /** As the connection stands. */
  #isSynced = false;
  holdsMessages = false;
  #closing: Promise<void> | undefined;

  private constructor(path: string, options: SqliteOptions) {
    this.#path = path;
    this.#inMemory = path === ':memory:';
    this.location = path;
    this.#options = options;
    this.#syncs = options.synchronous === 'full';
    this.lost = new Promise<never>((_, reject) => {
      this.#reportLoss = reject;
    });
    this.lost.catch(() => {});
    if (!this.#inMemory) createPrivately(path);
    this.#driver = openSqliteDriver(path, options.driver);
  }

  /** Opens or creates the file (mode 0600) and switches it to write-ahead logging. */
  static async open(path: string, options: SqliteOptions): Promise<SqliteDatabase> {
    let database: SqliteDatabase | undefined;
    try {
      database = new SqliteDatabase(path, options);
      await database.#prepare();
      return database;
    } catch (error) {
      if (database !== undefined) database.#driver.close();
      throw toLovageError(error, path);
    }
  }

  async #prepare(): Promise<void> {
    const deadline = Date.now() + this.#options.busyTimeoutMs;
    if (!this.#inMemory) {
      const [mode] = await this.#patiently(() => this.#driver.all('PRAGMA journal_mode=WAL', []), deadline, undefined);
      if (mode?.['journal_mode'] !== 'wal') {
        this.#options.logger.warn(
          { location: this.location, journalMode: mode?.['journal_mode'] },
          'This file system allows no write-ahead logging: readers and writers will wait for each other.',
        );
      }
      this.#identity = identityOf(this.#path);
    }
    this.#driver.all('PRAGMA synchronous=NORMAL', []);
    this.#driver.all(`PRAGMA wal_autocheckpoint=${CHECKPOINT_PAGES}`, []);
    this.#driver.all('PRAGMA temp_store=MEMORY', []);
    this.#driver.all('PRAGMA cache_size=-16000', []);
  }

  /** All users are on this machine. */
  now(): number {
    return Date.now();
  }

  /** The stricter of all openers decides. */
  requireSync(): void {
    this.#syncs = true;
  }

  async query<Row extends SqlRow = SqlRow>(
    sql: string,
    parameters: readonly SqlValue[] = [],
    options: SqlCallOptions = {},
  ): Promise<readonly Row[]> {
    this.#assertUsable();
    const deadline = Date.now() + (options.deadlineMs ?? this.#options.busyTimeoutMs);
    try {
      return (await this.#patiently(
        () => this.#driver.all(sql, parameters),
        deadline,
        options.signal,
      )) as readonly Row[];
    } catch (error) {
      throw toLovageError(error, this.location);
    }
  }

  async transaction<T>(
    work: (transaction: SqlTransaction) => Promise<T>,
    options: SqlTransactionOptions = {},
  ): Promise<T> {
    this.#assertUsable();
    const { busyTimeoutMs } = this.#options;
    return this.#calls.add(work, options, { busyTimeoutMs, explain: (error) => toLovageError(error, this.location) });
  }

  listen(topic: string, listener: (foreign: boolean) => void, options: ListenOptions = {}): Listening {
    this.#assertUsable();
    // Each registration is its own, even of one function.
    const registered = (foreign: boolean): void => listener(foreign);
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(registered));
    if (!this.#inMemory && this.#watch === undefined) this.#startWatching();
    if (options.keepAlive === true) this.#watch?.setKeepAlive(++this.#keepAlive > 0);
    let stopped = false;
    return {
      stop: () => {
        if (stopped) return;
        stopped = true;
        if (options.keepAlive === true) this.#watch?.setKeepAlive(--this.#keepAlive > 0);
        listeners.delete(registered);
        if (listeners.size > 0) return;
        this.#listeners.delete(topic);
        if (this.#listeners.size > 0) return;
        this.#watch?.close();
        this.#watch = undefined;
      },
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.#calls.idle();
    this.#watch?.close();
    this.#watch = undefined;
    this.#listeners.clear();
    try {
      this.#driver.close();
    } catch (error) {
      this.#options.logger.warn({ err: error, location: this.location }, 'The database did not close cleanly.');
    }
  }

  #assertUsable(): void {
    if (this.#closing !== undefined) throw new ClosedError(`The database "${this.location}" is closed.`);
    if (this.#loss !== undefined) throw this.#loss;
  }

  async #flush(): Promise<void> {
    this.#checkIdentity(IDENTITY_CHECK_MS);
    // Calls join until the lock is ours; each keeps its own deadline meanwhile.
    if (!(await this.#begin(this.#calls.waiting))) return;
    const calls = this.#calls.take();
    const error = await this.#attempt(calls);
    if (error === undefined) return;
    if (calls.length === 1 || isFatal(error)) {
      for (const call of calls) call.fail(error);
      return;
    }
    for (const call of calls) {
      if (!(await this.#begin([call]))) continue;
      const ownError = await this.#attempt([call]);
      if (ownError !== undefined) call.fail(ownError);
    }
  }

  /**
   * True once the write lock is held. Takes calls out of the list that are aborted or too late; false when none is left.
   * Never rejects.
   */
  async #begin(calls: Call[]): Promise<boolean> {
    const since = Date.now();
    for (let attempt = 0; ; attempt++) {
      refuse(calls, (call) => call.signal?.aborted === true);
      if (this.#loss !== undefined) refuse(calls, () => true, this.#loss);
      if (calls.length === 0) return false;
      try {
        this.#setSynced(this.#syncs && calls.some(({ isSynced }) => isSynced));
        this.#driver.run('BEGIN IMMEDIATE', []);
        this.#inTransaction = true;
        return true;
      } catch (error) {
        const now = Date.now();
        const busy = isBusy(error);
        refuse(calls, (call) => !busy || call.deadline <= now, error);
        await pause(now - since, attempt);
      }
    }
  }

  /** Runs the calls in the open transaction and commits; gives the error after a rollback. Never rejects. */
  async #attempt(calls: readonly Call[]): Promise<unknown> {
    const topics = new Set<string>();
    const transaction = new OpenTransaction(this.#driver, topics);
    try {
      for (const call of calls) await call.run(transaction);
      this.#driver.run('COMMIT', []);
    } catch (error) {
      try {
        this.#driver.run('ROLLBACK', []);
      } catch {
        // SQLite has rolled back by itself: it does so when the disk is full or fails.
      }
      return error ?? new Error('The work of a transaction failed without a reason.');
    } finally {
      transaction.ended = true;
      this.#inTransaction = false;
    }
    for (const call of calls) call.commit();
    for (const topic of topics) this.#notify(topic, false);
    return undefined;
  }

  /** Only outside of transactions. With the write-ahead log, NORMAL leaves out nothing but the sync of each commit. */
  #setSynced(isSynced: boolean): void {
    if (isSynced === this.#isSynced) return;
    this.#driver.all(isSynced ? 'PRAGMA synchronous=FULL' : 'PRAGMA synchronous=NORMAL', []);
    this.#isSynced = isSynced;
  }

  async #patiently<T>(step: () => T, deadline: number, signal: AbortSignal | undefined): Promise<T> {
    const since = Date.now();
    for (let attempt = 0; ; attempt++) {
      // A statement now would read, or write, inside somebody's transaction.
      while (this.#inTransaction) await this.#calls.running;
      try {
        return step();
      } catch (error) {
        if (!isBusy(error) || Date.now() >= deadline) throw error;
        signal?.throwIfAborted();
        await pause(Date.now() - since, attempt);
      }
    }
  }

  #startWatching(): void {
    this.#dataVersion = this.#readDataVersion();
    this.#watch = new FileWatch({
      path: `${this.#path}-wal`,
      check: () => {
        if (this.#inTransaction) return;
        const version = this.#readDataVersion();
        if (version === this.#dataVersion) return;
        this.#dataVersion = version;
        for (const topic of this.#listeners.keys()) this.#notify(topic, true);
      },
      checkIdentity: () => this.#checkIdentity(0),
    });
  }

  /** Writing on into a file that nobody else can open any more would lose messages without a word. */
  #checkIdentity(notWithinMs: number): void {
    const now = Date.now();
    if (this.#inMemory || this.#loss !== undefined || now - this.#identityCheckedAt < notWithinMs) return;
    this.#identityCheckedAt = now;
    if (identityOf(this.#path) === this.#identity) return;
    this.#loss = new ConnectionLostError(
      `The database file "${this.#path}" was replaced or removed while it was open. What is written to the old one is lost.`,
      { facts: { location: this.location } },
    );
    this.#reportLoss(this.#loss);
  }

  /** Changes when another connection has committed. Source: https://www.sqlite.org/pragma.html#pragma_data_version. */
  #readDataVersion(): SqlValue {
    try {
      return this.#driver.all('PRAGMA data_version', [])[0]?.['data_version'] ?? null;
    } catch {
      // Busy for now: reads as changed next time, which only costs a look.
      return null;
    }
  }

  #notify(topic: string, foreign: boolean): void {
    for (const listener of this.#listeners.get(topic) ?? []) listener(foreign);
  }
}

class OpenTransaction implements SqlTransaction {
  ended = false;
  readonly #driver: SqliteDriver;
  readonly #topics: Set<string>;

  constructor(driver: SqliteDriver, topics: Set<string>) {
    this.#driver = driver;
    this.#topics = topics;
  }

  async query<Row extends SqlRow = SqlRow>(sql: string, parameters: readonly SqlValue[] = []): Promise<readonly Row[]> {
    this.#assertOpen();
    return this.#driver.all(sql, parameters) as readonly Row[];
  }

  async execute(sql: string, parameters: readonly SqlValue[] = []): Promise<number> {
    this.#assertOpen();
    return this.#driver.run(sql, parameters);
  }

  async insert({ into, row, after = '' }: InsertStatement, rows: readonly (readonly SqlValue[])[]): Promise<void> {
    for (const values of rows) await this.execute(`${into}${row}${after}`, values);
  }

  signal(topic: string): void {
    this.#topics.add(topic);
  }

  #assertOpen(): void {
    if (this.ended) throw new ClosedError('The transaction has ended. Its work must await every statement.');
  }
}

/** Takes the calls out of the list that `which` names, and rejects them. */
function refuse(calls: Call[], which: (call: Call) => boolean, error?: unknown): void {
  for (let index = calls.length - 1; index >= 0; index--) {
    const call = calls[index] as Call;
    if (!which(call)) continue;
    calls.splice(index, 1);
    call.fail(error ?? call.signal?.reason);
  }
}

function pause(waitedMs: number, attempt: number): Promise<void> {
  if (waitedMs < SPIN_MS) return new Promise((resolve) => setImmediate(resolve));
  // Jitter keeps two waiting processes from meeting again.
  const waitMs = Math.min(LONGEST_WAIT_MS, 1 + attempt / 8) * (0.5 + Math.random());
  return new Promise((resolve) => setTimeout(resolve, waitMs));
}

/** SQLite would create it readable by everybody; `-wal` and `-shm` take the rights of the file. */
function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    throw new SqliteFailure(code === 'EACCES' || code === 'EROFS' ? SQLITE.READONLY : SQLITE.CANTOPEN, error);
  }
}

function identityOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}
