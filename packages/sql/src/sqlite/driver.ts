import { createRequire } from 'node:module';
import { ConnectError } from '@lovage/core/transport';
import type { SqlRow, SqlValue } from '../database.ts';

/** One open SQLite file, synchronous; nothing here waits for a lock. */
export interface SqliteDriver {
  readonly name: 'node:sqlite' | 'libsql';
  all(sql: string, parameters: readonly SqlValue[]): readonly SqlRow[];
  /** Rows changed. */
  run(sql: string, parameters: readonly SqlValue[]): number;
  close(): void;
}

/** What SQLite said, whichever driver said it. `code` is the primary result code: 5 is SQLITE_BUSY. */
export class SqliteFailure extends Error {
  readonly code: number;
  constructor(code: number, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.code = code;
  }
}

/** Primary result codes. Source: https://www.sqlite.org/rescode.html. */
export const SQLITE = {
  ERROR: 1,
  PERM: 3,
  BUSY: 5,
  LOCKED: 6,
  READONLY: 8,
  IOERR: 10,
  CORRUPT: 11,
  FULL: 13,
  CANTOPEN: 14,
  TOOBIG: 18,
  CONSTRAINT: 19,
  NOTADB: 26,
} as const;

type Bindable = string | number | bigint | Uint8Array | null;

interface Statement {
  all(...parameters: unknown[]): readonly Record<string, unknown>[];
  run(...parameters: unknown[]): { readonly changes: number | bigint };
}

interface Client {
  prepare(sql: string): Statement;
  close(): void;
}

/**
 * Opens a file (or `:memory:`) with `node:sqlite` where Node has it, else with `libsql`, whose prebuilt binaries come
 * with the registry's packages. `prefer` forces one of them.
 */
export function openSqliteDriver(path: string, prefer?: SqliteDriver['name']): SqliteDriver {
  const builtin = prefer === 'libsql' ? undefined : loadBuiltin();
  if (builtin !== undefined) {
    return new ClientDriver(
      'node:sqlite',
      open(() => new builtin.DatabaseSync(path, { timeout: 0 })),
    );
  }
  if (prefer === 'node:sqlite')
    throw new ConnectError(`Node ${process.version} has no "node:sqlite". Expected 22.13 or newer.`);
  const Libsql = loadLibsql();
  return new ClientDriver(
    'libsql',
    open(() => new Libsql(path, { timeout: 0 })),
  );
}

/** Node emits its experimental warning when the module is first asked for, so only then. */
function loadBuiltin(): { DatabaseSync: new (path: string, options: { timeout: number }) => Client } | undefined {
  const load = (process as { getBuiltinModule?: (id: string) => unknown }).getBuiltinModule;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  // 22.5 to 22.12 have it behind a flag, without the busy timeout option.
  if (load === undefined || major < 22 || (major === 22 && minor < 13)) return undefined;
  return load('node:sqlite') as ReturnType<typeof loadBuiltin>;
}

function loadLibsql(): new (path: string, options: { timeout: number }) => Client {
  try {
    return createRequire(import.meta.url)('libsql') as ReturnType<typeof loadLibsql>;
  } catch (cause) {
    throw new ConnectError(
      `SQLite cannot be loaded: "libsql" has no binary for ${process.platform} ${process.arch}. Use Node 22.13 or newer, which has SQLite built in, or install without "--omit=optional".`,
      { cause, retryable: false },
    );
  }
}

function open<T>(start: () => T): T {
  try {
    return start();
  } catch (cause) {
    throw failure(cause, SQLITE.CANTOPEN);
  }
}

class ClientDriver implements SqliteDriver {
  readonly name: SqliteDriver['name'];
  readonly #client: Client;
  readonly #spread: boolean;
  readonly #statements = new Map<string, Statement>();

  constructor(name: SqliteDriver['name'], client: Client) {
    this.name = name;
    this.#client = client;
    this.#spread = name === 'node:sqlite';
  }

  all(sql: string, parameters: readonly SqlValue[]): readonly SqlRow[] {
    try {
      const statement = this.#statement(sql);
      const bound = parameters.map(toBindable);
      return (this.#spread ? statement.all(...bound) : viewBlobs(statement.all(bound))) as readonly SqlRow[];
    } catch (cause) {
      throw failure(cause);
    }
  }

  run(sql: string, parameters: readonly SqlValue[]): number {
    try {
      const statement = this.#statement(sql);
      const bound = parameters.map(toBindable);
      return Number((this.#spread ? statement.run(...bound) : statement.run(bound)).changes);
    } catch (cause) {
      throw failure(cause);
    }
  }

  close(): void {
    this.#statements.clear();
    this.#client.close();
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#client.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

/** `node:sqlite` binds an empty array without memory of its own as NULL. */
const EMPTY = Buffer.alloc(1).subarray(0, 0);

/**
 * Both clients bind a number as REAL, which a column without integer affinity would keep as `1.0`. A boolean would
 * abort the whole process inside libsql, so nothing but the declared types passes.
 */
function toBindable(value: SqlValue): Bindable {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof value === 'string' || typeof value === 'bigint' || value === null) return value;
  if (value instanceof Uint8Array && value.byteLength === 0) return EMPTY;
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError(`A value of type ${typeof value} cannot be bound to a SQL parameter.`);
}

/** libsql gives a BLOB as an `ArrayBuffer`. */
function viewBlobs(rows: readonly Record<string, unknown>[]): readonly Record<string, unknown>[] {
  for (const row of rows) {
    for (const column in row) {
      const value = row[column];
      if (value instanceof ArrayBuffer) row[column] = new Uint8Array(value);
    }
  }
  return rows;
}

function failure(cause: unknown, fallback?: number): unknown {
  const { rawCode, errcode } = cause as { rawCode?: unknown; errcode?: unknown };
  const code = typeof rawCode === 'number' ? rawCode : typeof errcode === 'number' ? errcode : fallback;
  return code === undefined ? cause : new SqliteFailure(code & 0xff, cause);
}
