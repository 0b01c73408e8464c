// `enqueue N INFLIGHT`, `fill N`, `worker N CONCURRENCY` or `roundtrip N` with BullMQ; prints one JSON object.
import { Queue, QueueEvents, Worker } from 'bullmq';
import { lanes, runCounter } from './measure.mjs';

const { hostname: host, port } = new URL(process.env.BROKER);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const name = process.env.QUEUE;
const [what, count, argument = '1000'] = process.argv.slice(2);
const total = Number(count);
const ready = () => console.log(JSON.stringify({ ready: true }));

if (what === 'worker') {
  const counted = runCounter(total, (rate) => console.log(JSON.stringify(rate)));
  const worker = new Worker(name, async () => counted(), { connection, concurrency: Number(argument) });
  await worker.waitUntilReady();
  ready();
} else {
  const queue = new Queue(name, { connection });
  await lanes(100, 10, () => queue.add('noop', [1]));
  if (what === 'roundtrip') {
    const events = new QueueEvents(name, { connection });
    await events.waitUntilReady();
    const times = [];
    for (let index = 0; index < total; index++) {
      const began = performance.now();
      await (await queue.add('noop', [index])).waitUntilFinished(events);
      times.push(performance.now() - began);
    }
    console.log(JSON.stringify({ times }));
    await events.close();
  } else {
    console.log(
      JSON.stringify({ perSecond: await lanes(total, Number(argument), (index) => queue.add('noop', [index])) }),
    );
  }
  await queue.close();
}
