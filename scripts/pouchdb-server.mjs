// PouchDB Server: CouchDB's HTTP API over LevelDB. `node scripts/pouchdb-server.mjs PACKAGES DATA PORT`
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [packages, data, port] = process.argv.slice(2);
const require = createRequire(join(packages, 'package.json'));
const PouchDB = require('pouchdb').defaults({ prefix: join(data, 'db-') });
const app = require('express-pouchdb')(PouchDB, {
  configPath: join(data, 'config.json'),
  logPath: join(data, 'log.txt'),
});
createServer(app).listen(Number(port), '127.0.0.1');
