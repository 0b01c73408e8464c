import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backendConformance } from '@lovage/conformance';
import { afterAll, describe, test } from 'vitest';
import { sqlBackend } from '../src/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-backend-sql-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each([
  { kind: 'file', url: `db+sqlite:///${join(folder, 'results.db')}`, settings: {} },
  {
    kind: 'other tables, in memory',
    url: 'db+sqlite://',
    settings: { databaseTableNames: { task: 'my_tasks', group: 'my_groups' } },
  },
])('sqlite, $kind', ({ url, settings }) => {
  backendConformance({ test, backend: sqlBackend, url, open: { settings } });
});
