import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { filesystemBackend } from '@lovage/backend-filesystem';
import { backendConformance } from '@lovage/conformance';
import { afterAll, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'lovage-backend-filesystem-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

backendConformance({ test, backend: filesystemBackend, url: `file://${folder}` });
