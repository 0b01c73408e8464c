import { transportConformance } from '@lovage/conformance';
import { redisTransport } from '@lovage/transport-redis';
import { BrokerUrl } from '@lovage/core/transport';
import { openRedis, readEndpoint } from '@lovage/redis';
import { afterAll, test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('redis');

if (url === undefined) {
  test.skip('conformance (no LOVAGE_TEST_REDIS_URL)', () => {});
} else {
  const link = await openRedis(readEndpoint(new BrokerUrl(url)));
  afterAll(() => link.close());
  transportConformance({
    test,
    transport: redisTransport,
    module: new URL('../dist/index.js', import.meta.url).href,
    url,
    defaultPort: 6379,
    inject: async (queue, bytes) => {
      await link.text('lpush', [queue, bytes]);
    },
  });
}
