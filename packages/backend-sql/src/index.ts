import { type Backend, ConfigError, silentLogger } from '@lovage/core/backend';
import { grammarOf, openSqlDatabase, type SqlProduct, sqlSchemes } from '@lovage/sql';
import { type OpenStore, SqlResultBackend } from './backend.ts';
import { ServerResultTables } from './dialects/server.ts';
import { SqliteResultTables } from './dialects/sqlite.ts';
import { parseOptions, type ResolvedOptions } from './options.ts';
import type { ResultTables } from './tables.ts';

export type { SqlBackendOptions } from './options.ts';

/**
 * Celery's `db+` result store, in its tables: `db+sqlite:///relative.db`, `db+sqlite:////absolute.db`, `db+sqlite://` (in
 * memory, this process only), `db+postgresql://user:password@host/database`, `db+mysql://...`, `db+mariadb://...` and
 * `db+oracle://user:password@host:1521/?service_name=NAME`. A server needs its client installed: `pg`, `mysql2` or
 * `oracledb`.
 *
 * As in Celery, `children`, `group_id` and `parent_id` of a result are not kept.
 */
export const sqlBackend: Backend = {
  schemes: sqlSchemes(['db']),
  open: async (url, options) => {
    const resolved = parseOptions(options);
    const { taskTable, synchronous, busyTimeoutMs, pollMs } = resolved;
    const open = async (): Promise<OpenStore> => {
      const database = await openSqlDatabase(url, {
        synchronous,
        logger: options.logger ?? silentLogger,
        ...(busyTimeoutMs === undefined ? {} : { busyTimeoutMs }),
        ...(pollMs === undefined ? {} : { pollMs }),
      });
      try {
        const tables = tablesOf(database.product, resolved);
        await tables.prepare(database);
        return { database, tables };
      } catch (error) {
        await database.close();
        throw error;
      }
    };
    return new SqlResultBackend(await open(), open, options, `results:${taskTable}`);
  },
};

function tablesOf(
  product: SqlProduct,
  { taskTable, groupTable, taskSchema, groupSchema }: ResolvedOptions,
): ResultTables {
  if (product !== 'sqlite') {
    return new ServerResultTables(grammarOf(product), { task: taskTable, group: groupTable, taskSchema, groupSchema });
  }
  if (taskSchema !== undefined || groupSchema !== undefined) {
    throw new ConfigError(
      'The setting "databaseTableSchemas" is not possible with SQLite, which has no schemas. Remove it.',
    );
  }
  return new SqliteResultTables(taskTable, groupTable);
}
