export type {
  Listening,
  ListenOptions,
  SqlCallOptions,
  SqlDatabase,
  SqlRow,
  SqlTransaction,
  SqlTransactionOptions,
  SqlValue,
} from './database.ts';
export { checkIdentifier, quoteIdentifier } from './identifiers.ts';
export { openSqlDatabase, type SqlOpenOptions } from './open.ts';
export { parseSqlUrl, type SqlDialect, sqlSchemes, type SqlUrl } from './url.ts';
