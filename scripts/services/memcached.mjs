import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debianProgram, ordinaryUser } from '../provide.mjs';
import { freePort, server } from '../server-process.mjs';

async function start() {
  const program = await debianProgram('memcached', 'memcached');
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-memcached-'));
  const args = ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-m', '256'];
  const user = ordinaryUser(['memcache', 'nobody']);
  const running = await server(program, args, { dir, port, url: `cache+memcached://127.0.0.1:${port}/`, ...user });
  // For tests that start servers of their own.
  return { ...running, env: { LOVAGE_TEST_MEMCACHED_SERVER: program } };
}

export default {
  memcached: { variable: 'LOVAGE_TEST_MEMCACHED_URL', start },
};
