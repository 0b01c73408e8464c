// `pnpm bench --cli`: how long a person or a deployment waits for the command: help, a call, a worker that is ready on
// Redis; beside a bare Node and Celery's command, in turns, in one run. The CPU time (on Linux) says more where others
// use the machine too.
//
//   pnpm bench --cli [--rounds 15] [--check]      --check: fail when a median is above its goal
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../run.mjs';
import { startServices } from '../services.mjs';
import { lovage, machine, node } from './runs.mjs';

const { values } = parseArgs({
  allowPositionals: true,
  options: { cli: { type: 'boolean' }, rounds: { type: 'string', default: '15' }, check: { type: 'boolean' } },
});
const rounds = Number(values.rounds);
const folder = mkdtempSync(join(tmpdir(), 'lovage-bench-cli-'));
mkdirSync(join(folder, 'node_modules/@lovage'), { recursive: true });
for (const name of ['core', 'transport-redis'])
  symlinkSync(join(root, 'packages', name), join(folder, 'node_modules/@lovage', name));
const APP = `import { Lovage } from '@lovage/core';
export const app = new Lovage('bench', { broker: process.env.LOVAGE_TEST_REDIS_URL });
app.task('tasks.add', (x, y) => x + y);
`;
writeFileSync(join(folder, 'app.mjs'), APP);
writeFileSync(join(folder, 'typed.ts'), APP.replace('(x, y)', '(x: number, y: number)'));
writeFileSync(
  join(folder, 'app.py'),
  'import os\nfrom celery import Celery\napp = Celery("bench", broker=os.environ["LOVAGE_TEST_REDIS_URL"])\n',
);

const { env: services, stop } = await startServices(['redis', 'python']);
const env = { ...process.env, ...services };
const python = services.LOVAGE_TEST_PYTHON;
const worker = (app) => [lovage, '-A', app, '--log-format', 'line', 'worker', '-l', 'info', '-c', '10'];
const celery = (...args) => ({ command: python, args: ['-m', 'celery', '-A', 'app', ...args] });
const CASES = [
  { name: 'node, nothing', args: ['-e', '0'] },
  { name: 'lovage --help', args: [lovage, '--help'], goalMs: 300 },
  { name: 'lovage worker --help', args: [lovage, 'worker', '--help'] },
  { name: 'lovage call', args: [lovage, '-A', './app.mjs', 'call', 'tasks.add', '-a', '[2, 2]'] },
  { name: 'lovage worker, ready', args: worker('./app.mjs'), sign: 'ready: consuming', goalMs: 600 },
  { name: 'lovage worker, ready, of TypeScript', args: worker('./typed.ts'), sign: 'ready: consuming', goalMs: 600 },
  { name: 'celery --help', ...celery('--help') },
  { name: 'celery call', ...celery('call', 'tasks.add', '-a', '[2, 2]') },
  { name: 'celery worker, ready', ...celery('worker', '-l', 'info', '-P', 'threads', '-c', '10'), sign: ' ready.' },
];

const times = new Map(CASES.map(({ name }) => [name, []]));
try {
  for (let round = 0; round < rounds; round++) {
    for (const one of CASES) {
      const taken = await time(one);
      // The first round fills the system's file cache and jiti's.
      if (round > 0) times.get(one.name).push(taken);
    }
  }
} finally {
  await stop();
  rmSync(folder, { recursive: true, force: true });
}

console.log(`${machine}; ms from the start of the process, ${rounds - 1} rounds\n`);
console.log('| | median | fastest | goal | CPU, median |\n|---|---|---|---|---|');
for (const { name, goalMs } of CASES) {
  const sorted = (key) =>
    times
      .get(name)
      .flatMap((one) => one[key] ?? [])
      .toSorted((a, b) => a - b);
  const median = (list) => list[Math.floor(list.length / 2)];
  const [ms, cpuMs] = [sorted('ms'), sorted('cpuMs')];
  console.log(`| ${[name, median(ms).toFixed(0), ms[0].toFixed(0), goalMs ?? '', median(cpuMs) ?? ''].join(' | ')} |`);
  if (values.check && median(ms) > goalMs) process.exitCode = 1;
}

/** Until the process has ended, or has said its sign; what still runs is stopped then. */
async function time({ command = node, args, sign }) {
  const began = performance.now();
  const child = spawn(command, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  let taken;
  const take = () => {
    taken ??= { ms: performance.now() - began, cpuMs: cpuOf(child.pid) };
  };
  // Of a process that ends only this moment is left to read: its streams are closed, it is not yet waited for.
  if (sign === undefined) child.stdout.once('end', take);
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
      if (taken !== undefined || sign === undefined || !text.includes(sign)) return;
      take();
      child.kill('SIGTERM');
    });
  }
  const [code] = await once(child, 'close');
  if (taken === undefined || (sign === undefined && code !== 0))
    throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${text}`);
  return taken;
}

function cpuOf(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return undefined;
  }
}
