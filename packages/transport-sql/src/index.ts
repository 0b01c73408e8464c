import { type Transport, virtualTransport } from '@lovage/core/transport';
import { sqlSchemes } from '@lovage/sql';
import { openSqlDriver } from './open.ts';

export type { SqlTransportOptions } from './options.ts';

/**
 * Celery's `sqla+` transport, in Kombu's tables: `sqla+sqlite:///relative.db`, `sqla+sqlite:////absolute.db`,
 * `sqla+sqlite://` (in memory, this process only). URLs of PostgreSQL, MySQL and Oracle are understood and refused with
 * `UnsupportedError`: they are not available yet.
 */
export const sqlTransport: Transport = virtualTransport({
  schemes: sqlSchemes(['sqla', 'sqlalchemy']),
  open: openSqlDriver,
});
