import type { DocumentStore, StoredDocument } from '@lovage/core/backend';
import type { SqlDatabase } from '@lovage/sql';

const CREATE =
  'CREATE TABLE IF NOT EXISTS lovage_document (name VARCHAR(255) NOT NULL PRIMARY KEY, version BIGINT NOT NULL, ' +
  'expires_at BIGINT, text TEXT NOT NULL)';

/** A row of `lovage_document` each. What has expired is removed by `removeExpired`, and counts as absent before that. */
export class SqlDocuments implements DocumentStore {
  readonly #open: () => Promise<SqlDatabase>;
  #created: Promise<unknown> | undefined;

  constructor(open: () => Promise<SqlDatabase>) {
    this.#open = open;
  }

  async read(name: string): Promise<StoredDocument | undefined> {
    const database = await this.#ready();
    const [row] = await database.query<{ version: number; text: string }>(
      'SELECT version, text FROM lovage_document WHERE name = ? AND (expires_at IS NULL OR expires_at > ?)',
      [name, Date.now()],
    );
    return row === undefined ? undefined : { text: row.text, version: String(row.version) };
  }

  async write(
    name: string,
    text: string,
    over: string | undefined,
    { ttlSeconds }: { readonly ttlSeconds?: number } = {},
  ): Promise<string | undefined> {
    const database = await this.#ready();
    const expiresAt = ttlSeconds === undefined ? null : Date.now() + ttlSeconds * 1000;
    const version = Number(over ?? '0') + 1;
    const written = await database.transaction(async (transaction) => {
      if (over !== undefined) {
        return transaction.execute(
          'UPDATE lovage_document SET version = ?, text = ?, expires_at = ? WHERE name = ? AND version = ?',
          [version, text, expiresAt, name, Number(over)],
        );
      }
      await transaction.execute('DELETE FROM lovage_document WHERE name = ? AND expires_at <= ?', [name, Date.now()]);
      return transaction.execute(
        'INSERT INTO lovage_document (name, version, expires_at, text) SELECT ?, ?, ?, ? WHERE NOT EXISTS ' +
          '(SELECT 1 FROM lovage_document WHERE name = ?)',
        [name, version, expiresAt, text, name],
      );
    });
    return written === 1 ? String(version) : undefined;
  }

  async removeExpired(): Promise<void> {
    const database = await this.#ready();
    await database.transaction((transaction) =>
      transaction.execute('DELETE FROM lovage_document WHERE expires_at <= ?', [Date.now()]),
    );
  }

  /** The table is made when it is first needed: most stores keep results only. */
  async #ready(): Promise<SqlDatabase> {
    const database = await this.#open();
    this.#created ??= database.transaction((transaction) => transaction.execute(CREATE));
    try {
      await this.#created;
    } catch (error) {
      this.#created = undefined;
      throw error;
    }
    return database;
  }
}
