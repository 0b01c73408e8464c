import type { SqlDatabase } from './database.ts';
import type { SqlGrammar } from './grammar.ts';

/** A table, an index or a sequence. */
export interface SchemaItem {
  readonly name: string;
  /** The schema that it is in. Default: the session's. */
  readonly owner?: string | undefined;
  /** What makes it. */
  readonly statement: string;
}

/** A column that a table has. */
export interface ColumnFacts {
  readonly name: string;
  /** It has a default, or numbers itself. */
  readonly isGenerated: boolean;
  /** What it takes at most; 0: no limit. */
  readonly bytes: number;
}

/** Makes what is missing, in the order given. Others may do so at the same time. */
export async function createMissing(
  database: SqlDatabase,
  grammar: SqlGrammar,
  schema: readonly SchemaItem[],
): Promise<void> {
  const owners = [...new Set(schema.map(({ owner }) => owner))];
  const missing = async (): Promise<readonly SchemaItem[]> => {
    const found = await Promise.all(
      owners.map(async (owner) => {
        const own = schema.filter((item) => item.owner === owner);
        const { sql, parameters } = grammar.existing(
          own.map(({ name }) => grammar.catalogued(name)),
          owner,
        );
        const present = new Set((await database.query(sql, parameters)).map(({ name }) => String(name)));
        return own.filter(({ name }) => present.has(grammar.catalogued(name)));
      }),
    );
    const present = new Set(found.flat());
    return schema.filter((item) => !present.has(item));
  };
  // Each transaction looks again: somebody may have been faster.
  while ((await missing()).length > 0) {
    await database.transaction(async (transaction) => {
      for (const { statement } of await missing()) await transaction.execute(statement);
    });
  }
}

export async function columnsOf(
  database: SqlDatabase,
  grammar: SqlGrammar,
  table: string,
  owner?: string,
): Promise<readonly ColumnFacts[]> {
  const { sql, parameters } = grammar.columnsOf(table, owner);
  const columns = await database.query<{ name: string; generated: number; bytes: number }>(sql, parameters);
  return columns.map(({ name, generated, bytes }) => ({ name, isGenerated: generated === 1, bytes: Number(bytes) }));
}

/** Whether rows need no number of a sequence as their `id`. */
export function numbersItself(columns: readonly ColumnFacts[]): boolean {
  return columns.some(({ name, isGenerated }) => name === 'id' && isGenerated);
}
