import { mongodbBackend } from '@lovage/backend-mongodb';
import { backendConformance } from '@lovage/conformance';
import { test } from 'vitest';
import { mongodbUrl } from '../../mongodb/test/mongodb-url.ts';

const url = mongodbUrl('lovage_results_kit');

if (url === undefined) test.skip('conformance (no LOVAGE_TEST_MONGODB_URL)', () => {});
// SecantusDB is slow: it is Python.
else backendConformance({ test, backend: mongodbBackend, url, defaultPort: 27017 });
