import { natsBackend } from '@lovage/backend-nats';
import { backendConformance } from '@lovage/conformance';
import { test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('nats');

if (url === undefined) test.skip('conformance (no LOVAGE_TEST_NATS_URL)', () => {});
else backendConformance({ test, backend: natsBackend, url: `${url}/kit`, defaultPort: 4222 });
