import { transportConformance } from '@lovage/conformance';
import { mongodbTransport } from '@lovage/transport-mongodb';
import { Binary, MongoClient } from 'mongodb';
import { isUtf8 } from 'node:buffer';
import { afterAll, test } from 'vitest';
import { mongodbUrl } from '../../mongodb/test/mongodb-url.ts';

const url = mongodbUrl('lovage_kit');

if (url === undefined) {
  test.skip('conformance (no LOVAGE_TEST_MONGODB_URL)', () => {});
} else {
  const client = await new MongoClient(url).connect();
  const { version, ...more } = await client.db().command({ buildInfo: 1 });
  const implementation = Object.keys(more).find((key) => /^(secantus|ferretdb)Version$/.test(key));
  console.log(
    `MongoDB ${version}${implementation === undefined ? '' : `, as ${implementation} ${more[implementation]}`}`,
  );
  afterAll(async () => {
    await client.db().dropDatabase();
    await client.close();
  });
  transportConformance({
    test,
    transport: mongodbTransport,
    module: new URL('../dist/index.js', import.meta.url).href,
    // A renewal over a busy server takes its time.
    shortLeaseMs: 2000,
    url,
    defaultPort: 27017,
    // SecantusDB is slow: it sorts all that waits for every look, and is Python.
    volume: 2000,
    inject: async (queue, bytes) => {
      const payload = isUtf8(bytes) ? Buffer.from(bytes).toString() : new Binary(bytes);
      await client.db().collection('messages').insertOne({ queue, payload, priority: 9 });
    },
  });
}
