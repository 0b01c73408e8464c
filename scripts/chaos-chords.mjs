// The kill test of chords: workers are killed with SIGKILL, and the result store is killed and started again, while chords
// run. Every chord must end, with the sum of its parts, and every body has one id.
//
//   node scripts/chaos-chords.mjs [amqp|redis|nats|memcached] [--chords 1000] [--size 10] [--restarts 2] [--every 2]
//
// amqp: RabbitMQ is the broker, Redis the store; redis, nats: one server is both, so that the broker is killed as well;
// memcached: the store beside RabbitMQ, and is not killed, for it keeps nothing.
// stuck: chords whose body has no result. wrong: bodies with another sum. ids: bodies that ran, by their id.
// sentTwice: bodies that ran again though their message was not a redelivery. Whoever sent them could not know whether it was
// done (a server that was killed while it took the message, a worker between the broker's answer and noting it), and sent
// them again with the same id: one of the messages runs.
// ranTwice: other bodies that ran more than once: their worker was killed between the run and its result. At least once, not
// at most once.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { root } from './run.mjs';
import { startServices } from './services.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    chords: { type: 'string', default: '1000' },
    size: { type: 'string', default: '10' },
    restarts: { type: 'string', default: '2' },
    every: { type: 'string', default: '2' },
  },
});
const [CHORDS, SIZE, RESTARTS, EVERY] = [values.chords, values.size, values.restarts, values.every].map(Number);
const WORKERS = 3;
const CONCURRENCY = 20;
const DEADLINE_MS = 400_000;

const { redis, amqp, nats, memcached } = {
  redis: (env) => env.LOVAGE_TEST_REDIS_DURABLE_URL,
  amqp: (env) => env.LOVAGE_TEST_AMQP_URL,
  nats: (env) => env.LOVAGE_TEST_NATS_URL,
  memcached: (env) => env.LOVAGE_TEST_MEMCACHED_URL,
};
const SCENARIOS = {
  redis: { services: ['redis-durable'], broker: redis, store: redis, killed: 'redis-durable' },
  amqp: { services: ['redis-durable', 'amqp'], broker: amqp, store: redis, killed: 'redis-durable' },
  nats: { services: ['nats'], broker: nats, store: nats, killed: 'nats' },
  memcached: { services: ['memcached', 'amqp'], broker: amqp, store: memcached },
};

async function scenario(name, { services, broker, store, killed }) {
  const dir = mkdtempSync(join(tmpdir(), 'lovage-chords-'));
  // A server of its own, whatever the environment names: it is killed.
  for (const variable of ['LOVAGE_TEST_REDIS_DURABLE_URL', 'LOVAGE_TEST_NATS_URL']) delete process.env[variable];
  const running = await startServices(services);
  const env = {
    BROKER: broker(running.env),
    BACKEND: store(running.env),
    QUEUE: `chords-${process.pid}`,
    LEDGER: join(dir, 'bodies'),
  };
  Object.assign(process.env, env);
  const { app, part, body } = await import(`../interop/chaos/chords-app.mjs?${name}`);
  const { chord } = await import('../packages/core/dist/index.js');
  const startWorker = () => {
    const args = ['-A', join(root, 'interop/chaos/chords-app.mjs'), 'worker', '-l', 'error'];
    const child = spawn(
      process.execPath,
      [join(root, 'packages/cli/dist/bin.js'), ...args, '-c', String(CONCURRENCY), '-Q', env.QUEUE],
      { env: process.env, stdio: ['ignore', 'ignore', 'inherit'] },
    );
    return { child, exit: once(child, 'exit') };
  };
  const workers = Array.from({ length: WORKERS }, startWorker);
  const began = Date.now();
  let isOver = false;
  let kills = 0;
  let restarts = 0;
  const killing = (async () => {
    while (!isOver) {
      await sleep(EVERY * 1000);
      if (isOver) break;
      const index = Math.floor(Math.random() * WORKERS);
      workers[index].child.kill('SIGKILL');
      await workers[index].exit;
      workers[index] = startWorker();
      kills++;
    }
  })();
  const restarting = (async () => {
    for (; killed !== undefined && restarts < RESTARTS && !isOver; restarts++) {
      await sleep(4000 + Math.random() * 3000);
      if (!isOver) await running.restart(killed);
    }
  })();

  let ended = 0;
  const telling = setInterval(
    () => console.error(`${ended} of ${CHORDS} chords, ${kills} kills, ${restarts} restarts`),
    10_000,
  );
  const policy = { retryPolicy: { maxRetries: 100, intervalMax: 1 } };
  let outcomes = [];
  try {
    outcomes = await Promise.all(
      Array.from({ length: CHORDS }, async (_, n) => {
        // Over a while, so that kills and restarts meet chords in every state.
        await sleep((n / CHORDS) * 10_000);
        const parts = Array.from({ length: SIZE }, (__, index) => part.s(n + index).set(policy));
        const sum = SIZE * n + (SIZE * (SIZE - 1)) / 2;
        // Frozen, so that sending it again after an error that leaves open what has arrived is the same chord.
        const whole = chord(parts, body.s().set(policy)).freeze();
        const result = await patiently(() => whole.delay());
        const value = await patiently(() =>
          result.get({ timeout: Math.max(1, (began + DEADLINE_MS - Date.now()) / 1000) }),
        );
        ended++;
        return value === undefined ? 'stuck' : value === sum ? 'right' : 'wrong';
      }),
    );
  } finally {
    clearInterval(telling);
    isOver = true;
    await Promise.all([killing, restarting]);
    for (const { child, exit } of workers) {
      child.kill('SIGTERM');
      if ((await Promise.race([exit, sleep(40_000, 'late', { ref: false })])) === 'late') child.kill('SIGKILL');
    }
    await app.close();
    await running.stop();
  }

  const runs = new Map();
  for (const file of readdirSync(dir).filter((one) => one.startsWith('bodies-'))) {
    for (const line of readFileSync(join(dir, file), 'utf8').split('\n').filter(Boolean)) {
      const [id, delivery] = line.split(' ');
      const { all, first } = runs.get(id) ?? { all: 0, first: 0 };
      runs.set(id, { all: all + 1, first: first + (delivery === 'first' ? 1 : 0) });
    }
  }
  rmSync(dir, { recursive: true, force: true });
  const count = (what) => outcomes.filter((outcome) => outcome === what).length;
  const sentTwice = [...runs.values()].filter(({ first }) => first > 1).length;
  const ranTwice = [...runs.values()].filter(({ all }) => all > 1).length - sentTwice;
  const report = {
    scenario: name,
    chords: CHORDS,
    size: SIZE,
    kills,
    restarts,
    seconds: Math.round((Date.now() - began) / 1000),
    right: count('right'),
    stuck: count('stuck'),
    wrong: count('wrong'),
    ids: runs.size,
    sentTwice,
    ranTwice,
  };
  const good = report.right === CHORDS && runs.size === CHORDS && sentTwice === 0;
  console.log(JSON.stringify({ ...report, good }));
  return good;
}

/** Again while a server is away; undefined when there is no answer in time. */
async function patiently(work) {
  for (let attempt = 0; attempt < 60; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (error.code === 'ERR_TIMEOUT' && error.taskId !== undefined) return undefined;
      if (error.retryable !== true) throw error;
      await sleep(500);
    }
  }
  return undefined;
}

let failed = 0;
for (const name of positionals.length > 0 ? positionals : ['amqp']) {
  if (!(await scenario(name, SCENARIOS[name]))) failed++;
}
process.exitCode = failed === 0 ? 0 : 1;
