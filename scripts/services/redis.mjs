import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debianProgram } from '../provide.mjs';
import { freePort, server } from '../server-process.mjs';

async function startRedis(persistence) {
  const program = await debianProgram('redis-server', 'redis-server');
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-redis-'));
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', ...persistence];
  return server(program, args, { dir, port, url: `redis://127.0.0.1:${port}/0` });
}

export default {
  redis: { variable: 'LOVAGE_TEST_REDIS_URL', start: () => startRedis(['--appendonly', 'no']) },
  // For tests that kill the server: what it acknowledged is on disk, and nobody else uses it.
  'redis-durable': {
    variable: 'LOVAGE_TEST_REDIS_DURABLE_URL',
    start: () => startRedis(['--appendonly', 'yes', '--appendfsync', 'always']),
  },
};
