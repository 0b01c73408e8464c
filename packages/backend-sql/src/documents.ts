import type { DocumentStore, StoredDocument } from '@lovage/core/backend';
import { grammarOf, type SqlDatabase, type SqlGrammar } from '@lovage/sql';

const TABLE = 'lovage_document';
const SQLITE = { types: { name: 'VARCHAR(255)', text: 'TEXT', integer: 'BIGINT' }, tableEnd: '', dual: '' };

/** A row of `lovage_document` each. What has expired is removed by `removeExpired`, and counts as absent before that. */
export class SqlDocuments implements DocumentStore {
  readonly #open: () => Promise<SqlDatabase>;
  #created: Promise<void> | undefined;

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
        `INSERT INTO lovage_document (name, version, expires_at, text) SELECT ?, ?, ?, ?${grammarFor(database).dual} WHERE NOT EXISTS ` +
          '(SELECT 1 FROM lovage_document WHERE name = ?)',
        [name, version, expiresAt, text, name],
      );
    });
    return written === 1 ? String(version) : undefined;
  }

  /** Nothing where no document was ever written. */
  async removeExpired(): Promise<void> {
    const database = await this.#open();
    if (!(await exists(database))) return;
    await database.transaction((transaction) =>
      transaction.execute('DELETE FROM lovage_document WHERE expires_at <= ?', [Date.now()]),
    );
  }

  /** The table is made when it is first needed: most stores keep results only. */
  async #ready(): Promise<SqlDatabase> {
    const database = await this.#open();
    this.#created ??= create(database);
    try {
      await this.#created;
    } catch (error) {
      this.#created = undefined;
      throw error;
    }
    return database;
  }
}

function grammarFor({ product }: SqlDatabase): Pick<SqlGrammar, 'types' | 'tableEnd' | 'dual'> {
  return product === 'sqlite' ? SQLITE : grammarOf(product);
}

async function exists(database: SqlDatabase): Promise<boolean> {
  const { product } = database;
  if (product === 'sqlite') {
    return (await database.query('SELECT name FROM sqlite_master WHERE name = ?', [TABLE])).length > 0;
  }
  const grammar = grammarOf(product);
  const { sql, parameters } = grammar.existing([grammar.catalogued(TABLE)]);
  return (await database.query(sql, parameters)).length > 0;
}

/** Looks first: who may use the table need not be allowed to create it. */
async function create(database: SqlDatabase): Promise<void> {
  if (await exists(database)) return;
  const { types, tableEnd } = grammarFor(database);
  const columns = `name ${types.name} NOT NULL PRIMARY KEY, version ${types.integer} NOT NULL, expires_at ${types.integer}, text ${types.text} NOT NULL`;
  try {
    await database.transaction((transaction) => transaction.execute(`CREATE TABLE ${TABLE} (${columns})${tableEnd}`));
  } catch (error) {
    // Another process may have been first.
    if (!(await exists(database))) throw error;
  }
}
