import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mortalTransport, transportConformance } from '@lovage/conformance';
import { builtModule } from '@lovage/core/transport';
import { afterAll, describe, test } from 'vitest';
import { newMessageName } from '../src/names.ts';
import { openFilesystemDriver } from '../src/open.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-transport-filesystem-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('filesystem', () => {
  const { transport, crash } = mortalTransport({
    schemes: ['filesystem'],
    leaseKeeper: builtModule('../src/lease-keeper.ts', import.meta.url),
    open: openFilesystemDriver,
  });
  transportConformance({
    test,
    transport,
    module: new URL('../dist/index.js', import.meta.url).href,
    url: `filesystem://${folder}`,
    crash,
    connect: { transportOptions: { synchronous: 'normal' } },
    inject: async (queue, bytes) => writeFileSync(join(folder, newMessageName(queue, 0)), bytes),
  });
});
