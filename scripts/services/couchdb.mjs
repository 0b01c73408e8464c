import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { npmPackages } from '../provide.mjs';
import { root } from '../run.mjs';
import { freePort, server } from '../server-process.mjs';

/** Where Apache's packages put it. */
const COUCHDB = '/opt/couchdb';
/** CouchDB's HTTP API over LevelDB, for where there is no CouchDB. Its native part brings binaries along. */
const POUCHDB = { express: '4.21.2', 'express-pouchdb': '4.2.0', pouchdb: '9.0.0' };
const PASSWORD = 'secret';

async function startCouch() {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-couchdb-'));
  const url = `couchdb://admin:${PASSWORD}@127.0.0.1:${port}/lovage`;
  return existsSync(join(COUCHDB, 'bin/couchdb')) ? startReal(dir, port, url) : startPouch(dir, port, url);
}

async function startReal(dir, port, url) {
  console.log(`The CouchDB of the tests is ${COUCHDB}.`);
  const epmd = await freePort();
  for (const folder of ['data', 'views']) mkdirSync(join(dir, folder));
  writeFileSync(
    join(dir, 'local.ini'),
    `[couchdb]
database_dir = ${join(dir, 'data')}
view_index_dir = ${join(dir, 'views')}
uri_file = ${join(dir, 'uri')}
single_node = true
[chttpd]
port = ${port}
bind_address = 127.0.0.1
[admins]
admin = ${PASSWORD}
[log]
level = critical
`,
  );
  writeFileSync(
    join(dir, 'vm.args'),
    `-name couchdb-${port}@127.0.0.1\n-setcookie lovage\n-kernel inet_dist_use_interface {127,0,0,1}\n`,
  );
  const env = {
    ...process.env,
    HOME: dir,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: String(epmd),
    COUCHDB_INI_FILES: `${join(COUCHDB, 'etc/default.ini')} ${join(dir, 'local.ini')}`,
    COUCHDB_ARGS_FILE: join(dir, 'vm.args'),
  };
  return server(join(COUCHDB, 'bin/couchdb'), [], { dir, port, url, env });
}

async function startPouch(dir, port, url) {
  const packages = await npmPackages('pouchdb', POUCHDB);
  console.log('The CouchDB of the tests is PouchDB Server, which serves the HTTP API of CouchDB.');
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ admins: { admin: PASSWORD } }));
  return server(process.execPath, [join(root, 'scripts/pouchdb-server.mjs'), packages, dir, String(port)], {
    dir,
    port,
    url,
  });
}

export default { couchdb: { variable: 'LOVAGE_TEST_COUCHDB_URL', start: startCouch } };
