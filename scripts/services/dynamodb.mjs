// moto, an implementation of Amazon's services in Python, in memory; there is no DynamoDB to install, and DynamoDB Local is not
// free software.
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pythonWith } from '../provide.mjs';
import { root } from '../run.mjs';
import { freePort, server } from '../server-process.mjs';

async function startDynamoDb() {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-dynamodb-'));
  const python = await pythonWith('moto', 'scripts/services/moto.txt');
  const program = join(root, 'scripts/services/moto-dynamodb.py');
  return server(python, [program, String(port)], { dir, port, url: `dynamodb://key:secret@127.0.0.1:${port}` });
}

export default { dynamodb: { variable: 'LOVAGE_TEST_DYNAMODB_URL', start: startDynamoDb } };
