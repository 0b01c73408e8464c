import type { InsertStatement, SqlValue } from './database.ts';

/** Databases that differ in what they understand. */
export type SqlProduct = 'sqlite' | 'postgresql' | 'mysql' | 'mariadb' | 'oracle';

/** A condition with the values of its placeholders. */
export interface SqlCondition {
  readonly sql: string;
  readonly parameters: readonly SqlValue[];
}

/** What differs between the database servers in the few statements that queues and results need. */
export interface SqlGrammar {
  readonly product: SqlProduct;
  /** As SQLAlchemy spells the name, so that both mean the same object. */
  readonly quote: (name: string) => string;
  /** How the catalogue spells a name that `quote` was given. */
  readonly catalogued: (name: string) => string;
  /** What a SELECT without a table ends with. */
  readonly dual: string;
  /** Column types of Lovage's own tables. A name is compared byte by byte. */
  readonly types: { readonly name: string; readonly text: string; readonly integer: string };
  /** Between the parentheses and the end of CREATE TABLE. */
  readonly tableEnd: string;
  /** A key that numbers itself. */
  readonly serial: string;
  /** The next number of a sequence, quoted already; undefined where columns number themselves (`AUTO_INCREMENT`). */
  readonly nextOf: (sequence: string) => string | undefined;
  /** The placeholder of an instant, given as `YYYY-MM-DD HH:MM:SS.ffffff`. */
  readonly instant: string;
  /** A column of instants, read as that text. */
  readonly readInstant: (column: string) => string;
  readonly yes: string;
  readonly no: string;
  /** `column IN (values)`, for numbers. */
  readonly isOneOf: (column: string, values: readonly number[]) => SqlCondition;
  /** The same for texts. */
  readonly isOneOfTexts: (column: string, values: readonly string[]) => SqlCondition;
  /** The first rows of an ordered SELECT. */
  readonly first: (select: string, count: number) => string;
  /** The first rows of an ordered SELECT, locked, passing over those that others have locked. */
  readonly lockFirst: (select: string, count: number) => string;
  /** Inserts rows, or where `key` is there already does `update`, an assignment for each column (by `newValue`). */
  readonly upsert: (table: string, upsert: SqlUpsert) => InsertStatement;
  /** Inserts a row unless its key is there. */
  readonly insertNew: (table: string, columns: readonly SqlColumn[], key: readonly string[]) => InsertStatement;
  /** Those of the names that tables, indexes and sequences of the schema have, as `name`. Default: the session's schema. */
  readonly existing: (names: readonly string[], schema?: string) => SqlCondition;
  /** Columns of a table as `name`, with `generated` (1: it has a default or numbers itself) and `bytes` (0: no limit). */
  readonly columnsOf: (table: string, schema?: string) => SqlCondition;
  /** CREATE INDEX over the messages that wait, for a SELECT of the first ones of a queue. */
  readonly readyIndex: (index: string, table: string) => string;
}

export interface SqlColumn {
  readonly name: string;
  /** Default `?`. With a placeholder in it, the value of the row goes there. */
  readonly value?: string;
}

export interface SqlUpsert {
  readonly columns: readonly SqlColumn[];
  readonly key: string;
  /** Assignments; `stored(column)` is the value that is there, `given(column)` the one that came. */
  readonly update: (
    stored: (column: string) => string,
    given: (column: string) => string,
  ) => readonly (readonly [column: string, value: string])[];
  /** Nothing is changed where this does not hold. */
  readonly where?: (stored: (column: string) => string, given: (column: string) => string) => string;
}
