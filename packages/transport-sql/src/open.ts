import { type BrokerUrl, type ConnectOptions, silentLogger } from '@lovage/core/transport';
import { openSqlDatabase } from '@lovage/sql';
import { SqliteQueueTables } from './dialects/sqlite.ts';
import { SqlDriver } from './driver.ts';
import { parseOptions } from './options.ts';

/** Opens the database and its tables. Abort rejects with the signal's reason and leaves nothing open. */
export async function openSqlDriver(
  url: BrokerUrl,
  { transportOptions, leaseMs, logger = silentLogger, signal }: ConnectOptions,
): Promise<SqlDriver> {
  signal?.throwIfAborted();
  const options = parseOptions({ ...(leaseMs === undefined ? {} : { leaseMs }), ...transportOptions });
  const { synchronous, busyTimeoutMs } = options;
  const database = await openSqlDatabase(url, {
    synchronous,
    holdsMessages: true,
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
}
