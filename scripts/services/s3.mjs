// Versity S3 Gateway, a server of Amazon's S3 protocol over a folder; there is no S3 to install. Its conditional writes are
// atomic, and what it answered for is on the disk.
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { goProgram } from '../provide.mjs';
import { freePort, server } from '../server-process.mjs';

const VERSITYGW = 'github.com/versity/versitygw/cmd/versitygw@v1.8.0';
const BUCKET = 'lovage';

async function startS3() {
  const program = await goProgram(VERSITYGW, 'versitygw');
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-s3-'));
  // A bucket is a folder. What a file system may not keep beside a file stands in a folder of its own.
  for (const folder of ['buckets', `buckets/${BUCKET}`, 'sidecar']) mkdirSync(join(dir, folder));
  const endpoint = `http://127.0.0.1:${port}`;
  const args = ['--port', `127.0.0.1:${port}`, '--access', 'key', '--secret', 'secret', '--quiet'];
  args.push('posix', '--sidecar', join(dir, 'sidecar'), join(dir, 'buckets'));
  const url = `s3://key:secret@${BUCKET}?endpoint_url=${encodeURIComponent(endpoint)}`;
  return server(program, args, { dir, port, url });
}

export default { s3: { variable: 'LOVAGE_TEST_S3_URL', start: startS3 } };
