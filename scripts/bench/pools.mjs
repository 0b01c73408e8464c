// `pnpm bench --pools`: tasks that do nothing and tasks that compute for 10 ms, on each pool of Lovage, on Celery's
// prefork and on BullMQ with and without sandboxed processors; all on one Redis, in one run.
//
//   pnpm bench --pools [--noop 10000] [--cpu 2000] [--check]      --check: fail when `processes` is below its goal
//
// The limit is what two processes compute that do nothing else. The work is PBKDF2 in OpenSSL, the same in every
// language, of as many iterations as take 10 ms here. What a peer runs first warms it up and does not count. Where others use the machine too, the share of a worker's CPU time
// that went into work says more than its rate.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { root } from '../run.mjs';
import { startServices } from '../services.mjs';
import { answer, lovage, machine, node, peer } from './runs.mjs';

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    pools: { type: 'boolean' },
    noop: { type: 'string', default: '10000' },
    cpu: { type: 'string', default: '2000' },
    check: { type: 'boolean' },
  },
});
const COUNTS = { noop: Number(values.noop), cpu: Number(values.cpu) };
const SLOTS = 2;
const GOAL = 0.9;
const LOOK_MS = 20;
const folder = mkdtempSync(join(tmpdir(), 'lovage-pools-'));
const services = await startServices(['redis', 'python']);
const redis = services.env.LOVAGE_TEST_REDIS_URL;
const python = services.env.LOVAGE_TEST_PYTHON;
let sequence = 0;

const lovageArgs = (pool) => [lovage, '-A', peer('pool-app.mjs'), 'worker', '-l', 'error', '-P', pool];
const slots = (pool) => (pool === 'async' ? 100 : pool === 'solo' ? 1 : SLOTS);
const PEERS = [
  ...['processes', 'threads', 'async', 'solo'].map((pool) => ({
    name: `Lovage ${pool} -c ${slots(pool)}`,
    command: node,
    args: [...lovageArgs(pool), '-c', String(slots(pool))],
    fill: [node, [peer('pool-app.mjs'), 'fill']],
    env: { PREFETCH_MULTIPLIER: '4' },
  })),
  {
    name: `Celery prefork -c ${SLOTS}`,
    command: python,
    args: `-m celery -A tasks worker -l ERROR -P prefork -c ${SLOTS} --without-mingle --without-gossip`.split(' '),
    cwd: join(root, 'bench/python'),
    fill: [node, [peer('pool-app.mjs'), 'fill']],
    queue: true,
  },
  {
    name: 'BullMQ, concurrency 100',
    command: node,
    args: [peer('pool-bullmq.mjs'), 'worker', '100'],
    fill: [node, [peer('pool-bullmq.mjs'), 'fill']],
  },
  {
    name: `BullMQ sandboxed, concurrency ${SLOTS}`,
    command: node,
    args: [peer('pool-bullmq.mjs'), 'sandbox', String(SLOTS)],
    fill: [node, [peer('pool-bullmq.mjs'), 'fill']],
  },
];

const iterations = await calibrate();
const limit = await twoCores();
console.log(
  `${machine}. Work of 10 ms: ${iterations} iterations. Two processes alone: ${limit.toFixed(0)} tasks a second.`,
);

const rows = [];
for (const one of PEERS) {
  const row = { peer: one.name };
  const noop = await drain(one, 'noop');
  const cpu = await drain(one, 'cpu');
  row['no-op /s'] = Math.round(noop.perSecond);
  row['10 ms CPU /s'] = Math.round(cpu.perSecond);
  row['of two cores'] = (cpu.perSecond / limit).toFixed(2);
  row['CPU spent on work'] = cpu.workShare.toFixed(2);
  row['idle parent MiB'] = noop.memory[0];
  row['idle children MiB'] = noop.memory.slice(1).join(' + ') || '-';
  rows.push(row);
  console.error(JSON.stringify(row));
}
console.table(rows);
await services.stop();
rmSync(folder, { recursive: true, force: true });
const reached = Number(rows[0]['of two cores']);
console.log(`processes -c 2 reaches ${reached} of the two-core limit; the goal is ${GOAL}.`);
if (values.check && reached < GOAL) process.exitCode = 1;

/** Fills a queue, then starts a worker and measures from its first task to its last. */
async function drain({ command, args, cwd, fill, env = {}, queue = false }, task) {
  const count = COUNTS[task];
  const runs = join(folder, `runs-${++sequence}`);
  const environment = {
    ...process.env,
    ...env,
    BROKER: redis,
    QUEUE: `pools-${process.pid}-${sequence}`,
    RUNS: runs,
    ITERATIONS: String(iterations),
  };
  const size = () => (existsSync(runs) ? statSync(runs).size : 0);
  const [program, fillArgs] = fill;
  const own = queue ? ['-Q', environment.QUEUE] : [];
  const child = spawn(command, [...args, ...own], {
    cwd: cwd ?? join(root, 'bench'),
    env: environment,
    stdio: ['ignore', 'ignore', 'inherit'],
    detached: true,
  });
  try {
    // Up and idle: one task of each child has run, so that all code is loaded.
    await answer(program, [...fillArgs, 'noop', '10'], environment);
    while (size() < 10) await sleep(5);
    await sleep(1000);
    const memory = memoryOf(child.pid);
    // Stopped while the queue is filled, so that it finds all of it.
    process.kill(-Number(child.pid), 'SIGSTOP');
    await answer(program, [...fillArgs, task, String(count)], environment);
    process.kill(-Number(child.pid), 'SIGCONT');
    // Looking costs CPU that the peers are to have: seldom enough not to matter, often enough for half a percent.
    while (size() < 10 + Math.ceil(count / 5)) await sleep(LOOK_MS);
    const began = performance.now();
    const before = size();
    const ticks = ticksOf(child.pid);
    while (size() < 10 + count) await sleep(LOOK_MS);
    const done = 10 + count - before;
    // A tick of the kernel is 10 ms, and so is the work of a task.
    const workShare = done / (ticksOf(child.pid) - ticks);
    return { perSecond: (done / (performance.now() - began)) * 1000, workShare, memory };
  } finally {
    const exit = once(child, 'exit');
    process.kill(-Number(child.pid), 'SIGKILL');
    await exit;
  }
}

/** CPU time of the leader and its children. */
function ticksOf(leader) {
  return processesOf(leader).reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return sum + Number(fields[11]) + Number(fields[12]);
  }, 0);
}

function processesOf(leader) {
  const children = readFileSync(`/proc/${leader}/task/${leader}/children`, 'utf8').trim().split(' ').filter(Boolean);
  return [leader, ...children];
}

/** MiB of the leader, then of each of its children. */
function memoryOf(leader) {
  return processesOf(leader).map((pid) =>
    Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024),
  );
}

async function calibrate() {
  const { iterations: count } = await answer(node, [peer('pool-work.mjs'), 'calibrate'], process.env);
  return count;
}

async function twoCores() {
  const env = { ...process.env, ITERATIONS: String(iterations) };
  const both = await Promise.all([1, 2].map(() => answer(node, [peer('pool-work.mjs'), 'run'], env)));
  return both.reduce((sum, { perSecond }) => sum + perSecond, 0);
}
