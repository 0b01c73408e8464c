import { UnsupportedError } from '@lovage/core/transport';
import type { InsertStatement, SqlRow, SqlValue } from '../database.ts';
import { loadDriver } from '../server/driver-package.ts';
import type { ExplainedFailure, ServerFacts, SqlServer, SqlSession } from '../server/session.ts';
import type { OracleAddress } from './address.ts';
import { explainOracle } from './errors.ts';

interface OracleResult {
  readonly rows?: readonly Record<string, unknown>[];
  readonly rowsAffected?: number;
  readonly resultSet?: {
    getRows(count: number): Promise<readonly Record<string, unknown>[]>;
    close(): Promise<void>;
  };
}

/** What is used of `oracledb`, which is in thin mode unless it is told otherwise. */
export interface OracleConnection {
  readonly oracleServerVersion: number;
  readonly oracleServerVersionString: string;
  callTimeout: number;
  execute(sql: string, binds: readonly unknown[], options: Readonly<Record<string, unknown>>): Promise<OracleResult>;
  executeMany(
    sql: string,
    binds: readonly (readonly unknown[])[],
    options: Readonly<Record<string, unknown>>,
  ): Promise<unknown>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  ping(): Promise<void>;
  close(options?: { readonly drop: boolean }): Promise<void>;
  isHealthy(): boolean;
}

export interface OracleDriver {
  getConnection(options: Readonly<Record<string, unknown>>): Promise<OracleConnection>;
  readonly OUT_FORMAT_OBJECT: number;
  readonly DB_TYPE_VARCHAR: unknown;
  readonly DB_TYPE_NUMBER: unknown;
  readonly DB_TYPE_CLOB: unknown;
  readonly DB_TYPE_BLOB: unknown;
  readonly STRING: unknown;
  readonly BUFFER: unknown;
}

export class OracleServer implements SqlServer {
  readonly location: string;
  readonly clockSql: string =
    "SELECT ROUND((CAST(SYS_EXTRACT_UTC(SYSTIMESTAMP) AS DATE) - DATE '1970-01-01') * 86400) * 1000 + MOD(EXTRACT(SECOND FROM SYSTIMESTAMP), 1) * 1000 AS clock FROM DUAL";
  readonly #address: OracleAddress;
  readonly #callTimeoutMs: number;
  #driver: Promise<OracleDriver> | undefined;

  constructor(address: OracleAddress, callTimeoutMs: number) {
    this.#address = address;
    this.#callTimeoutMs = callTimeoutMs;
    this.location = `Oracle at ${address.connectString}`;
  }

  async connect(timeoutMs: number): Promise<SqlSession> {
    this.#driver ??= loadDriver<OracleDriver>('oracledb', this.location);
    const driver = await this.#driver;
    const { user, password, connectString, configDir, walletLocation, walletPassword, connectTimeoutMs } =
      this.#address;
    const connection = await driver.getConnection({
      user,
      password: password ?? '',
      connectString,
      ...(configDir === undefined ? {} : { configDir }),
      ...(walletLocation === undefined ? {} : { walletLocation }),
      ...(walletPassword === undefined ? {} : { walletPassword }),
      connectTimeout: (connectTimeoutMs ?? timeoutMs) / 1000,
      transportConnectTimeout: (connectTimeoutMs ?? timeoutMs) / 1000,
    });
    const session = new OracleSession(driver, connection);
    connection.callTimeout = this.#callTimeoutMs;
    return session;
  }

  async facts(session: SqlSession): Promise<ServerFacts> {
    const { oracleServerVersion, oracleServerVersionString } = (session as OracleSession).connection;
    if (oracleServerVersion < 1_202_000_000) {
      throw new UnsupportedError(
        `${this.location} is version ${oracleServerVersionString}. Expected Oracle Database 12.2 or newer.`,
      );
    }
    return { product: 'oracle', version: `Oracle ${oracleServerVersionString}`, maxStatementBytes: 0 };
  }

  /** What other sessions do is not for everybody to see; the call timeout ends a statement that takes too long. */
  async isBusy(): Promise<boolean> {
    return false;
  }

  explain(error: unknown): ExplainedFailure {
    return explainOracle(error, this.location);
  }
}

/** Beyond so many characters a text is bound as CLOB: VARCHAR2 ends at 4000 bytes. */
const LONG_TEXT = 1000;

