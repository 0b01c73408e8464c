// `pnpm bench`, `pnpm bench --peers`: Lovage, Celery, BullMQ and the bare clients, in turn, on the same servers, in one run.
//
//   pnpm bench [redis] [amqp] [sqlite] [--only enqueue|drain|roundtrip|idle] [--rounds 3] [--json FILE]
//
// Every case runs in processes of its own; the table shows medians and their ratios. Absolute numbers depend on the
// machine; the ratios are what counts.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { root } from '../run.mjs';
import { startServices } from '../services.mjs';
import { answer, idle, lovage, lovageWorker, machine, median, node, peer, workerRate } from './runs.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    peers: { type: 'boolean' },
    json: { type: 'string', default: join(root, 'bench/results.json') },
    tasks: { type: 'string', default: '20000' },
  },
});
const brokers = positionals.length > 0 ? positionals : ['redis', 'amqp', 'sqlite'];
const ROUNDS = Number(values.rounds);
const TASKS = Number(values.tasks);
const folder = mkdtempSync(join(tmpdir(), 'lovage-bench-'));

const services = await startServices(['redis', 'amqp', 'python']);
const redis = services.env.LOVAGE_TEST_REDIS_URL;
const amqp = services.env.LOVAGE_TEST_AMQP_URL;
const python = services.env.LOVAGE_TEST_PYTHON;
let sequence = 0;

function environment(broker, backend) {
  const file = join(folder, `bench-${++sequence}.db`);
  const urls = { redis, amqp, sqlite: `sqla+sqlite:///${file}` };
  const stores = { none: '', redis, sqlite: `db+sqlite:///${file}`, rpc: 'rpc://' };
  return { ...process.env, BROKER: urls[broker], BACKEND: stores[backend], QUEUE: `bench-${process.pid}-${sequence}` };
}

const python_ = join(root, 'bench/python');

async function celeryDrain(env, pool) {
  const runs = join(folder, `runs-${sequence}`);
  const child = spawn(
    python,
    [
      '-m',
      'celery',
      '-A',
      'tasks',
      'worker',
      '-l',
      'ERROR',
      ...pool,
      '-Q',
      env.QUEUE,
      '--without-mingle',
      '--without-gossip',
    ],
    {
      cwd: python_,
      env: { ...env, RUNS: runs },
      stdio: 'ignore',
      detached: true,
    },
  );
  try {
    const size = () => (existsSync(runs) ? statSync(runs).size : 0);
    while (size() === 0) await sleep(2);
    const began = performance.now();
    const before = size();
    while (size() < TASKS) await sleep(5);
    return { perSecond: ((TASKS - before) / (performance.now() - began)) * 1000 };
  } finally {
    const exit = once(child, 'exit');
    process.kill(-Number(child.pid), 'SIGKILL');
    await exit;
  }
}

async function roundtrip(client, startWorker) {
  const stop = await startWorker();
  try {
    const { times } = await client();
    times.sort((a, b) => a - b);
    return { p50: times[Math.floor(times.length * 0.5)], p99: times[Math.floor(times.length * 0.99)] };
  } finally {
    await stop();
  }
}

function background(command, args, env, cwd) {
  return async () => {
    const child = spawn(command, args, { env, cwd: cwd ?? join(root, 'bench'), stdio: 'ignore', detached: true });
    return async () => {
      const exit = once(child, 'exit');
      process.kill(-Number(child.pid), 'SIGKILL');
      await exit;
    };
  };
}

const CASES = [];
const add = (section, broker, name, run) => CASES.push({ section, broker, name, run, values: [] });

