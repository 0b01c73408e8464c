import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { mortalTransport, transportConformance } from '@lovage/conformance';
import { BrokerUrl, builtModule } from '@lovage/core/transport';
import { afterAll, test } from 'vitest';
import { openSqsDriver } from '../src/open.ts';

const url = process.env['LOVAGE_TEST_SQS_URL'];

if (url === undefined) {
  test.skip('conformance (no LOVAGE_TEST_SQS_URL)', () => {});
} else {
  const { host, port } = new BrokerUrl(url);
  const endpoint = `http://${host}:${port}`;
  const client = new SQSClient({
    endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
  });
  afterAll(() => client.destroy());
  const { transport, crash } = mortalTransport({
    schemes: ['sqs'],
    leaseKeeper: builtModule('../src/lease-keeper.ts', import.meta.url),
    open: openSqsDriver,
  });
  const outlives = 'over HTTP no socket is a session: it outlives the cut, and so do receipts (see faults.test.ts)';
  transportConformance({
    test,
    transport,
    module: new URL('../dist/index.js', import.meta.url).href,
    crash,
    url,
    volume: 2000,
    // A second is little for ElasticMQ on a busy machine: a renewal takes a part of it.
    shortLeaseMs: 2000,
    // Short polls: closing waits for a long one, and every test closes. The others are in receiving.test.ts.
    connect: { transportOptions: { waitTimeSeconds: 0, pollingInterval: 0.03 } },
    skip: {
      'loss: a cut link is said once, by every promise': outlives,
      'loss: a reset link is said once, by every promise': outlives,
      'loss: a half-closed link is said once, by every promise': outlives,
      'loss: what a lost session held comes again, and its late ack reaches nobody': outlives,
      'loss: no message whose publish resolved is missing, wherever the link is cut': outlives,
      'admin: purge() drops what waits, says how much, and leaves the rest alone':
        'PurgeQueue of SQS drops what is held, too',
    },
    inject: async (queue, bytes) => {
      await client.send(
        new SendMessageCommand({
          QueueUrl: `${endpoint}/000000000000/${queue}`,
          // SQS has no empty messages; white space is the least.
          MessageBody: Buffer.from(bytes).toString('base64') || ' ',
        }),
      );
    },
  });
}
