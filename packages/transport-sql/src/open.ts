import { type BrokerUrl, type ConnectOptions, silentLogger } from '@lovage/core/transport';
import { grammarOf, openSqlDatabase, type SqlProduct } from '@lovage/sql';
import { PostgresqlQueueTables } from './dialects/postgresql.ts';
import { ServerQueueTables } from './dialects/server.ts';
import { SqliteQueueTables } from './dialects/sqlite.ts';
import { SqlDriver } from './driver.ts';
import { parseOptions } from './options.ts';
import type { QueueTables } from './tables.ts';

/** Opens the database and its tables. Abort rejects with the signal's reason and leaves nothing open. */
export async function openSqlDriver(
  url: BrokerUrl,
  {
    transportOptions,
    leaseMs,
    logger = silentLogger,
    signal,
    connectTimeoutMs,
    heartbeatSeconds,
    useSsl,
  }: ConnectOptions,
): Promise<SqlDriver> {
  signal?.throwIfAborted();
  const options = parseOptions({ ...(leaseMs === undefined ? {} : { leaseMs }), ...transportOptions });
  const { synchronous, busyTimeoutMs, pollMs } = options;
  const database = await openSqlDatabase(url, {
    synchronous,
    holdsMessages: true,
    logger,
    ...(busyTimeoutMs === undefined ? {} : { busyTimeoutMs }),
    ...(pollMs === undefined ? {} : { pollMs }),
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
    ...(heartbeatSeconds === undefined ? {} : { heartbeatSeconds }),
    ...(useSsl === undefined ? {} : { useSsl }),
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    signal?.throwIfAborted();
    const tables = tablesOf(database.product, options.queueTable, options.messageTable);
    await tables.create(database);
    signal?.throwIfAborted();
    return new SqlDriver(database, tables, options, logger);
  } catch (error) {
    await database.close();
    throw error;
  }
}

export function tablesOf(product: SqlProduct, queueTable: string, messageTable: string): QueueTables {
  switch (product) {
    case 'sqlite':
      return new SqliteQueueTables(queueTable, messageTable);
    case 'postgresql':
      return new PostgresqlQueueTables(queueTable, messageTable);
    case 'mysql':
    case 'mariadb':
    case 'oracle':
      return new ServerQueueTables(grammarOf(product), queueTable, messageTable);
  }
}
