import { s3Backend } from '@lovage/backend-s3';
import { backendConformance } from '@lovage/conformance';
import { BackendUrl } from '@lovage/core/backend';
import { test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('s3');

if (url === undefined) test.skip('conformance (no LOVAGE_TEST_S3_URL)', () => {});
else {
  const { hostname, port } = new URL(String(new BackendUrl(url).query['endpoint_url']));
  backendConformance({
    test,
    backend: s3Backend,
    // Its cleanup removes what is old below its base path.
    url: url.replace('?', '/kit/?'),
    upstream: { host: hostname, port: Number(port) },
    reroute: (own, link) => own.replace(/(endpoint_url=[^&]*%3A)\d+/, `$1${link}`),
  });
}
