// `fill TASK N`, `worker CONCURRENCY` or `sandbox CONCURRENCY` with BullMQ.
import { fileURLToPath } from 'node:url';
import { Queue, Worker } from 'bullmq';
import run from './pool-processor.mjs';

const { hostname: host, port } = new URL(process.env.BROKER);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const name = process.env.QUEUE;
const [what, first, second] = process.argv.slice(2);

if (what === 'fill') {
  const queue = new Queue(name, { connection });
  await queue.addBulk(Array.from({ length: Number(second) }, () => ({ name: first, data: {} })));
  console.log('{}');
  await queue.close();
} else {
  const processor = what === 'sandbox' ? fileURLToPath(new URL('pool-processor.mjs', import.meta.url)) : run;
  await new Worker(name, processor, { connection, concurrency: Number(first) }).waitUntilReady();
}
