import { type OpenLeaseKeeper, silentLogger } from '@lovage/core/transport';
import { openSqlDatabase } from '@lovage/sql';
import { tablesOf } from './open.ts';
import { parseOptions } from './options.ts';

/** Renews for a driver whose event loop stands still; the holder is its number among the consumers. */
export const openLeaseKeeper: OpenLeaseKeeper<number | undefined, unknown> = async (
  url,
  { transportOptions, leaseMs, connectTimeoutMs, heartbeatSeconds, useSsl },
) => {
  const options = parseOptions({ ...(leaseMs === undefined ? {} : { leaseMs }), ...transportOptions });
  const { synchronous, busyTimeoutMs, queueTable, messageTable } = options;
  const database = await openSqlDatabase(url, {
    synchronous,
    holdsMessages: true,
    logger: silentLogger,
    ...(busyTimeoutMs === undefined ? {} : { busyTimeoutMs }),
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
    ...(heartbeatSeconds === undefined ? {} : { heartbeatSeconds }),
    ...(useSsl === undefined ? {} : { useSsl }),
  });
  const tables = tablesOf(database.product, queueTable, messageTable);
  return {
    async extend(consumer) {
      if (consumer === undefined) return;
      await database.transaction((transaction) =>
        tables.renewLease(transaction, consumer, database.now() + options.leaseMs),
      );
    },
    close: () => database.close(),
  };
};
