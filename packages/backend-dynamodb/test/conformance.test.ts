import { dynamodbBackend } from '@lovage/backend-dynamodb';
import { backendConformance } from '@lovage/conformance';
import { test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('dynamodb');

if (url === undefined) test.skip('conformance (no LOVAGE_TEST_DYNAMODB_URL)', () => {});
else backendConformance({ test, backend: dynamodbBackend, url: `${url}/kit` });
