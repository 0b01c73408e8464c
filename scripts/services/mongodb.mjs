// MongoDB: a `mongod` that is installed, as a replica set of one. No registry that we use carries it; so else SecantusDB,
// an implementation of MongoDB's protocol on WiredTiger, from PyPI: a replica set of one with change streams, capped
// collections and TTL indexes, and its updates of one document are atomic. (FerretDB 1.24 with SQLite is not used: it
// gives one message to several consumers.)
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pythonWith } from '../provide.mjs';
import { has, must } from '../run.mjs';
import { freePort, server } from '../server-process.mjs';

async function startMongo() {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-mongodb-'));
  const data = join(dir, 'data');
  mkdirSync(data);
  const url = `mongodb://127.0.0.1:${port}`;
  if (has('mongod') && has('mongosh')) {
    const args = ['--port', String(port), '--bind_ip', '127.0.0.1', '--dbpath', data, '--replSet', 'lovage'];
    const running = await server('mongod', args, { dir, port, url });
    const members = `[{ _id: 0, host: '127.0.0.1:${port}' }]`;
    await must('mongosh', ['--quiet', url, '--eval', `rs.initiate({ _id: 'lovage', members: ${members} })`], {
      quiet: true,
    });
    return running;
  }
  const python = await pythonWith('secantusdb', 'scripts/services/secantusdb.txt');
  const program = join(dirname(python), 'secantusd-py');
  const args = ['--port', String(port), '--storage-path', data, '--log-level', 'WARNING', '--sync-on-commit'];
  return server(program, args, { dir, port, url });
}

export default {
  mongodb: { variable: 'LOVAGE_TEST_MONGODB_URL', start: startMongo },
};
