import { builtModule, type Transport, virtualTransport } from '@lovage/core/transport';
import { SCHEMES } from '@lovage/couchdb';
import { openCouchDriver } from './open.ts';

export type { CouchTransportOptions } from './options.ts';

/**
 * The broker CouchDB: `couchdb://user:password@host:5984/database`, and `couchdbs://` for TLS. Options as
 * {@link CouchTransportOptions}.
 */
export const couchdbTransport: Transport = virtualTransport({
  schemes: SCHEMES,
  open: openCouchDriver,
  leaseKeeper: builtModule('./lease-keeper.js', import.meta.url),
});
