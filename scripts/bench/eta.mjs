// `pnpm bench --eta`: what a worker weighs that has 100,000 tasks before it which are due in four minutes, on Redis, beside
// Celery: as it is set up by default, where most of them go back to the broker, and where it holds all of them.
//
//   pnpm bench --eta [--tasks 100000] [--check]      --check: fail when Lovage is above its goal
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { root } from '../run.mjs';
import { startServices } from '../services.mjs';
import { answer, lovageWorker, lovage, machine, node, peer } from './runs.mjs';

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    eta: { type: 'boolean' },
    tasks: { type: 'string', default: '100000' },
    check: { type: 'boolean' },
    peer: { type: 'string', default: '' },
  },
});
const TASKS = Number(values.tasks);
const SECONDS = 240;
const GOAL_MIB = 200;
const services = await startServices(['redis', 'python']);
const redis = services.env.LOVAGE_TEST_REDIS_URL;

const PEERS = [
  { name: 'Lovage', command: node, args: [lovage, ...lovageWorker(100)] },
  {
    name: 'Lovage, workerEtaTaskLimit: null',
    command: node,
    args: [lovage, ...lovageWorker(100)],
    env: { ETA_LIMIT: 'null' },
  },
  {
    name: 'Celery, -P threads',
    command: services.env.LOVAGE_TEST_PYTHON,
    args: '-m celery -A tasks worker -l ERROR -P threads -c 10 --without-mingle --without-gossip'.split(' '),
    cwd: join(root, 'bench/python'),
    queue: true,
  },
];

console.log(`${machine}. ${TASKS} tasks, due in ${SECONDS} s.`);
const rows = [];
for (const [index, one] of PEERS.entries()) {
  if (!one.name.includes(values.peer)) continue;
  const row = { peer: one.name, ...(await weigh(one, index)) };
  rows.push(row);
  console.error(JSON.stringify(row));
}
console.table(rows);
await services.stop();
const weight = rows[0]['most MiB'];
console.log(`${rows[0].peer} weighed ${weight} MiB at most; the goal is ${GOAL_MIB}.`);
if (values.check && weight > GOAL_MIB) process.exitCode = 1;

async function weigh({ command, args, cwd, env = {}, queue = false }, index) {
  const environment = { ...process.env, ...env, BROKER: redis, QUEUE: `eta-${process.pid}-${index}` };
  await answer(node, [peer('eta.mjs'), 'fill', String(TASKS), String(SECONDS)], environment);
  const before = await answer(node, [peer('eta.mjs'), 'count'], environment);
  const child = spawn(command, [...args, ...(queue ? ['-Q', environment.QUEUE] : [])], {
    cwd: cwd ?? join(root, 'bench'),
    env: environment,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  try {
    const began = performance.now();
    let held = -1;
    for (let settled = 0; settled < 3; ) {
      await sleep(500);
      const now = await answer(node, [peer('eta.mjs'), 'count'], environment);
      settled = now.waiting === 0 && now.held === held ? settled + 1 : 0;
      held = now.held;
      if (performance.now() - began > 120_000) break;
    }
    const { VmRSS: now, VmHWM: most } = memoryOf(child.pid);
    return {
      'held here': held - before.held,
      'taken in s': ((performance.now() - began) / 1000).toFixed(1),
      'MiB then': now,
      'most MiB': most,
    };
  } finally {
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }
}

function memoryOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const of = (name) => Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024);
  return { VmRSS: of('VmRSS'), VmHWM: of('VmHWM') };
}
