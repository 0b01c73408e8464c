import type { LovageError } from '@lovage/core/transport';
import type { InsertStatement, SqlRow, SqlValue } from '../database.ts';
import type { SqlProduct } from '../grammar.ts';

/** One link to a database server, with one transaction at a time. Placeholders are `?` for every server. */
export interface SqlSession {
  /** At most `maxRows` rows, and no more are fetched, or locked, than those. */
  query(sql: string, parameters: readonly SqlValue[], maxRows?: number): Promise<readonly SqlRow[]>;
  /** Rows changed. */
  execute(sql: string, parameters: readonly SqlValue[]): Promise<number>;
  /** Many rows in as few round trips as the driver can. */
  insert(statement: InsertStatement, rows: readonly (readonly SqlValue[])[]): Promise<void>;
  /** The cheapest question that there is. */
  ping(): Promise<void>;
  begin(): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  /** Resolves with the reason when the link has ended, whoever ended it. */
  readonly ended: Promise<unknown>;
  /** Ends politely. Never rejects. */
  close(): Promise<void>;
  /** Drops the link at once. */
  destroy(): void;
}

/** What a failed statement means for its caller. */
export interface ExplainedFailure {
  /**
   * `lost`: the link is of no use any more. `conflict`: the same transaction may succeed when it is run again.
   * `fatal`: no transaction can do better for now. `refused`: this statement will not do.
   */
  readonly kind: 'lost' | 'conflict' | 'fatal' | 'refused';
  readonly error: LovageError;
}

/** What the first session tells of its server. */
export interface ServerFacts {
  readonly product: SqlProduct;
  /** `PostgreSQL 15.18`. */
  readonly version: string;
  /** Most bytes of the values of one statement together; 0: no limit. */
  readonly maxStatementBytes: number;
}

/** How to reach one server and what it says, in one dialect. */
export interface SqlServer {
  /** For messages to people: product, host and database, without secrets. */
  readonly location: string;
  /** Opens a session, ready for use. Rejects with what the driver says; leaves nothing open. */
  connect(timeoutMs: number): Promise<SqlSession>;
  facts(session: SqlSession): Promise<ServerFacts>;
  /** The server's clock in milliseconds since 1970, as `clock`. */
  readonly clockSql: string;
  /** True when the server is at work on the last statement of `session`; asked over a link of its own. */
  isBusy(session: SqlSession, asking: SqlSession): Promise<boolean>;
  explain(error: unknown): ExplainedFailure;
  /** Where the server can tell of commits. The listener gets the topic. */
  readonly bell?: SqlBell;
}

export interface SqlBell {
  subscribe(session: SqlSession, listener: (topic: string) => void): Promise<void>;
  ring(session: SqlSession, topic: string): Promise<void>;
}
