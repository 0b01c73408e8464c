import { transportConformance } from '@lovage/conformance';
import { ironmqTransport } from '@lovage/transport-ironmq';
import { afterAll, test } from 'vitest';
import { createIronMq } from './ironmq-server.mjs';

// Not IronMQ: a test server written from its published HTTP API. It takes reservations of a second, the kit's lease.
const server = createIronMq({ project: 'p', token: 'secret', maxBodyBytes: 1024 * 1024 });
const port = await server.listen();
afterAll(() => server.close());
const url = `ironmq://p:secret@127.0.0.1:${port}?protocol=http&min_reservation=1`;

transportConformance({
  test,
  transport: ironmqTransport,
  url,
  skip: Object.fromEntries(
    [
      'loss: a cut link is said once, by every promise',
      'loss: a half-closed link is said once, by every promise',
      'loss: what a lost session held comes again, and its late ack reaches nobody',
    ].map((name) => [
      name,
      'HTTP: a reservation belongs to no connection; an idle one that is cut is replaced, and the session holds what it held',
    ]),
  ),
  inject: async (queue, bytes) => {
    await fetch(`http://127.0.0.1:${port}/3/projects/p/queues/${queue}/messages`, {
      method: 'POST',
      headers: { authorization: 'OAuth secret' },
      body: JSON.stringify({ messages: [{ body: new TextDecoder().decode(bytes) }] }),
    });
  },
});
