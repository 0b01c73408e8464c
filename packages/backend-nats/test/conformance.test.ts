import { natsBackend } from '@lovage/backend-nats';
import { backendConformance } from '@lovage/conformance';
import { test } from 'vitest';
import { natsUrl } from './nats-url.ts';

const url = natsUrl();

if (url === undefined) test.skip('conformance (no LOVAGE_TEST_NATS_URL)', () => {});
else backendConformance({ test, backend: natsBackend, url: `${url}/kit`, defaultPort: 4222 });
