import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lovage } from '@lovage/core';
import { filesystemBackend } from '@lovage/backend-filesystem';
import { expect, test } from 'vitest';

test('cleanup removes documents that have expired, and no others', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lovage-documents-'));
  const app = new Lovage('documents', { backend: `file://${folder}`, backends: [filesystemBackend] });
  try {
    const backend = await app.requireBackend('keep documents');
    const { documents } = backend;
    await documents?.write('short', 'a', undefined, { ttlSeconds: 0.02 });
    await documents?.write('long', 'b', undefined, { ttlSeconds: 60 });
    await documents?.write('for ever', 'c', undefined);
    const files = (): string[] => readdirSync(folder).filter((name) => name.startsWith('lovage-document-'));
    expect(files().length).toBe(3);
    await sleep(30); // until the first one has expired
    await backend.cleanup();
    expect(files().length).toBe(2);
    expect((await documents?.read('long'))?.text).toBe('b');
  } finally {
    await app.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
