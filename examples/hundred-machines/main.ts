// Sends one command to a hundred machines, goes on with other work, and collects the answers by task id.
import { app, execute, queueOf } from './tasks.ts';

const machines = Array.from({ length: 100 }, (_, index) => `m${index + 1}`);
const began = Date.now();
const sent = await Promise.all(
  machines.map((machine) => execute.applyAsync(['kernel', machine], { queue: queueOf(machine), expires: 300 })),
);
const ids = sent.map(({ id }) => id);
console.log(`sent to ${ids.length} machines in ${Date.now() - began} ms`);

// The ids are all that is needed later, by this program or by another.
const answers = ids.map((id) => app.asyncResult<{ machine: string; output: string }>(id).get({ timeout: 300 }));
console.log('the caller goes on meanwhile: 2 + 2 =', 2 + 2);

const outcomes = await Promise.allSettled(answers);
const kernels = new Map<string, number>();
for (const outcome of outcomes) {
  const key = outcome.status === 'fulfilled' ? outcome.value.output : `failed: ${String(outcome.reason)}`;
  kernels.set(key, (kernels.get(key) ?? 0) + 1);
}
for (const [kernel, count] of kernels) console.log(`${count} machines: ${kernel}`);
console.log(`all answered after ${Date.now() - began} ms`);
await app.close();
if (outcomes.some(({ status }) => status === 'rejected')) process.exitCode = 1;
