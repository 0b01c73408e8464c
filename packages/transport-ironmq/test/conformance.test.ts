import { once } from 'node:events';
import { Worker as Thread } from 'node:worker_threads';
import { transportConformance } from '@lovage/conformance';
import { ironmqTransport } from '@lovage/transport-ironmq';
import { afterAll, test } from 'vitest';

// Not IronMQ: a test server written from its published HTTP API. It takes reservations of a second, the kit's lease.
// On a thread of its own: it goes on where a test keeps this one from turning.
const thread = new Thread(
  `const { parentPort } = require('node:worker_threads');
  import(${JSON.stringify(new URL('./ironmq-server.mjs', import.meta.url).href)})
    .then(({ createIronMq }) => createIronMq({ project: 'p', token: 'secret', maxBodyBytes: 1024 * 1024 }).listen())
    .then((port) => parentPort.postMessage(port));`,
  { eval: true, execArgv: [] },
);
const [port] = (await once(thread, 'message')) as [number];
afterAll(() => thread.terminate());
const url = `ironmq://p:secret@127.0.0.1:${port}?protocol=http&min_reservation=1`;

transportConformance({
  test,
  transport: ironmqTransport,
  module: new URL('../dist/index.js', import.meta.url).href,
  // A renewal over a busy server takes its time.
  shortLeaseMs: 2000,
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
