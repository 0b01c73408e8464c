import type { ConnectionOptions } from 'node:tls';
import { PreconditionFailedError, UnsupportedError } from '@lovage/core/transport';
import type { InsertStatement, SqlRow, SqlValue } from '../database.ts';
import { loadDriver } from '../server/driver-package.ts';
import type { ExplainedFailure, ServerFacts, SqlBell, SqlServer, SqlSession } from '../server/session.ts';
import type { PostgresqlAddress } from './address.ts';
import { explainPostgresql } from './errors.ts';

/** The channel of all rings; the payload is the topic. */
const CHANNEL = 'lovage';

interface PgResult {
  readonly rows: SqlRow[];
  readonly rowCount: number | null;
  readonly command: string;
}

/** What is used of `pg`. */
interface PgClient {
  readonly processID: number;
  connect(): Promise<unknown>;
  query(query: { text: string; values?: readonly unknown[] }): Promise<PgResult>;
  end(): Promise<void>;
  on(event: 'error' | 'end', listener: (error?: unknown) => void): unknown;
  on(
    event: 'notification',
    listener: (message: { channel: string; payload?: string; processId: number }) => void,
  ): unknown;
  readonly connection: { readonly stream: { destroy(): void } };
}

interface Pg {
  readonly Client: new (options: Readonly<Record<string, unknown>>) => PgClient;
}

export class PostgresqlServer implements SqlServer {
  readonly location: string;
  readonly clockSql: string = 'SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) AS clock';
  readonly bell: SqlBell;
  readonly #address: PostgresqlAddress;
  readonly #lockTimeoutMs: number;
  #pg: Promise<Pg> | undefined;
  #isPlain = false;

  constructor(address: PostgresqlAddress, lockTimeoutMs: number) {
    this.#address = address;
    this.#lockTimeoutMs = lockTimeoutMs;
    const { host, port, database } = address;
    this.location = `PostgreSQL at ${host}:${port}, database "${database}"`;
    this.bell = {
      subscribe: async (session, listener) => (session as PgSession).listen(listener),
      ring: async (session, topic) => void (await session.query('SELECT pg_notify(?, ?)', [CHANNEL, topic])),
    };
  }

