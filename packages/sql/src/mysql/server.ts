import { UnsupportedError } from '@lovage/core/transport';
import type { InsertStatement, SqlRow, SqlValue } from '../database.ts';
import { loadDriver } from '../server/driver-package.ts';
import type { ExplainedFailure, ServerFacts, SqlServer, SqlSession } from '../server/session.ts';
import type { MysqlAddress } from './address.ts';
import { explainMysql } from './errors.ts';

interface MysqlOutcome {
  readonly affectedRows?: number;
}

/** What is used of `mysql2`. */
interface MysqlConnection {
  readonly threadId: number | null;
  query(
    sql: string,
    values: readonly unknown[],
    done: (error: unknown, outcome: readonly SqlRow[] | MysqlOutcome) => void,
  ): unknown;
  ping(done: (error: unknown) => void): void;
  end(done: (error: unknown) => void): void;
  destroy(): void;
  on(event: 'connect' | 'error' | 'end', listener: (error?: unknown) => void): unknown;
}

interface Mysql2 {
  readonly createConnection: (options: Readonly<Record<string, unknown>>) => MysqlConnection;
}

/** Room in a packet for what is no value. */
const STATEMENT_BYTES = 4096;

export class MysqlServer implements SqlServer {
  readonly location: string;
  readonly clockSql: string = 'SELECT CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED) AS clock';
  readonly #address: MysqlAddress;
  readonly #lockTimeoutMs: number;
  readonly #idleTimeoutSeconds: number | undefined;
  #mysql: Promise<Mysql2> | undefined;

  constructor(address: MysqlAddress, lockTimeoutMs: number, heartbeatSeconds: number) {
    this.#address = address;
    this.#lockTimeoutMs = lockTimeoutMs;
    // A session that says nothing for so long is dead, and what it has locked is to be free: it is asked far more often.
    this.#idleTimeoutSeconds = heartbeatSeconds > 0 ? 60 : undefined;
    const { host, port, socketPath, database } = address;
    this.location = `MySQL at ${socketPath ?? `${host}:${port}`}, database "${database}"`;
  }

  async connect(timeoutMs: number): Promise<SqlSession> {
    this.#mysql ??= loadDriver<Mysql2>('mysql2', this.location);
    const { createConnection } = await this.#mysql;
    const { host, port, socketPath, user, password, database, tls, connectTimeoutMs } = this.#address;
    const connection = createConnection({
      ...(socketPath === undefined ? { host, port } : { socketPath }),
      user,
      password: password ?? '',
      database,
      ...(tls === undefined ? {} : { ssl: tls }),
      charset: 'utf8mb4',
      connectTimeout: connectTimeoutMs ?? timeoutMs,
      dateStrings: true,
      supportBigNumbers: true,
      // Rows changed as the statement says, not rows that became different.
      flags: ['FOUND_ROWS'],
    });
    const session = new MysqlSession(connection);
    try {
      await session.connected;
      // Placeholders are filled in by the driver, which escapes as MySQL does by default. What is too long for a column
      // has to be an error.
      await session.execute(
        "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE'",
        [],
      );
      await session.execute(`SET SESSION innodb_lock_wait_timeout = ${Math.ceil(this.#lockTimeoutMs / 1000)}`, []);
      await session.execute('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED', []);
      if (this.#idleTimeoutSeconds !== undefined)
        await session.execute(`SET SESSION wait_timeout = ${this.#idleTimeoutSeconds}`, []);
      return session;
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  async facts(session: SqlSession): Promise<ServerFacts> {
    const [row] = await session.query('SELECT VERSION() AS version, @@max_allowed_packet AS packet', []);
    const { version, packet } = row as { version: string; packet: number };
    const isMariadb = /mariadb/i.test(version);
    const [major = 0, minor = 0, patch = 0] = (/(\d+)\.(\d+)\.(\d+)/.exec(version) ?? []).slice(1).map(Number);
    const [least, name] = isMariadb ? [[10, 6, 0] as const, 'MariaDB'] : [[8, 0, 1] as const, 'MySQL'];
    if (major < least[0] || (major === least[0] && (minor < least[1] || (minor === least[1] && patch < least[2])))) {
      throw new UnsupportedError(
        `${this.location} is ${name} ${version}. Expected MySQL 8.0.1 or newer, or MariaDB 10.6 or newer: older ones have no SKIP LOCKED.`,
      );
    }
    return {
      product: isMariadb ? 'mariadb' : 'mysql',
      version: `${name} ${version}`,
      // Escaping doubles a text of quotes, and bytes are written as hexadecimal digits.
      maxStatementBytes: Math.floor((packet - STATEMENT_BYTES) / 2),
    };
  }

  async isBusy(session: SqlSession, asking: SqlSession): Promise<boolean> {
    const rows = await asking.query(
      "SELECT 1 AS busy FROM information_schema.PROCESSLIST WHERE ID = ? AND COMMAND <> 'Sleep'",
      [(session as MysqlSession).threadId],
    );
    return rows.length > 0;
  }

  explain(error: unknown): ExplainedFailure {
    return explainMysql(error, this.location);
  }
}

class MysqlSession implements SqlSession {
  readonly connected: Promise<void>;
  readonly ended: Promise<unknown>;
  readonly #connection: MysqlConnection;
  #isOver = false;

  constructor(connection: MysqlConnection) {
    this.#connection = connection;
    this.connected = new Promise((resolve, reject) => {
      connection.on('connect', () => resolve());
      connection.on('error', reject);
    });
    this.ended = new Promise((resolve) => {
      connection.on('error', resolve);
      connection.on('end', () => resolve(new Error('the server closed it')));
    });
    void this.ended.then(() => {
      this.#isOver = true;
    });
  }

  get threadId(): number {
    return this.#connection.threadId ?? 0;
  }

  async query(sql: string, parameters: readonly SqlValue[]): Promise<readonly SqlRow[]> {
    return (await this.#run(sql, parameters)) as readonly SqlRow[];
  }

  async execute(sql: string, parameters: readonly SqlValue[]): Promise<number> {
    return ((await this.#run(sql, parameters)) as MysqlOutcome).affectedRows ?? 0;
  }

  async insert({ into, row, after = '' }: InsertStatement, rows: readonly (readonly SqlValue[])[]): Promise<void> {
    if (rows.length === 0) return;
    await this.#run(`${into}${rows.map(() => row).join(', ')}${after}`, rows.flat());
  }

  ping(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#connection.ping((error) => (error ? reject(error) : resolve()));
    });
  }

  async begin(): Promise<void> {
    // Not awaited: what follows waits behind it, and only a broken link makes it fail.
    this.#run('START TRANSACTION', []).catch(() => {});
  }

  async commit(): Promise<void> {
    await this.#run('COMMIT', []);
  }

  async rollback(): Promise<void> {
    await this.#run('ROLLBACK', []);
  }

  async close(): Promise<void> {
    if (!this.#isOver) await new Promise<void>((resolve) => this.#connection.end(() => resolve()));
  }

  destroy(): void {
    this.#connection.destroy();
  }

  #run(sql: string, parameters: readonly SqlValue[]): Promise<readonly SqlRow[] | MysqlOutcome> {
    const values = parameters.map((value) =>
      value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value,
    );
    return new Promise((resolve, reject) => {
      this.#connection.query(sql, values, (error, outcome) => (error ? reject(error) : resolve(outcome)));
    });
  }
}
