// The thread of a test whose own event loop stands still: takes what it gets from a queue, and counts it.
import { parentPort, workerData } from 'node:worker_threads';
import { BrokerUrl, type Transport } from '@lovage/core/transport';
import type { RivalData } from './rival.ts';

const { module, url, connect, queue, state } = workerData as RivalData;
const exported = Object.values((await import(module)) as Record<string, unknown>);
const transport = exported.find((one) => typeof (one as Transport).connect === 'function') as Transport;
const connection = await transport.connect(new BrokerUrl(url), connect);
await connection.declare({ queues: [{ name: queue }] });
const sink = ({ length }: readonly unknown[]): void => {
  Atomics.add(state, 0, length);
  Atomics.notify(state, 0);
};
await connection.consume([queue], sink, { prefetch: 1 });
parentPort?.postMessage('consuming');
// Ends with the thread: until then it holds what it has taken.
setInterval(() => {}, 1000);
