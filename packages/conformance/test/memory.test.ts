import { cutMemoryLinks, memoryTransport, openMemoryDriver } from '@lovage/core/memory';
import { BrokerUrl } from '@lovage/core/transport';
import { describe, test } from 'vitest';
import { transportConformance } from '@lovage/conformance';

describe.each([
  { kind: 'held until the link drops', url: 'memory://conformance' },
  { kind: 'leased, of limited size', url: 'memory://conformance-leased?leaseMs=200&maxMessageBytes=4000000' },
])('memory, $kind', ({ url }) => {
  transportConformance({
    test,
    transport: memoryTransport,
    url,
    crash: async (_, clientName) => void cutMemoryLinks(url, { clientName }),
    inject: async (queue, bytes) => {
      const driver = await openMemoryDriver(new BrokerUrl(url));
      const payload = Buffer.from(bytes).toString('utf8');
      await driver.push([{ queue, payload, deliveryTag: 'injected', priority: 0, delayMs: 0 }]);
      await driver.close();
    },
  });
});
