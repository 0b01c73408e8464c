// What the benchmarks measure, each in processes of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from '../run.mjs';

export const machine = `${cpus().length} x ${cpus()[0].model.trim()}, Node ${process.version}`;
export const node = process.execPath;
export const lovage = join(root, 'packages/cli/dist/bin.js');
export const peer = (file) => join(root, 'bench/peers', file);
export const lovageWorker = (concurrency) => [
  '-A',
  peer('lovage-app.mjs'),
  'worker',
  '-l',
  'error',
  '-c',
  String(concurrency),
];

/** Runs a program that prints one JSON object. */
export async function answer(command, args, env, cwd = join(root, 'bench')) {
  const child = spawn(command, args, { env, cwd, stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${output}`);
  return JSON.parse(output.trim().split('\n').at(-1));
}

/** Starts a worker, waits for the line that tells its rate, stops it. */
export async function workerRate(command, args, env, cwd) {
  const child = spawn(command, args, { env, cwd: cwd ?? join(root, 'bench'), stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.includes('"perSecond"')) return JSON.parse(line);
    }
    throw new Error(`${command} ${args.join(' ')} ended before it had run all`);
  } finally {
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }
}

/** Memory and CPU of a worker that has long been idle, over 20 s, from the kernel. */
export async function idle(command, args, env, cwd) {
  const child = spawn(command, args, { env, cwd: cwd ?? join(root, 'bench'), stdio: 'ignore', detached: true });
  const usage = () => {
    const group = Number(child.pid);
    let rss = 0;
    let ticks = 0;
    for (const pid of processesOf(group)) {
      rss += Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
    }
    return { rssMiB: rss / 1024, ticks };
  };
  // What its start has left is collected within some seconds.
  await sleep(15_000);
  const before = usage();
  await sleep(20_000);
  const after = usage();
  const exit = once(child, 'exit');
  process.kill(-Number(child.pid), 'SIGKILL');
  await exit;
  return { rssMiB: after.rssMiB, cpuPercent: (after.ticks - before.ticks) / 20 };
}

function processesOf(leader) {
  const all = readFileSync(`/proc/${leader}/task/${leader}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number);
  return [leader, ...all];
}

export const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor((numbers.length - 1) / 2)];
