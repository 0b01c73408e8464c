import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { npmPackages } from '../provide.mjs';
import { root } from '../run.mjs';
import { freePort, server } from '../server-process.mjs';

/** CouchDB's HTTP API over LevelDB. Its native part brings binaries along. */
const POUCHDB = { express: '4.21.2', 'express-pouchdb': '4.2.0', pouchdb: '9.0.0' };
const PASSWORD = 'secret';

/** PouchDB Server. A CouchDB of your own is tested by its URL: LOVAGE_TEST_COUCHDB_URL. */
async function startCouch() {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-couchdb-'));
  const packages = await npmPackages('pouchdb', POUCHDB);
  console.log('The CouchDB of the tests is PouchDB Server, which serves the HTTP API of CouchDB.');
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ admins: { admin: PASSWORD } }));
  return server(process.execPath, [join(root, 'scripts/pouchdb-server.mjs'), packages, dir, String(port)], {
    dir,
    port,
    url: `couchdb://admin:${PASSWORD}@127.0.0.1:${port}/lovage`,
  });
}

export default { couchdb: { variable: 'LOVAGE_TEST_COUCHDB_URL', start: startCouch } };
