// The shutdown ladder: a worker under load is told to stop, by SIGTERM once, SIGTERM twice or SIGQUIT, while its broker
// is up, down or half open; in the pools `async` and `processes`.
//
//   node scripts/shutdown.mjs [--rounds 40] [--at-once 3] [--slack 2] [--seed N]
//
// late: ended later than the grace and the slack (two seconds; a loaded machine needs more). lost: a task that neither that
// worker nor the next one has run to its end. twice: a task that began twice although the stop was clean (broker up, every
// task shorter than the grace). All must be 0.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openFaultyLink } from '../packages/conformance/dist/faulty-link.js';
import { root } from './run.mjs';
import { startServices } from './services.mjs';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '40' },
    'at-once': { type: 'string', default: '3' },
    slack: { type: 'string', default: '2' },
    seed: { type: 'string' },
  },
});
const ROUNDS = Number(values.rounds);
const GRACE_MS = 1500;
const SLACK_MS = Number(values.slack) * 1000;
const TASKS = 40;

const seed = Number(values.seed ?? Date.now() % 1_000_000);
let state = seed;
const random = () => {
  state = (state * 1103515245 + 12345) % 2147483648;
  return state / 2147483648;
};

const PLANS = [['SIGTERM'], ['SIGTERM', 'SIGTERM'], ['SIGQUIT']];
const BROKERS = ['up', 'down', 'half open'];
const COMBINATIONS = BROKERS.flatMap((broker) => PLANS.map((signals) => ({ broker, signals })));

const services = await startServices(['redis']);
const redis = services.env.LOVAGE_TEST_REDIS_URL;
const { hostname, port } = new URL(redis);
const folder = mkdtempSync(join(tmpdir(), 'lovage-shutdown-'));

const rounds = Array.from({ length: ROUNDS }, (_, index) => ({
  ...COMBINATIONS[index % COMBINATIONS.length],
  index,
  pool: index % 2 === 0 ? 'async' : 'processes',
  // Every other warm stop with the broker up has short tasks only: that one is clean.
  isShort: index % 4 < 2,
  afterMs: 150 + random() * 500,
}));
const results = [];
const queue = [...rounds];
await Promise.all(
  Array.from({ length: Number(values['at-once']) }, async () => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) results.push(await round(one));
  }),
);
await services.stop();
rmSync(folder, { recursive: true, force: true });

const sum = (key) => results.reduce((total, result) => total + result[key], 0);
const report = {
  rounds: results.length,
  seed,
  late: results.filter(({ isLate }) => isLate).length,
  lost: sum('lost'),
  twice: sum('twice'),
  cleanStops: results.filter(({ isClean }) => isClean).length,
  slowestMs: Math.max(...results.map(({ ms }) => ms)),
};
const good = report.late === 0 && report.lost === 0 && report.twice === 0;
console.log(JSON.stringify({ ...report, good }));
process.exitCode = good ? 0 : 1;

async function round({ index, broker, signals, pool, isShort, afterMs }) {
  const link = await openFaultyLink({ host: hostname, port: Number(port) });
  const env = {
    ...process.env,
    BACKEND: redis,
    QUEUE: `shutdown-${seed}-${index}`,
    LEDGER: join(folder, `ledger-${index}`),
    GRACE: String(GRACE_MS / 1000),
  };
  const app = join(root, 'interop/chaos/shutdown-app.mjs');
  const worker = (url) => {
    const args = ['-A', app, 'worker', '-l', 'info', '-P', pool, '-c', '4', '-Q', env.QUEUE];
    const child = spawn(process.execPath, [join(root, 'packages/cli/dist/bin.js'), ...args], {
      env: { ...env, BROKER: url },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let output = '';
    const isReady = new Promise((resolve) => {
      child.stderr.on('data', (text) => {
        output += text;
        if (/ ready: /.test(output)) resolve();
      });
    });
    return { child, exit: once(child, 'exit'), isReady, output: () => output };
  };
  const fill = spawn(process.execPath, [app, 'fill', String(TASKS), isShort ? 'short' : 'mixed'], {
    env: { ...env, BROKER: redis },
    stdio: 'inherit',
  });
  await once(fill, 'exit');
  const first = worker(`redis://${link.host}:${link.port}/0`);
  const early = first.exit.then(([code]) => {
    throw new Error(`Round ${index}: the worker ended with ${code} before it was ready. ${first.output()}`);
  });
  await Promise.race([first.isReady, early]);
  early.catch(() => {});
  await sleep(afterMs);
  if (broker === 'down') {
    await link.refuse();
    link.cut();
  } else if (broker === 'half open') link.stall();
  if (broker !== 'up') await sleep(100);
  const began = performance.now();
  for (const signal of signals) {
    first.child.kill(signal);
    await sleep(50);
  }
  const graceMs = signals[0] === 'SIGQUIT' ? 0 : GRACE_MS;
  const inTime = await Promise.race([
    first.exit.then(() => true),
    sleep(graceMs + SLACK_MS + 3000, false, { ref: false }),
  ]);
  const ms = Math.round(performance.now() - began);
  if (!inTime) first.child.kill('SIGKILL');
  await first.exit;
  await link.close();
  const second = worker(redis);
  const lost = await settled(env.LEDGER);
  second.child.kill('SIGTERM');
  await second.exit;
  const isClean = broker === 'up' && isShort && signals[0] === 'SIGTERM';
  const begun = read(env.LEDGER).filter(([word]) => word === 'begin');
  const twice = isClean ? begun.length - new Set(begun.map(([, id]) => id)).size : 0;
  const result = {
    index,
    pool,
    broker,
    signals: signals.join(' '),
    ms,
    isLate: ms > graceMs + SLACK_MS,
    lost,
    isClean,
    twice,
  };
  console.error(JSON.stringify(result));
  if (result.isLate || lost > 0 || twice > 0) console.error(first.output());
  return result;
}

/** How many tasks have not ended when nothing has changed for longer than a lease. */
async function settled(ledger) {
  let last = '';
  let since = Date.now();
  for (;;) {
    const ended = new Set(read(ledger).flatMap(([word, id]) => (word === 'end' ? [id] : [])));
    if (ended.size === TASKS) return 0;
    const now = String(ended.size);
    if (now !== last) [last, since] = [now, Date.now()];
    if (Date.now() - since > 60_000) return TASKS - ended.size;
    await sleep(100);
  }
}

function read(ledger) {
  const text = existsSync(ledger) ? readFileSync(ledger, 'utf8') : '';
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => line.split(' '));
}
