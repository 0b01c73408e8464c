import { couchdbBackend } from '@lovage/backend-couchdb';
import { backendConformance } from '@lovage/conformance';
import { test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('couchdb');

if (url === undefined) test.skip('conformance (no LOVAGE_TEST_COUCHDB_URL)', () => {});
else {
  const results = url.replace(/\/[^/]*$/, '/results');
  // PouchDB Server, which stands for CouchDB, is slow on a busy machine.
  backendConformance({ test, backend: couchdbBackend, url: results, defaultPort: 5984 });
}
