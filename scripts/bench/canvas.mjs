// `pnpm bench --canvas`: workflows of no-op tasks with results on Redis, beside Celery's canvas and BullMQ's flows.
//
//   pnpm bench --canvas [--json FILE]
//
// From the call to the answer, one worker process each (Celery: two prefork children, one a core), all of them warm.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { root } from '../run.mjs';
import { startServices } from '../services.mjs';
import { answer, lovage, lovageWorker, machine, median, node, peer } from './runs.mjs';

const { values } = parseArgs({
  allowPositionals: true,
  options: { canvas: { type: 'boolean' }, json: { type: 'string', default: join(root, 'bench/canvas.json') } },
});
const { env: services, stop } = await startServices(['redis', 'python']);
const redis = services.LOVAGE_TEST_REDIS_URL;
const python = services.LOVAGE_TEST_PYTHON;
const pythonFolder = join(root, 'bench/python');
const celery = ['-m', 'celery', '-A', 'tasks', 'worker', '-l', 'ERROR', '--without-mingle', '--without-gossip'];

const PEERS = {
  Lovage: { worker: [node, [lovage, ...lovageWorker(100)]], client: [node, [peer('canvas-lovage.mjs')]] },
  BullMQ: { worker: [node, [peer('canvas-bullmq.mjs'), 'worker']], client: [node, [peer('canvas-bullmq.mjs')]] },
  ...(python && {
    Celery: { worker: [python, [...celery, '-c', '2']], client: [python, ['canvas.py']], cwd: pythonFolder },
  }),
};

const results = {};
try {
  for (const [name, { worker, client, cwd = join(root, 'bench') }] of Object.entries(PEERS)) {
    const env = { ...process.env, BROKER: redis, BACKEND: redis, QUEUE: `canvas-${process.pid}-${name}` };
    const own = name === 'Celery' ? ['-Q', env.QUEUE] : [];
    const child = spawn(worker[0], [...worker[1], ...own], { env, cwd, stdio: 'ignore', detached: true });
    try {
      // The client's first rounds, which are not counted, wait for the worker to be there.
      await sleep(2000);
      results[name] = await answer(client[0], client[1], env, cwd);
    } finally {
      const exit = once(child, 'exit');
      process.kill(-Number(child.pid), 'SIGKILL');
      await exit;
    }
  }
} finally {
  await stop();
}

const CASES = { chord: 'chord of 100', chain: 'chain of 100', group: 'group of 1,000' };
console.log(`${machine}\n`);
console.log('| ms, median | ' + Object.keys(results).join(' | ') + ' | to BullMQ | to Celery |');
console.log(
  `|---|${Object.keys(results)
    .map(() => '---')
    .join('|')}|---|---|`,
);
const summary = {};
for (const [key, title] of Object.entries(CASES)) {
  const medians = Object.fromEntries(Object.entries(results).map(([name, times]) => [name, median(times[key])]));
  const ratio = (name) => (medians[name] === undefined ? '' : `${(medians[name] / medians.Lovage).toFixed(1)} x`);
  summary[key] = medians;
  const shown = Object.values(medians).map((ms) => ms.toFixed(1));
  console.log(`| ${title} | ${shown.join(' | ')} | ${ratio('BullMQ')} | ${ratio('Celery')} |`);
}
writeFileSync(values.json, JSON.stringify({ machine, milliseconds: summary }, null, 2));
