import { builtModule, type Transport, virtualTransport } from '@lovage/core/transport';
import { sqlSchemes } from '@lovage/sql';
import { openSqlDriver } from './open.ts';

export type { SqlTransportOptions } from './options.ts';

/**
 * Celery's `sqla+` transport, in Kombu's tables: `sqla+sqlite:///relative.db`, `sqla+sqlite:////absolute.db`,
 * `sqla+sqlite://` (in memory, this process only), `sqla+postgresql://user:password@host/database`, `sqla+mysql://...`,
 * `sqla+mariadb://...` and `sqla+oracle://user:password@host:1521/?service_name=NAME`. A server needs its client
 * installed: `pg`, `mysql2` or `oracledb`.
 */
export const sqlTransport: Transport = virtualTransport({
  schemes: sqlSchemes(['sqla', 'sqlalchemy']),
  open: openSqlDriver,
  leaseKeeper: builtModule('./lease-keeper.js', import.meta.url),
});
