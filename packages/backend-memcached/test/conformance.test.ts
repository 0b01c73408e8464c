import { memcachedBackend } from '@lovage/backend-memcached';
import { backendConformance } from '@lovage/conformance';
import { test } from 'vitest';
import { memcachedUrl } from './memcached-url.ts';

const url = memcachedUrl();

if (url === undefined) test.skip('conformance (no LOVAGE_TEST_MEMCACHED_URL)', () => {});
else backendConformance({ test, backend: memcachedBackend, url, defaultPort: 11211 });
