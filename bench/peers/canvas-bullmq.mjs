// The same with BullMQ's flows: a parent of 100 jobs, a line of 100, a parent of 1,000 that reads its children's values.
// `worker` runs the jobs.
import { FlowProducer, Queue, QueueEvents, Worker } from 'bullmq';
import { timed } from './measure.mjs';

const { hostname: host, port } = new URL(process.env.BROKER);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const name = process.env.QUEUE;

if (process.argv[2] === 'worker') {
  const run = async (job) => (job.name === 'join' ? Object.values(await job.getChildrenValues()) : null);
  const worker = new Worker(name, run, { connection, concurrency: 100 });
  await worker.waitUntilReady();
} else {
  const flows = new FlowProducer({ connection });
  const queue = new Queue(name, { connection });
  const events = new QueueEvents(name, { connection });
  await events.waitUntilReady();
  const leaf = (n) => ({ name: 'noop', queueName: name, data: [n] });
  const end = async ({ job }) => job.waitUntilFinished(events, 60_000);
  const parentOf = (count) => async () =>
    end(await flows.add({ name: 'join', queueName: name, children: Array.from({ length: count }, (_, n) => leaf(n)) }));
  const times = await timed({
    chord: parentOf(100),
    chain: async () => {
      let step = leaf(0);
      for (let n = 1; n < 100; n++) step = { ...leaf(n), children: [step] };
      await end(await flows.add(step));
    },
    group: parentOf(1000),
  });
  console.log(JSON.stringify(times));
  await Promise.all([events.close(), queue.close(), flows.close()]);
}
