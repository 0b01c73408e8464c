import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debianProgram } from '../provide.mjs';
import { freePort, server } from '../server-process.mjs';

async function start(binlog) {
  const program = await debianProgram('/usr/bin/beanstalkd', 'beanstalkd');
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-beanstalk-'));
  const args = ['-l', '127.0.0.1', '-p', String(port), '-b', dir, ...binlog];
  return server(program, args, { dir, port, url: `beanstalk://127.0.0.1:${port}` });
}

export default {
  beanstalk: { variable: 'LOVAGE_TEST_BEANSTALK_URL', start: () => start([]) },
  // For tests that kill the server: what it confirmed is on the disk.
  'beanstalk-durable': { variable: 'LOVAGE_TEST_BEANSTALK_DURABLE_URL', start: () => start(['-f0']) },
};
