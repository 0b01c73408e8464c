import { transportConformance } from '@lovage/conformance';
import { beanstalkTransport } from '@lovage/transport-beanstalk';
import { test } from 'vitest';
import { put } from './raw.ts';
import { beanstalkUrl } from './beanstalk-url.ts';

const url = beanstalkUrl();

if (url === undefined) {
  test.skip('conformance (no LOVAGE_TEST_BEANSTALK_URL)', () => {});
} else {
  transportConformance({
    test,
    transport: beanstalkTransport,
    url,
    defaultPort: 11300,
    inject: (queue, bytes) => put(Number(new URL(url).port), queue, bytes),
  });
}
