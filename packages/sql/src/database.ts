import type { SqlProduct } from './grammar.ts';
import type { SqlDialect } from './url.ts';

/** What can be bound to a parameter. Integers beyond 2^53 are `bigint`; text must not contain NUL. */
export type SqlValue = string | number | bigint | Uint8Array | null;

/** Columns by name. */
export type SqlRow = Readonly<Record<string, SqlValue>>;

/** An INSERT of many rows, or what a dialect has in its place: `into` + `row` is a statement for one of them. */
export interface InsertStatement {
  /** `INSERT INTO t (a, b) VALUES ` */
  readonly into: string;
  /** `(?, ?)` */
  readonly row: string;
  /** What follows the rows. */
  readonly after?: string;
}

/** Statements inside one transaction. Placeholders are `?` in every dialect, and never part of a text. */
export interface SqlTransaction {
  /** At most `maxRows` rows; with a locking SELECT of Oracle no more are locked. Others say it in the statement too. */
  query<Row extends SqlRow = SqlRow>(
    sql: string,
    parameters?: readonly SqlValue[],
    maxRows?: number,
  ): Promise<readonly Row[]>;
  /** Rows changed. */
  execute(sql: string, parameters?: readonly SqlValue[]): Promise<number>;
  /** In the order given, in as few round trips as the driver can. */
  insert(statement: InsertStatement, rows: readonly (readonly SqlValue[])[]): Promise<void>;
  /** Wakes the listeners of `topic` in this process once the transaction is committed. */
  signal(topic: string): void;
}

export interface SqlCallOptions {
  /** Ends the waiting for a turn; a transaction that has begun is finished. Rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** How long the call may wait for other processes. Default: the database's own, 10 s. */
  readonly deadlineMs?: number;
}

export interface SqlTransactionOptions extends SqlCallOptions {
  /**
   * `synced` (default): survives a power loss, unless the database was opened otherwise. `ordered`: survives the death of
   * every process; after a power loss it may be missing, and then so is everything that was committed after it.
   */
  readonly durability?: 'synced' | 'ordered';
}

/**
 * One database, shared by all who opened it in this process.
 *
 * Errors are Lovage's: `TimeoutError` when other processes held the database past the deadline, `BrokerBlockedError`
 * when the disk is full, `ConnectionLostError` when it broke, `ClosedError` after `close()`.
 */
export interface SqlDatabase extends AsyncDisposable {
  readonly dialect: SqlDialect;
  /** Which database answers there: a `mysql` URL may lead to MariaDB. */
  readonly product: SqlProduct;
  /** Most bytes of the values of one statement together; 0: no limit known. */
  readonly maxStatementBytes: number;
  /** For messages to people: the file, or host and database without the password. */
  readonly location: string;
  /** Rejects with `ConnectionLostError` when the database is gone for good: its file was replaced or removed. */
  readonly lost: Promise<never>;
  /** A transport of this process keeps its messages here too. */
  readonly holdsMessages: boolean;
  /** The clock that all users of the database share, in milliseconds since 1970: instants in tables are by it. */
  now(): number;
  /** One reading statement outside any transaction. */
  query<Row extends SqlRow = SqlRow>(
    sql: string,
    parameters?: readonly SqlValue[],
    options?: SqlCallOptions,
  ): Promise<readonly Row[]>;
  /**
   * Runs `work` in a transaction that writes. Resolves when it is committed.
   *
   * Calls of one turn of the event loop share one transaction. When one of them fails, all are rolled back and run
   * again one by one, so `work` may run more than once: it must keep nothing from an earlier run, and must await
   * nothing but its own statements.
   */
  transaction<T>(work: (transaction: SqlTransaction) => Promise<T>, options?: SqlTransactionOptions): Promise<T>;
  /**
   * Calls `listener` after each local commit that signalled `topic`, and, with `foreign` true, whenever another
   * process may have committed anything: told by the file (SQLite) or by the server (PostgreSQL, of what Lovage has
   * committed), and else asked for at intervals that grow while nothing happens. Never misses a change; may be called
   * without one. The listener must not throw.
   */
  listen(topic: string, listener: (foreign: boolean) => void, options?: ListenOptions): Listening;
  /** Finishes what was begun and lets go of the database; the last one closes it. Never rejects; twice is fine. */
  close(): Promise<void>;
}

export interface ListenOptions {
  /** Keeps the process running while it listens. Default false. */
  readonly keepAlive?: boolean;
}

export interface Listening {
  stop(): void;
}
