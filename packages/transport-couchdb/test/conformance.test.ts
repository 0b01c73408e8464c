import { randomUUID } from 'node:crypto';
import { transportConformance } from '@lovage/conformance';
import { BrokerUrl } from '@lovage/core/transport';
import { openCouchDatabase, readCouchEndpoint } from '@lovage/couchdb';
import { couchdbTransport } from '@lovage/transport-couchdb';
import { afterAll, test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('couchdb');

if (url === undefined) {
  test.skip('conformance (no LOVAGE_TEST_COUCHDB_URL)', () => {});
} else {
  const database = await openCouchDatabase(readCouchEndpoint(new BrokerUrl(url), 'kombu_default'));
  console.log(`CouchDB's HTTP API is served by ${database.server}.`);
  afterAll(() => database.close());
  transportConformance({
    test,
    transport: couchdbTransport,
    module: new URL('../dist/index.js', import.meta.url).href,
    // A renewal over a busy server takes its time.
    shortLeaseMs: 2000,
    url,
    defaultPort: 5984,
    // PouchDB Server brings its index up to date in one thread, for each question anew.
    ...(database.server.startsWith('CouchDB') ? {} : { volume: 200 }),
    // A document as Kombu 3.0 writes it.
    inject: async (queue, bytes) => {
      await database.write([
        { _id: randomUUID().replaceAll('-', ''), queue, payload: new TextDecoder().decode(bytes) },
      ]);
    },
  });
}
