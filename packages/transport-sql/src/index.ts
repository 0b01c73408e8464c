import { silentLogger, type Transport, virtualTransport } from '@lovage/core/transport';
import { openSqlDatabase, sqlSchemes } from '@lovage/sql';
import { SqliteQueueTables } from './dialects/sqlite.ts';
import { SqlDriver } from './driver.ts';
import { parseOptions } from './options.ts';

export type { SqlTransportOptions } from './options.ts';

/**
 * Celery's `sqla+` transport, in Kombu's tables: `sqla+sqlite:///relative.db`, `sqla+sqlite:////absolute.db`,
 * `sqla+sqlite://` (in memory, this process only). URLs of PostgreSQL, MySQL and Oracle are understood and refused with
 * `UnsupportedError`: they are not available yet.
 */
export const sqlTransport: Transport = virtualTransport({
  schemes: sqlSchemes(['sqla', 'sqlalchemy']),
  open: async (url, { transportOptions, logger = silentLogger, signal }) => {
    const options = parseOptions(transportOptions);
    const { busyTimeoutMs } = options;
    const database = await openSqlDatabase(url, {
      synchronous: options.synchronous,
      logger,
      ...(busyTimeoutMs === undefined ? {} : { busyTimeoutMs }),
    });
    try {
      signal?.throwIfAborted();
      const tables = new SqliteQueueTables(options.queueTable, options.messageTable);
      await tables.create(database);
      signal?.throwIfAborted();
      return new SqlDriver(database, tables, options, logger);
    } catch (error) {
      await database.close();
      throw error;
    }
  },
});
