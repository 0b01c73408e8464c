import { redisBackend } from '@lovage/backend-redis';
import { backendConformance } from '@lovage/conformance';
import { BackendUrl } from '@lovage/core/backend';
import { openRedis, readEndpoint } from '@lovage/redis';
import { test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('redis');

if (url === undefined) test.skip('conformance (no LOVAGE_TEST_REDIS_URL)', () => {});
else {
  backendConformance({
    test,
    backend: redisBackend,
    url,
    defaultPort: 6379,
    // Source: celery/backends/redis.py, on_chord_part_return.
    pythonPart: async (groupId, { taskId, index, state, result }) => {
      const link = await openRedis(readEndpoint(new BackendUrl(url)));
      const part = `[1, "${taskId}", "${state}", ${JSON.stringify(result)}]`;
      await link.text('zadd', [`celery-taskset-meta-${groupId}.j`, index ?? '+inf', part]);
      link.close();
    },
  });
}
