import { backendConformance } from '@lovage/conformance';
import { describe, test } from 'vitest';
import { sqlBackend } from '../src/index.ts';

const { LOVAGE_TEST_POSTGRESQL_URL: postgresql = '', LOVAGE_TEST_MARIADB_URL: mariadb = '' } = process.env;

describe.each([
  { name: 'PostgreSQL', url: postgresql, defaultPort: 5432 },
  { name: 'MariaDB', url: mariadb, defaultPort: 3306 },
])('$name', ({ url, defaultPort }) => {
  describe.skipIf(url === '')('passes the kit', () => {
    backendConformance({ test, backend: sqlBackend, url: `db+${url}`, defaultPort });
  });
});
