// `pnpm bench --brokers`: every broker in turn: enqueue with 1,000 calls in flight, drain by one worker of concurrency
// 100 without results, and what an idle worker costs.
//
//   pnpm bench --brokers [name ...] [--tasks 5000] [--json FILE]
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BROKERS } from '../brokers.mjs';
import { startServices } from '../services.mjs';
import { answer, idle, lovage, lovageWorker, machine, node, peer, workerRate } from './runs.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { brokers: { type: 'boolean' }, tasks: { type: 'string', default: '5000' }, json: { type: 'string' } },
});
const TASKS = Number(values.tasks);
const report = [];

for (const name of positionals.length > 0 ? positionals : Object.keys(BROKERS)) {
  const { services, broker } = BROKERS[name];
  const folder = mkdtempSync(join(tmpdir(), 'lovage-bench-'));
  const running = await startServices(services);
  try {
    const own = { ...process.env, BROKER: broker(running.env, folder), BACKEND: '', COUNT: String(TASKS) };
    const env = (use) => ({ ...own, QUEUE: `bench-${process.pid}-${use}` });
    const enqueue = await answer(node, [peer('lovage.mjs'), 'enqueue', String(TASKS), '1000'], env('enqueue'));
    await answer(node, [peer('lovage.mjs'), 'fill', String(TASKS), '1000'], env('drain'));
    const worker = [lovage, ...lovageWorker(100)];
    const drain = await workerRate(node, [...worker, '-Q', env('drain').QUEUE], env('drain'));
    const rest = await idle(node, [...worker, '-Q', env('idle').QUEUE], env('idle'));
    report.push({ name, enqueue: enqueue.perSecond, drain: drain.perSecond, ...rest });
    process.stderr.write(`${JSON.stringify(report.at(-1))}\n`);
  } finally {
    await running.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

if (values.json !== undefined)
  writeFileSync(values.json, `${JSON.stringify({ date: new Date().toISOString(), machine, report }, null, 2)}\n`);
console.log(`\n${machine}, ${TASKS} tasks\n`);
console.log('| broker | enqueue | drain | idle worker |\n|---|---|---|---|');
for (const { name, enqueue, drain, rssMiB, cpuPercent } of report) {
  console.log(
    `| ${name} | ${Math.round(enqueue)}/s | ${Math.round(drain)}/s | ${cpuPercent.toFixed(1)} % CPU, ${rssMiB.toFixed(0)} MiB |`,
  );
}
