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
import { readMysqlAddress } from './mysql/address.ts';
import { MysqlServer } from './mysql/server.ts';
import { readOracleAddress } from './oracle/address.ts';
import { OracleServer } from './oracle/server.ts';
import { readPostgresqlAddress } from './postgresql/address.ts';
import { PostgresqlServer } from './postgresql/server.ts';
import { ServerDatabase } from './server/server-database.ts';
import type { SqlServer } from './server/session.ts';
import type { SqliteDriver } from './sqlite/driver.ts';
import { SqliteDatabase } from './sqlite/sqlite-database.ts';
import { parseSqlUrl, type SqlDialect, type SqlUrl } from './url.ts';

export interface SqlOpenOptions {
  /**
   * SQLite. `full` (default): a committed publish survives a power loss. `normal`: it survives the death of any process
   * or of all, and the last moments before a power loss may be missing. The stricter opener of a file decides.
   */
  readonly synchronous?: 'full' | 'normal';
  /** How long a call waits for other processes before it rejects with `TimeoutError`. Default 10 000; at least 1. */
  readonly busyTimeoutMs?: number;
  /** Servers: TLS as Celery's `broker_use_ssl` says it, where the URL does not. */
  readonly useSsl?: boolean | Readonly<Record<string, unknown>>;
  /** Servers: how long opening may take. Default 4000. */
  readonly connectTimeoutMs?: number;
  /** Servers: one that is silent for two of them is lost; 0: never. Default 20. */
  readonly heartbeatSeconds?: number;
  /**
   * Servers: the longest time between two looks for what nobody told of. Default 1000 for PostgreSQL, which tells of what
   * Lovage commits; else 250.
   */
  readonly pollMs?: number;
  /** SQLite: forces one of the two clients. Default: `node:sqlite` where Node has it (22.13), else `libsql`. */
  readonly sqliteDriver?: SqliteDriver['name'];
  /** The opener keeps messages here: see `SqlDatabase.holdsMessages`. */
  readonly holdsMessages?: boolean;
  readonly logger?: Logger;
  /** Ends the waiting for a server; rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

interface Shared {
  readonly database: Promise<SharedDatabase>;
  handles: number;
}

type ServerUrl = SqlUrl & { readonly dialect: Exclude<SqlDialect, 'sqlite'> };
type SharedDatabase = SqliteDatabase | ServerDatabase;

/** Connections of this process by what they lead to. */
const open = new Map<string, Shared>();

/**
 * Opens the database of a `sqla+` or `db+` URL. Openers of one database in one process share its connection, so that a
 * transport and a result store commit together.
 *
 * Throws `ConfigError` for a URL or option that cannot be, `ConnectError` when the file or server cannot be opened or its
 * client is not installed, `AuthError`, and `UnsupportedError` for a server that is too old.
 */
export async function openSqlDatabase(url: BrokerUrl, options: SqlOpenOptions = {}): Promise<SqlDatabase> {
  const parsed = parseSqlUrl(url);
  const { dialect } = parsed;
  return dialect === 'sqlite' ? openSqlite(parsed, url, options) : openServer({ ...parsed, dialect }, url, options);
}

async function openSqlite(parsed: SqlUrl, url: BrokerUrl, options: SqlOpenOptions): Promise<SqlDatabase> {
  const path = sqlitePath(parsed, url);
  const synchronous = options.synchronous ?? 'full';
  const busyTimeoutMs = options.busyTimeoutMs ?? timeoutOf(parsed) ?? 10_000;
  // Kombu keeps its engines as well: a database in memory ends with its process, not with its last connection.
  const { database, release } = await share(path, path === ':memory:', () =>
    SqliteDatabase.open(path, {
      synchronous,
      busyTimeoutMs,
      logger: options.logger ?? silentLogger,
      ...(options.sqliteDriver === undefined ? {} : { driver: options.sqliteDriver }),
    }),
  );
  if (synchronous === 'full') database.requireSync();
  if (options.holdsMessages === true) database.holdsMessages = true;
  return new Handle(database, busyTimeoutMs, release);
}

async function openServer(parsed: ServerUrl, url: BrokerUrl, options: SqlOpenOptions): Promise<SqlDatabase> {
  const { dialect } = parsed;
  const { heartbeatSeconds = 20, connectTimeoutMs = 4000, busyTimeoutMs = 10_000, useSsl } = options;
  const pollMs = options.pollMs ?? (dialect === 'postgresql' ? 1000 : 250);
  const server = serverOf(parsed, url, busyTimeoutMs, heartbeatSeconds, useSsl);
  // What was in the URL before the database's name, and the Python driver, makes no difference.
  const place = url.raw.replace(/^[^:]*/, dialect);
  const key = JSON.stringify([place, heartbeatSeconds, busyTimeoutMs, useSsl ?? false]);
  const { database, release } = await share(
    key,
    false,
    () =>
      ServerDatabase.open(server, {
        dialect,
        busyTimeoutMs,
        connectTimeoutMs,
        heartbeatSeconds,
        pollMs,
        logger: options.logger ?? silentLogger,
      }),
    options.signal,
  );
  if (options.holdsMessages === true) database.holdsMessages = true;
  return new Handle(database, busyTimeoutMs, release);
}

function serverOf(
  parsed: ServerUrl,
  url: BrokerUrl,
  busyTimeoutMs: number,
  heartbeatSeconds: number,
  useSsl: SqlOpenOptions['useSsl'],
): SqlServer {
  switch (parsed.dialect) {
    case 'postgresql':
      return new PostgresqlServer(readPostgresqlAddress(parsed, url, useSsl), busyTimeoutMs);
    case 'mysql':
      return new MysqlServer(readMysqlAddress(parsed, url, useSsl), busyTimeoutMs, heartbeatSeconds);
    case 'oracle':
      return new OracleServer(readOracleAddress(parsed, url, useSsl), busyTimeoutMs);
  }
}

async function share<Database extends SharedDatabase>(
  key: string,
  isKept: boolean,
  start: () => Promise<Database>,
  signal?: AbortSignal,
): Promise<{ database: Database; release: () => Promise<void> }> {
  let shared = open.get(key);
  if (shared === undefined) {
    shared = { handles: 0, database: start() };
    open.set(key, shared);
  }
  const mine = shared;
  mine.handles++;
  const forget = (): void => {
    if (open.get(key) === mine) open.delete(key);
  };
  const release = async (): Promise<void> => {
    if (--mine.handles > 0 || isKept) return;
    forget();
    await (await mine.database).close();
  };
  try {
    // The key says which kind it is.
    const database = (await unlessAborted(mine.database, signal)) as Database;
    // A lost database is never handed out again: the next opener gets a new one.
    database.lost.catch(forget);
    return { database, release };
  } catch (error) {
    mine.handles--;
    // Others may still wait for it; nobody comes to those who were aborted.
    if (mine.handles === 0) {
      forget();
      mine.database.then(
        (database) => void database.close(),
        () => {},
      );
    }
    throw error;
  }
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** What one opener holds: its own deadline and its own end. */
class Handle implements SqlDatabase {
  readonly dialect: SqlDatabase['dialect'];
  readonly product: SqlDatabase['product'];
  readonly maxStatementBytes: number;
  readonly location: string;
  readonly lost: Promise<never>;
  readonly #database: SharedDatabase;
  readonly #deadlineMs: number;
  readonly #release: () => Promise<void>;
  readonly #listening = new Set<Listening>();
  readonly #pending = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  constructor(database: SharedDatabase, deadlineMs: number, release: () => Promise<void>) {
    this.#database = database;
    this.dialect = database.dialect;
    this.product = database.product;
    this.maxStatementBytes = database.maxStatementBytes;
    this.location = database.location;
    this.lost = database.lost;
    this.#deadlineMs = deadlineMs;
    this.#release = release;
  }

  now(): number {
    return this.#database.now();
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
