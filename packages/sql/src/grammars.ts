import { ConfigError } from '@lovage/core/transport';
import type { SqlGrammar, SqlProduct } from './grammar.ts';
import { mariadbGrammar, mysqlGrammar } from './mysql/grammar.ts';
import { oracleGrammar } from './oracle/grammar.ts';
import { postgresqlGrammar } from './postgresql/grammar.ts';

const GRAMMARS: ReadonlyMap<SqlProduct, SqlGrammar> = new Map(
  [postgresqlGrammar, mysqlGrammar, mariadbGrammar, oracleGrammar].map((grammar) => [grammar.product, grammar]),
);

/** The grammar of a database server. SQLite, which runs in the process, has statements of its own. */
export function grammarOf(product: SqlProduct): SqlGrammar {
  const grammar = GRAMMARS.get(product);
  if (grammar === undefined) throw new ConfigError(`There is no grammar for "${product}".`);
  return grammar;
}
