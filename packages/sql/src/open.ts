import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { type BrokerUrl, ClosedError, ConfigError, type Logger, silentLogger } from '@lovage/core/transport';
import type {
  Listening,
  ListenOptions,
  SqlCallOptions,
  SqlDatabase,
  SqlRow,
  SqlTransaction,
  SqlTransactionOptions,
  SqlValue,
} from './database.ts';
import type { SqliteDriver } from './sqlite/driver.ts';
import { SqliteDatabase } from './sqlite/sqlite-database.ts';
import { parseSqlUrl, type SqlUrl, unavailableDialect } from './url.ts';

export interface SqlOpenOptions {
  /**
   * SQLite. `full` (default): a committed publish survives a power loss. `normal`: it survives the death of any process
   * or of all, and the last moments before a power loss may be missing. The stricter opener of a file decides.
   */
  readonly synchronous?: 'full' | 'normal';
  /** How long a call waits for other processes before it rejects with `TimeoutError`. Default 10 000; at least 1. */
  readonly busyTimeoutMs?: number;
  /** SQLite: forces one of the two clients. Default: `node:sqlite` where Node has it (22.13), else `libsql`. */
  readonly sqliteDriver?: SqliteDriver['name'];
  /** The opener keeps messages here: see `SqlDatabase.holdsMessages`. */
  readonly holdsMessages?: boolean;
  readonly logger?: Logger;
}

interface Shared {
  readonly database: Promise<SqliteDatabase>;
  handles: number;
}

/** One connection per process and file; a database in memory is one per process, as Kombu has it. */
const open = new Map<string, Shared>();

/**
 * Opens the database of a `sqla+` or `db+` URL. Openers of one file in one process share its connection, so that a
 * transport and a result store commit together.
 *
 * Throws `ConfigError` for a URL or option that cannot be, `UnsupportedError` for databases other than SQLite,
 * `ConnectError` when the file cannot be opened.
 */
export async function openSqlDatabase(url: BrokerUrl, options: SqlOpenOptions = {}): Promise<SqlDatabase> {
  const parsed = parseSqlUrl(url);
  if (parsed.dialect !== 'sqlite') throw unavailableDialect(parsed.dialect, url);
  const path = sqlitePath(parsed, url);
  const synchronous = options.synchronous ?? 'full';
  const busyTimeoutMs = options.busyTimeoutMs ?? timeoutOf(parsed) ?? 10_000;
  let shared = open.get(path);
  if (shared === undefined) {
    shared = {
      handles: 0,
      database: SqliteDatabase.open(path, {
        synchronous,
        busyTimeoutMs,
        logger: options.logger ?? silentLogger,
        ...(options.sqliteDriver === undefined ? {} : { driver: options.sqliteDriver }),
      }),
    };
    open.set(path, shared);
  }
  shared.handles++;
  const release = async (): Promise<void> => {
    // Kombu keeps its engines as well: a database in memory ends with its process, not with its last connection.
    if (--shared.handles > 0 || path === ':memory:') return;
    if (open.get(path) === shared) open.delete(path);
    await (await shared.database).close();
  };
  let database: SqliteDatabase;
  try {
    database = await shared.database;
  } catch (error) {
    shared.handles--;
    if (open.get(path) === shared) open.delete(path);
    throw error;
  }
  if (synchronous === 'full') database.requireSync();
  if (options.holdsMessages === true) database.holdsMessages = true;
  // A lost database is never handed out again: the next opener gets the new file.
  database.lost.catch(() => {
    if (open.get(path) === shared) open.delete(path);
  });
  return new Handle(database, busyTimeoutMs, release);
}

/** What one opener holds: its own deadline and its own end. */
class Handle implements SqlDatabase {
  readonly dialect: SqlDatabase['dialect'];
  readonly location: string;
  readonly lost: Promise<never>;
  readonly #database: SqliteDatabase;
  readonly #deadlineMs: number;
  readonly #release: () => Promise<void>;
  readonly #listening = new Set<Listening>();
  readonly #pending = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  constructor(database: SqliteDatabase, deadlineMs: number, release: () => Promise<void>) {
    this.#database = database;
    this.dialect = database.dialect;
    this.location = database.location;
    this.lost = database.lost;
    this.#deadlineMs = deadlineMs;
    this.#release = release;
  }

  async query<Row extends SqlRow = SqlRow>(
    sql: string,
    parameters?: readonly SqlValue[],
    options?: SqlCallOptions,
  ): Promise<readonly Row[]> {
    this.#assertOpen();
    return this.#database.query<Row>(sql, parameters, { deadlineMs: this.#deadlineMs, ...options });
  }

  async transaction<T>(work: (transaction: SqlTransaction) => Promise<T>, options?: SqlTransactionOptions): Promise<T> {
    this.#assertOpen();
    const call = this.#database.transaction(work, { deadlineMs: this.#deadlineMs, ...options });
    this.#pending.add(call);
    try {
      return await call;
    } finally {
      this.#pending.delete(call);
    }
  }

  get holdsMessages(): boolean {
    return this.#database.holdsMessages;
  }

  listen(topic: string, listener: (foreign: boolean) => void, options?: ListenOptions): Listening {
    this.#assertOpen();
    const inner = this.#database.listen(topic, listener, options);
    const listening = {
      stop: () => {
        inner.stop();
        this.#listening.delete(listening);
      },
    };
    this.#listening.add(listening);
    return listening;
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      for (const listening of this.#listening) listening.stop();
      await Promise.allSettled(this.#pending);
      await this.#release();
    })();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new ClosedError(`The database "${this.location}" is closed.`);
  }
}

/** Arguments of Python's sqlite3.connect that change nothing here. */
const IGNORED_QUERY = new Set([
  'check_same_thread',
  'detect_types',
  'cached_statements',
  'isolation_level',
  'autocommit',
]);

function sqlitePath(parsed: SqlUrl, url: BrokerUrl): string {
  for (const key of Object.keys(parsed.query)) {
    if (key !== 'timeout' && !IGNORED_QUERY.has(key)) {
      throw new ConfigError(
        `The URL "${String(url)}" has the unknown option "${key}". Expected "timeout" in seconds${key === 'uri' || key === 'mode' ? '; "file:" URIs are not read' : ''}.`,
      );
    }
  }
  const { database } = parsed;
  if (database === '' || database === ':memory:') return ':memory:';
  if (database.includes('\0')) throw new ConfigError(`The file name in "${String(url)}" contains a NUL character.`);
  const path = resolve(database);
  try {
    return realpathSync(path);
  } catch {
    // A new file: two spellings of its folder must still meet in one connection.
    try {
      return join(realpathSync(dirname(path)), basename(path));
    } catch {
      return path;
    }
  }
}

function timeoutOf({ query }: SqlUrl): number | undefined {
  const { timeout } = query;
  if (timeout === undefined) return undefined;
  const seconds = Number(timeout);
  if (!(seconds > 0))
    throw new ConfigError(
      `The option "timeout" is ${JSON.stringify(timeout)}. Expected seconds, for example "timeout=20".`,
    );
  return seconds * 1000;
}
