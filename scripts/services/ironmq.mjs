import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../run.mjs';
import { freePort, server } from '../server-process.mjs';

/** Not IronMQ: a test server written from its published HTTP API. */
async function startIron() {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-ironmq-'));
  const program = join(root, 'packages/transport-ironmq/test/ironmq-server.mjs');
  console.log('The IronMQ of the tests is a test server written from its published HTTP API, not IronMQ.');
  return server(process.execPath, [program, String(port), 'project', 'secret'], {
    dir,
    port,
    url: `ironmq://project:secret@127.0.0.1:${port}?protocol=http&min_reservation=1`,
  });
}

export default { ironmq: { variable: 'LOVAGE_TEST_IRONMQ_URL', start: startIron } };
