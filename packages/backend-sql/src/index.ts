import { type Backend, silentLogger } from '@lovage/core/backend';
import { openSqlDatabase, sqlSchemes } from '@lovage/sql';
import { type OpenStore, SqlResultBackend } from './backend.ts';
import { SqliteResultTables } from './dialects/sqlite.ts';
import { parseOptions } from './options.ts';

export type { SqlBackendOptions } from './options.ts';

/**
 * Celery's `db+` result store, in its tables: `db+sqlite:///relative.db`, `db+sqlite:////absolute.db`, `db+sqlite://` (in
 * memory, this process only). URLs of PostgreSQL, MySQL and Oracle are understood and refused with `UnsupportedError`:
 * they are not available yet.
 *
 * As in Celery, `children`, `group_id` and `parent_id` of a result are not kept.
 */
export const sqlBackend: Backend = {
  schemes: sqlSchemes(['db']),
  open: async (url, options) => {
    const { taskTable, groupTable, synchronous, busyTimeoutMs } = parseOptions(options);
    const open = async (): Promise<OpenStore> => {
      const database = await openSqlDatabase(url, {
        synchronous,
        logger: options.logger ?? silentLogger,
        ...(busyTimeoutMs === undefined ? {} : { busyTimeoutMs }),
      });
      try {
        const tables = new SqliteResultTables(taskTable, groupTable);
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