for (const broker of brokers) {
  const store = broker === 'sqlite' ? 'sqlite' : 'redis';
  for (const inFlight of broker === 'sqlite' ? [1, 1000] : [1, 100, 1000]) {
    const count = inFlight === 1 ? 3000 : TASKS;
    const section = `enqueue, ${inFlight === 1 ? 'awaited one by one' : `${inFlight} in flight`}`;
    if (broker !== 'sqlite')
      add(section, broker, 'raw client', () =>
        answer(
          node,
          [peer('raw.mjs'), broker, 'enqueue', String(count), String(inFlight)],
          environment(broker, 'none'),
        ),
      );
    add(section, broker, 'Lovage', () =>
      answer(node, [peer('lovage.mjs'), 'enqueue', String(count), String(inFlight)], environment(broker, 'none')),
    );
    if (broker === 'redis')
      add(section, broker, 'BullMQ', () =>
        answer(node, [peer('bullmq.mjs'), 'enqueue', String(count), String(inFlight)], environment(broker, 'none')),
      );
    add(section, broker, 'Celery', () =>
      answer(python, ['client.py', 'enqueue', '3000'], environment(broker, 'none'), python_),
    );
    if (broker === 'amqp')
      add(section, broker, 'Celery, confirmed', () =>
        answer(python, ['client.py', 'enqueue', '2000'], { ...environment(broker, 'none'), CONFIRM: '1' }, python_),
      );
  }
  for (const results of [false, true]) {
    const section = `drain of ${TASKS} no-op tasks, ${results ? 'results stored' : 'no results'}`;
    const backend = results ? store : 'none';
    const filled = async (env) => {
      await answer(node, [peer('lovage.mjs'), 'fill', String(TASKS - 100), '1000'], env);
      return env;
    };
    if (broker === 'redis') {
      add(section, broker, 'raw client', async () => {
        const env = { ...environment(broker, 'none'), ...(results ? { RESULTS: '1' } : {}) };
        await answer(node, [peer('raw.mjs'), 'redis', 'enqueue', String(TASKS), '1000'], env);
        return answer(node, [peer('raw.mjs'), 'redis', 'cycle', String(TASKS)], env);
      });
    }
    if (broker === 'amqp' && !results) {
      add(section, broker, 'raw client', async () => {
        const env = environment(broker, 'none');
        await answer(node, [peer('raw.mjs'), 'amqp', 'enqueue', String(TASKS), '1000'], env);
        return answer(node, [peer('raw.mjs'), 'amqp', 'consume', String(TASKS)], env);
      });
    }
    add(section, broker, 'Lovage', async () => {
      const env = await filled(environment(broker, backend));
      return workerRate(node, [lovage, ...lovageWorker(100), '-Q', env.QUEUE], {
        ...env,
        COUNT: String(TASKS),
        PREFETCH_MULTIPLIER: broker === 'amqp' ? '10' : '4',
      });
    });
    if (broker === 'redis' && results) {
      add(section, broker, 'BullMQ', async () => {
        const env = environment(broker, 'none');
        await answer(node, [peer('bullmq.mjs'), 'fill', String(TASKS - 100), '1000'], env);
        return workerRate(node, [peer('bullmq.mjs'), 'worker', String(TASKS), '100'], env);
      });
    }
    add(section, broker, 'Celery prefork -c 2', async () =>
      celeryDrain(await filled(environment(broker, backend)), ['-P', 'prefork', '-c', '2']),
    );
  }
  const client = broker === 'amqp' ? 'rpc' : store;
  const lovageEnv = () => environment(broker, client);
  add('round trip', broker, 'Lovage', () => {
    const env = lovageEnv();
    return roundtrip(
      () => answer(node, [peer('lovage.mjs'), 'roundtrip', '1000'], env),
      background(node, [lovage, ...lovageWorker(100), '-Q', env.QUEUE], env),
    );
  });
  if (broker === 'redis') {
    add('round trip', broker, 'BullMQ', () => {
      const env = environment(broker, 'none');
      return roundtrip(
        () => answer(node, [peer('bullmq.mjs'), 'roundtrip', '1000'], env),
        background(node, [peer('bullmq.mjs'), 'worker', '1000000', '10'], env),
      );
    });
  }
  add('round trip', broker, 'Celery prefork -c 2', () => {
    const env = lovageEnv();
    const args = [
      '-m',
      'celery',
      '-A',
      'tasks',
      'worker',
      '-l',
      'ERROR',
      '-P',
      'prefork',
      '-c',
      '2',
      '-Q',
      env.QUEUE,
      '--without-mingle',
      '--without-gossip',
    ];
    return roundtrip(
      () => answer(python, ['client.py', 'roundtrip', broker === 'sqlite' ? '20' : '500'], env, python_),
      background(python, args, env, python_),
    );
  });
  add('idle worker', broker, 'Lovage', () => {
    const env = environment(broker, store);
    return idle(node, [lovage, ...lovageWorker(10), '-Q', env.QUEUE], env);
  });
  add('idle worker', broker, 'Celery prefork -c 2', () => {
    const env = environment(broker, store);
    return idle(
      python,
      ['-m', 'celery', '-A', 'tasks', 'worker', '-l', 'ERROR', '-P', 'prefork', '-c', '2', '-Q', env.QUEUE],
      env,
      python_,
    );
  });
}

try {
  for (let round = 0; round < ROUNDS; round++) {
    for (const one of CASES) {
      if (values.only !== undefined && !one.section.startsWith(values.only)) continue;
      if (one.section === 'idle worker' && round > 0) continue;
      one.values.push(await one.run());
      process.stderr.write(
        `round ${round + 1} ${one.broker}: ${one.section}: ${one.name}: ${JSON.stringify(one.values.at(-1))}\n`,
      );
    }
  }
} finally {
  await services.stop();
  rmSync(folder, { recursive: true, force: true });
}

const report = [];
for (const { section, broker, name, values: measured } of CASES) {
  if (measured.length === 0) continue;
  const row = { section, broker, name };
  for (const key of Object.keys(measured[0])) row[key] = median(measured.map((value) => value[key]));
  report.push(row);
}
writeFileSync(
  values.json,
  `${JSON.stringify({ date: new Date().toISOString(), machine, rounds: ROUNDS, report }, null, 2)}\n`,
);

console.log(`\n${machine}, medians of ${ROUNDS}\n`);
console.log('| broker | case | peer | figure | Lovage against it |\n|---|---|---|---|---|');
for (const row of report) {
  const ours = report.find(
    ({ section, broker, name }) => name === 'Lovage' && section === row.section && broker === row.broker,
  );
  const figure =
    row.perSecond !== undefined
      ? `${Math.round(row.perSecond)}/s`
      : row.p50 !== undefined
        ? `p50 ${row.p50.toFixed(2)} ms, p99 ${row.p99.toFixed(2)} ms`
        : `${row.rssMiB.toFixed(0)} MiB, ${row.cpuPercent.toFixed(1)} % CPU`;
  const ratio =
    row.name === 'Lovage'
      ? ''
      : row.perSecond !== undefined
        ? `${(ours.perSecond / row.perSecond).toFixed(2)} x`
        : row.p50 !== undefined
          ? `${(ours.p50 / row.p50).toFixed(2)} x the time`
          : `${(ours.rssMiB / row.rssMiB).toFixed(2)} x the memory`;
  console.log(`| ${row.broker} | ${row.section} | ${row.name} | ${figure} | ${ratio} |`);
}
