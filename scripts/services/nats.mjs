import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { goProgram } from '../provide.mjs';
import { freePort, server } from '../server-process.mjs';

async function startNats() {
  const program = await goProgram('github.com/nats-io/nats-server/v2@v2.15.3', 'nats-server');
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-nats-'));
  const args = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', join(dir, 'jetstream')];
  const running = await server(program, args, { dir, port, url: `nats://127.0.0.1:${port}` });
  // For tests that start servers with settings of their own.
  return { ...running, env: { LOVAGE_TEST_NATS_SERVER: program } };
}

export default {
  nats: { variable: 'LOVAGE_TEST_NATS_URL', start: startNats },
};
