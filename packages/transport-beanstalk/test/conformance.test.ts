import { transportConformance } from '@lovage/conformance';
import { beanstalkTransport } from '@lovage/transport-beanstalk';
import { test } from 'vitest';
import { put } from './raw.ts';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('beanstalk');

if (url === undefined) {
  test.skip('conformance (no LOVAGE_TEST_BEANSTALK_URL)', () => {});
} else {
  transportConformance({
    test,
    transport: beanstalkTransport,
    module: new URL('../dist/index.js', import.meta.url).href,
    url,
    defaultPort: 11300,
    skip: {
      'lease: a session whose event loop stands still keeps what it holds':
        'beanstalkd lets nobody touch a job but the connection that reserved it, and that belongs to the loop that stands still',
      'lease: a session that was silent too long is told, and its late ack reaches nobody':
        "beanstalkd 1.12 now and then forgets the end of a silent connection's lease: its timer fires before the end and is not set again until the connection speaks or closes",
    },
    inject: (queue, bytes) => put(Number(new URL(url).port), queue, bytes),
  });
}