export class OracleSession implements SqlSession {
  readonly ended: Promise<unknown>;
  readonly connection: OracleConnection;
  readonly #driver: OracleDriver;
  #end: (reason: unknown) => void = () => {};

  constructor(driver: OracleDriver, connection: OracleConnection) {
    this.#driver = driver;
    this.connection = connection;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  async query(sql: string, parameters: readonly SqlValue[], maxRows?: number): Promise<readonly SqlRow[]> {
    const options = {
      outFormat: this.#driver.OUT_FORMAT_OBJECT,
      fetchTypeHandler: ({ dbType }: { dbType: unknown }) => this.#fetched(dbType),
    };
    const { rows, resultSet } = await this.#do(() =>
      this.connection.execute(numbered(sql), this.#bound(parameters), {
        ...options,
        // A locking cursor locks what it fetches: neither it nor the driver may run ahead.
        ...(maxRows === undefined ? {} : { resultSet: true, prefetchRows: 0, fetchArraySize: maxRows }),
      }),
    );
    if (resultSet === undefined) return (rows ?? []).map(lowerCased);
    try {
      return (await this.#do(() => resultSet.getRows(maxRows as number))).map(lowerCased);
    } finally {
      await resultSet.close();
    }
  }

  async execute(sql: string, parameters: readonly SqlValue[]): Promise<number> {
    const { rowsAffected } = await this.#do(() =>
      this.connection.execute(numbered(sql), this.#bound(parameters), { autoCommit: false }),
    );
    return rowsAffected ?? 0;
  }

  async insert({ into, row, after = '' }: InsertStatement, rows: readonly (readonly SqlValue[])[]): Promise<void> {
    const [first] = rows;
    if (first === undefined) return;
    const bindDefs = first.map((_, column) => this.#typeOf(rows.map((values) => values[column] ?? null)));
    await this.#do(() =>
      this.connection.executeMany(
        numbered(`${into}${row}${after}`),
        rows.map((values) => values.map(toBuffer)),
        { autoCommit: false, bindDefs },
      ),
    );
  }

  ping(): Promise<void> {
    return this.#do(() => this.connection.ping());
  }

  /** A transaction begins with its first statement. */
  async begin(): Promise<void> {}

  commit(): Promise<void> {
    return this.#do(() => this.connection.commit());
  }

  rollback(): Promise<void> {
    return this.#do(() => this.connection.rollback());
  }

  async close(): Promise<void> {
    await this.connection.close().catch(() => {});
    this.#end(new Error('it was closed'));
  }

  destroy(): void {
    this.connection.close({ drop: true }).catch(() => {});
    this.#end(new Error('it was given up'));
  }

  /** The driver tells of a broken link only to those who ask. */
  async #do<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!this.connection.isHealthy()) this.#end(error);
      throw error;
    }
  }

  #fetched(dbType: unknown): { readonly type: unknown } | undefined {
    const { DB_TYPE_CLOB, DB_TYPE_BLOB, STRING, BUFFER } = this.#driver;
    if (dbType === DB_TYPE_BLOB) return { type: BUFFER };
    return dbType === DB_TYPE_CLOB ? { type: STRING } : undefined;
  }

  #bound(parameters: readonly SqlValue[]): readonly unknown[] {
    return parameters.map((value) => ({ val: toBuffer(value), type: this.#typeOf([value]).type }));
  }

  #typeOf(values: readonly SqlValue[]): { readonly type: unknown; readonly maxSize?: number } {
    const { DB_TYPE_NUMBER, DB_TYPE_BLOB, DB_TYPE_CLOB, DB_TYPE_VARCHAR } = this.#driver;
    if (values.some((value) => typeof value === 'number' || typeof value === 'bigint')) return { type: DB_TYPE_NUMBER };
    if (values.some((value) => value instanceof Uint8Array)) return { type: DB_TYPE_BLOB };
    const longest = Math.max(1, ...values.map((value) => (typeof value === 'string' ? value.length : 0)));
    return longest > LONG_TEXT ? { type: DB_TYPE_CLOB } : { type: DB_TYPE_VARCHAR, maxSize: longest * 4 };
  }
}

/** `?` as `:1`, `:2` and so on. */
function numbered(sql: string): string {
  let count = 0;
  return sql.replace(/\?/g, () => `:${++count}`);
}

function toBuffer(value: SqlValue): unknown {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value;
}

/** Names that were not quoted come in upper case. */
function lowerCased(row: Readonly<Record<string, unknown>>): SqlRow {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name.toLowerCase(), value as SqlValue]));
}
