import { redisBackend } from '@lovage/backend-redis';
import { backendConformance } from '@lovage/conformance';
import { test } from 'vitest';
import { redisUrl } from './redis-url.ts';

const url = redisUrl();

if (url === undefined) test.skip('conformance (no LOVAGE_TEST_REDIS_URL)', () => {});
else backendConformance({ test, backend: redisBackend, url, defaultPort: 6379 });
