export type {
  InsertStatement,
  Listening,
  ListenOptions,
  SqlCallOptions,
  SqlDatabase,
  SqlRow,
  SqlTransaction,
  SqlTransactionOptions,
  SqlValue,
} from './database.ts';
export type { SqlColumn, SqlCondition, SqlGrammar, SqlProduct, SqlUpsert } from './grammar.ts';
export { grammarOf } from './grammars.ts';
export { checkIdentifier, quoteIdentifier } from './identifiers.ts';
export { openSqlDatabase, type SqlOpenOptions } from './open.ts';
export { type ColumnFacts, columnsOf, createMissing, numbersItself, type SchemaItem } from './schema.ts';
export { parseSqlUrl, type SqlDialect, sqlSchemes, type SqlUrl } from './url.ts';
