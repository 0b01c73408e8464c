// A process of the tests in filesystem.test.ts: `node child.mjs hold <url> <queue>` takes messages and settles none.
import { BrokerUrl } from '@lovage/core/transport';
import { filesystemTransport } from '@lovage/transport-filesystem';

const [, , , url, queue] = process.argv;
const connection = await filesystemTransport.connect(new BrokerUrl(url), {});
await connection.declare({ queues: [{ name: queue }] });
await connection.consume([queue], (deliveries) => process.send(deliveries.length), { prefetch: 0 });
process.send('ready');
