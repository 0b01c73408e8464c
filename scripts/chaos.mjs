// The kill tests: workers, and brokers, are killed with SIGKILL under load, and a ledger says what was lost.
//
//   node scripts/chaos.mjs [redis|amqp|sqlite|redis-broker|amqp-broker ...] [--tasks 20000] [--kills 40] [--without NAME]
//
// NAME kills workers, NAME-broker kills the server itself.
// lost: acknowledged to the producer and never run. phantom: run and never sent. Both must be 0. duplicates: runs
// beyond the first; at most what was in flight when workers were killed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { BROKERS } from './brokers.mjs';
import { root } from './run.mjs';
import { startServices } from './services.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tasks: { type: 'string', default: '20000' },
    kills: { type: 'string', default: '40' },
    seed: { type: 'string' },
    without: { type: 'string', multiple: true, default: [] },
  },
});
const COUNT = Number(values.tasks);
const KILLS = Number(values.kills);
const WORKERS = 3;
const CONCURRENCY = 20;

const seed = Number(values.seed ?? Date.now() % 1_000_000);
let state = seed;
const random = () => {
  state = (state * 1103515245 + 12345) % 2147483648;
  return state / 2147483648;
};

const restartable = Object.entries(BROKERS).filter(([, { restartable }]) => restartable);
const SCENARIOS = {
  ...BROKERS,
  ...Object.fromEntries(restartable.map(([name, one]) => [`${name}-broker`, { ...one, kill: one.services[0] }])),
  amqp: { ...BROKERS.amqp, services: ['amqp', 'redis'], backend: (env) => env.LOVAGE_TEST_REDIS_URL },
  'redis-broker': {
    services: ['redis-durable'],
    kill: 'redis-durable',
    broker: (env) => env.LOVAGE_TEST_REDIS_DURABLE_URL,
    backend: (env) => env.LOVAGE_TEST_REDIS_DURABLE_URL,
  },
  'amqp-broker': {
    services: ['amqp-private'],
    kill: 'amqp-private',
    broker: (env) => env.LOVAGE_TEST_AMQP_PRIVATE_URL,
    backend: () => undefined,
  },
  'sqs-broker': {
    ...BROKERS.sqs,
    services: ['sqs-durable'],
    kill: 'sqs-durable',
    broker: (env) => env.LOVAGE_TEST_SQS_DURABLE_URL,
  },
};

async function scenario(name, { services, broker, backend, kill, standsStillMs }) {
  const dir = mkdtempSync(join(tmpdir(), 'lovage-chaos-'));
  const running = await startServices(services, { own: kill !== undefined });
  const env = {
    ...process.env,
    BROKER: broker(running.env, dir),
    BACKEND: backend(running.env, dir),
    QUEUE: `chaos-${seed}`,
    COUNT: String(COUNT),
    LEDGER: join(dir, 'runs'),
    PRODUCER_LEDGER: join(dir, 'producer'),
  };
  for (const key of Object.keys(env)) if (env[key] === undefined) delete env[key];
  const startWorker = () => {
    const child = spawn(
      process.execPath,
      [
        join(root, 'packages/cli/dist/bin.js'),
        '-A',
        join(root, 'interop/chaos/app.mjs'),
        'worker',
        '-l',
        'error',
        '-c',
        String(CONCURRENCY),
        '-Q',
        env.QUEUE,
      ],
      { env, stdio: ['ignore', 'inherit', 'inherit'] },
    );
    return { child, exit: once(child, 'exit') };
  };
  const workers = Array.from({ length: WORKERS }, startWorker);
  const producer = spawn(process.execPath, [join(root, 'interop/chaos/producer.mjs')], { env, stdio: 'inherit' });
  const produced = once(producer, 'exit');
  let kills = 0;
  try {
    if (kill === undefined) {
      for (; kills < KILLS; kills++) {
        await sleep(100 + random() * 500);
        const index = Math.floor(random() * WORKERS);
        workers[index].child.kill('SIGKILL');
        await workers[index].exit;
        workers[index] = startWorker();
      }
    } else {
      for (; kills < 2; kills++) {
        await sleep(1500 + random() * 1500);
        await running.restart(kill);
      }
    }
    await produced;
    const report = await settled(dir, standsStillMs);
    const inFlight = kill === undefined ? kills * CONCURRENCY : kills * WORKERS * CONCURRENCY;
    // A server that is killed may forget settlements that were not yet on its disk: they are counted, not judged.
    const isBounded = kill !== undefined || report.duplicates <= inFlight;
    const good = report.acknowledged > 0 && report.lost === 0 && report.phantom === 0 && isBounded;
    console.log(
      JSON.stringify({ scenario: name, seed, tasks: COUNT, kills, ...report, inFlightAtMost: inFlight, good }),
    );
    return good;
  } finally {
    producer.kill('SIGKILL');
    for (const { child, exit } of workers) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM');
        if ((await Promise.race([exit, sleep(40_000, 'late', { ref: false })])) === 'late') child.kill('SIGKILL');
      }
    }
    await running.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Waits until the ledgers say that all is done, or stand still for longer than a lease takes to run out. */
async function settled(dir, standsStillMs = 60_000) {
  let last = '';
  let since = Date.now();
  for (;;) {
    const report = check(dir);
    if (report.lost === 0 && Date.now() - since > 1000) return report;
    const now = JSON.stringify(report);
    if (now !== last) [last, since] = [now, Date.now()];
    if (Date.now() - since > standsStillMs) return report;
    await sleep(500);
  }
}

function check(dir) {
  const attempted = new Set();
  const acknowledged = new Set();
  let unknown = 0;
  const producer = join(dir, 'producer');
  for (const line of existsSync(producer) ? readFileSync(producer, 'utf8').split('\n') : []) {
    const [word, id] = line.split(' ');
    if (word === 'try') attempted.add(id);
    else if (word === 'ok') acknowledged.add(id);
    else if (word === 'fail') unknown++;
  }
  const runs = new Map();
  for (const file of readdirSync(dir).filter((file) => file.startsWith('runs-'))) {
    for (const line of readFileSync(join(dir, file), 'utf8').split('\n')) {
      const [id] = line.split(' ');
      if (id !== '') runs.set(id, (runs.get(id) ?? 0) + 1);
    }
  }
  let duplicates = 0;
  let phantom = 0;
  for (const [id, count] of runs) {
    duplicates += count - 1;
    if (!attempted.has(id)) phantom++;
  }
  const lost = [...acknowledged].filter((id) => !runs.has(id)).length;
  return {
    attempted: attempted.size,
    acknowledged: acknowledged.size,
    unknown,
    run: runs.size,
    lost,
    phantom,
    duplicates,
  };
}

let failed = 0;
const names = positionals.length > 0 ? positionals : Object.keys(SCENARIOS);
for (const name of names.filter((one) => !values.without.includes(one))) {
  if (!(await scenario(name, SCENARIOS[name]))) failed++;
}
process.exitCode = failed === 0 ? 0 : 1;
