import type { InsertStatement, SqlRow, SqlValue } from '../database.ts';
import type { SqlSession } from './session.ts';

/** A session whose calls all end: with its answer, or with the reason for which the link was given up. */
export class SqlLink {
  readonly session: SqlSession;
  readonly #waiting = new Set<(error: unknown) => void>();
  #failure: { readonly error: unknown } | undefined;
  #answers = 0;

  constructor(session: SqlSession) {
    this.session = session;
  }

  get isWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /** Grows whenever the server has answered. */
  get answers(): number {
    return this.#answers;
  }

  query(sql: string, parameters: readonly SqlValue[], maxRows?: number): Promise<readonly SqlRow[]> {
    return this.#call(() => this.session.query(sql, parameters, maxRows));
  }

  execute(sql: string, parameters: readonly SqlValue[]): Promise<number> {
    return this.#call(() => this.session.execute(sql, parameters));
  }

  insert(statement: InsertStatement, rows: readonly (readonly SqlValue[])[]): Promise<void> {
    return this.#call(() => this.session.insert(statement, rows));
  }

  begin(): Promise<void> {
    return this.#call(() => this.session.begin());
  }

  commit(): Promise<void> {
    return this.#call(() => this.session.commit());
  }

  rollback(): Promise<void> {
    return this.#call(() => this.session.rollback());
  }

  /** A call of another kind on the session. */
  do<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    return this.#call(() => work(this.session));
  }

  /** Drops the link; what waits, and all that comes, is rejected with `error`. */
  fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { error };
    this.session.destroy();
    for (const reject of this.#waiting) reject(error);
    this.#waiting.clear();
  }

  #call<T>(start: () => Promise<T>): Promise<T> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure.error);
    return new Promise<T>((resolve, reject) => {
      this.#waiting.add(reject);
      const settle = (end: () => void): void => {
        this.#answers++;
        this.#waiting.delete(reject);
        end();
      };
      start().then(
        (value) => settle(() => resolve(value)),
        (error: unknown) => settle(() => reject(error)),
      );
    });
  }
}