  async connect(timeoutMs: number): Promise<SqlSession> {
    this.#pg ??= loadDriver<Pg>('pg', this.location);
    const pg = await this.#pg;
    const { tls, mayBePlain } = this.#address;
    if (tls === undefined || this.#isPlain) return this.#connect(pg, undefined, timeoutMs);
    try {
      return await this.#connect(pg, tls, timeoutMs);
    } catch (error) {
      const { code } = error as { code?: unknown };
      // The server refused TLS, which the driver reports without any code.
      if (!mayBePlain || code !== undefined) throw error;
      const session = await this.#connect(pg, undefined, timeoutMs);
      this.#isPlain = true;
      return session;
    }
  }

  async #connect(pg: Pg, ssl: ConnectionOptions | undefined, timeoutMs: number): Promise<SqlSession> {
    const { host, port, user, password, database, applicationName, options, connectTimeoutMs } = this.#address;
    const client = new pg.Client({
      host,
      port,
      user,
      // An empty text is not looked up anywhere else.
      password: password ?? process.env['PGPASSWORD'] ?? '',
      database,
      ssl: ssl ?? false,
      application_name: applicationName,
      ...(options === undefined ? {} : { options }),
      connectionTimeoutMillis: connectTimeoutMs ?? timeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      pipeline: true,
      types: { getTypeParser: typeParser },
    });
    const session = new PgSession(client);
    try {
      await client.connect();
      // A process that froze within a transaction must not hold its locks for long.
      await session.query(
        `SELECT set_config('lock_timeout', ?, false), set_config('idle_in_transaction_session_timeout', '60s', false), set_config('default_transaction_isolation', 'read committed', false)`,
        [`${Math.ceil(this.#lockTimeoutMs)}ms`],
      );
      return session;
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  async facts(session: SqlSession): Promise<ServerFacts> {
    const [row] = await session.query(
      `SELECT current_setting('server_version') AS version, CAST(current_setting('server_version_num') AS int) AS number`,
      [],
    );
    const { version, number } = row as { version: string; number: number };
    if (number < 100_000) {
      throw new UnsupportedError(`${this.location} is version ${version}. Expected PostgreSQL 10 or newer.`);
    }
    return { product: 'postgresql', version: `PostgreSQL ${version}`, maxStatementBytes: 0 };
  }

  async isBusy(session: SqlSession, asking: SqlSession): Promise<boolean> {
    const rows = await asking.query(
      `SELECT 1 AS busy FROM pg_catalog.pg_stat_activity WHERE pid = ? AND state = 'active' AND wait_event_type IS DISTINCT FROM 'Client'`,
      [(session as PgSession).processId],
    );
    return rows.length > 0;
  }

  explain(error: unknown): ExplainedFailure {
    return explainPostgresql(error, this.location);
  }
}

class PgSession implements SqlSession {
  readonly ended: Promise<unknown>;
  readonly #client: PgClient;
  #isOver = false;

  constructor(client: PgClient) {
    this.#client = client;
    this.ended = new Promise((resolve) => {
      client.on('error', resolve);
      client.on('end', () => resolve(new Error('the server closed it')));
    });
    void this.ended.then(() => {
      this.#isOver = true;
    });
  }

  get processId(): number {
    return this.#client.processID;
  }

  async query(sql: string, parameters: readonly SqlValue[]): Promise<readonly SqlRow[]> {
    return (await this.#run(sql, parameters)).rows;
  }

  async execute(sql: string, parameters: readonly SqlValue[]): Promise<number> {
    return (await this.#run(sql, parameters)).rowCount ?? 0;
  }

  async insert({ into, row, after = '' }: InsertStatement, rows: readonly (readonly SqlValue[])[]): Promise<void> {
    if (rows.length === 0) return;
    await this.#run(`${into}${rows.map(() => row).join(', ')}${after}`, rows.flat());
  }

  async ping(): Promise<void> {
    await this.#client.query({ text: 'SELECT 1' });
  }

  async begin(): Promise<void> {
    // Not awaited: what follows is on its way behind it, and only a broken link makes it fail.
    this.#client.query({ text: 'BEGIN' }).catch(() => {});
  }

  async commit(): Promise<void> {
    // A transaction in which a statement has failed is rolled back by its COMMIT, without an error.
    const { command } = await this.#client.query({ text: 'COMMIT' });
    if (command !== 'COMMIT')
      throw new PreconditionFailedError('The transaction was rolled back: a statement in it had failed.');
  }

  async rollback(): Promise<void> {
    await this.#client.query({ text: 'ROLLBACK' });
  }

  async listen(listener: (topic: string) => void): Promise<void> {
    this.#client.on('notification', ({ channel, payload, processId }) => {
      // Who rings knows already.
      if (channel === CHANNEL && processId !== this.#client.processID) listener(payload ?? '');
    });
    await this.#client.query({ text: `LISTEN ${CHANNEL}` });
  }

  async close(): Promise<void> {
    if (!this.#isOver) await this.#client.end().catch(() => {});
  }

  destroy(): void {
    this.#client.connection.stream.destroy();
  }

  #run(sql: string, parameters: readonly SqlValue[]): Promise<PgResult> {
    return this.#client.query({
      text: numbered(sql),
      values: parameters.map((value) =>
        value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value,
      ),
    });
  }
}

/** `?` as `$1`, `$2` and so on. */
function numbered(sql: string): string {
  let count = 0;
  return sql.replace(/\?/g, () => `$${++count}`);
}

const integer = (text: string): SqlValue => {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
};
const asIs = (text: string): SqlValue => text;
const PARSERS: ReadonlyMap<number, (text: string) => SqlValue> = new Map([
  [16, (text) => (text === 't' ? 1 : 0)],
  [17, (text) => Buffer.from(text.slice(2), 'hex')],
  [20, integer],
  [21, integer],
  [23, integer],
  [26, integer],
  [700, Number],
  [701, Number],
  [1700, Number],
]);

/** Values as `SqlValue`: dates stay the text that they are, like everything that is neither number nor bytes. */
function typeParser(oid: number): (text: string) => SqlValue {
  return PARSERS.get(oid) ?? asIs;
}
