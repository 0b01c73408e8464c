import { transportConformance } from '@lovage/conformance';
import { natsTransport } from '@lovage/transport-nats';
import { connect } from '@nats-io/transport-node';
import { afterAll, test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('nats');

if (url === undefined) {
  test.skip('conformance (no LOVAGE_TEST_NATS_URL)', () => {});
} else {
  const raw = await connect({ servers: new URL(url).host });
  afterAll(() => raw.close());
  transportConformance({
    test,
    transport: natsTransport,
    module: new URL('../dist/index.js', import.meta.url).href,
    url,
    defaultPort: 4222,
    inject: async (queue, bytes) => {
      await raw.request(queue, bytes);
    },
  });
}
