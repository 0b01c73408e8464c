import { type Backend, keyValueBackend } from '@lovage/core/backend';
import { SCHEMES } from '@lovage/couchdb';
import { openCouchStore } from './open.ts';

/** Results in CouchDB, in Celery's layout: `couchdb://user:password@host:5984/database`, `couchdbs://` for TLS. */
export const couchdbBackend: Backend = keyValueBackend({ schemes: SCHEMES, open: openCouchStore });
