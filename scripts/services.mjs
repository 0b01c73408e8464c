// Real servers for tests, examples and benchmarks, on free loopback ports, each with a data folder of its own.
//
//   pnpm services redis amqp              starts them, prints their URLs, stops them on Ctrl+C
//   pnpm services redis -- COMMAND ...    runs the command with their URLs in the environment
//
// A server is looked for in this order: a URL in the environment; a program that is installed; on Debian as root, a
// package. What cannot be had is reported as skipped, and is an error when CI=true.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { has, must, root, run } from './run.mjs';

/** Python peers, the newest supported Celery and the oldest. */
const PYTHON_PEERS = {
  python: { requirements: 'interop/python/requirements-5.6.txt', variable: 'LOVAGE_TEST_PYTHON' },
  'python-5.2': { requirements: 'interop/python/requirements-5.2.txt', variable: 'LOVAGE_TEST_PYTHON_52' },
};

const SERVICES = {
  // For tests that kill the server: what it acknowledged is on disk, and nobody else uses it.
  'redis-durable': {
    variable: 'LOVAGE_TEST_REDIS_DURABLE_URL',
    program: 'redis-server',
    debian: 'redis-server',
    start: () => startRedis(['--appendonly', 'yes', '--appendfsync', 'always']),
  },
  'amqp-private': {
    variable: 'LOVAGE_TEST_AMQP_PRIVATE_URL',
    program: '/usr/lib/rabbitmq/bin/rabbitmq-server',
    debian: 'rabbitmq-server',
    start: startRabbit,
  },
  redis: { variable: 'LOVAGE_TEST_REDIS_URL', program: 'redis-server', debian: 'redis-server', start: startRedis },
  amqp: {
    variable: 'LOVAGE_TEST_AMQP_URL',
    program: '/usr/lib/rabbitmq/bin/rabbitmq-server',
    debian: 'rabbitmq-server',
    start: startRabbit,
  },
  ...Object.fromEntries(
    Object.entries(PYTHON_PEERS).map(([name, { requirements, variable }]) => [
      name,
      { variable, program: 'python3', debian: 'python3-venv', start: () => preparePython(name, requirements) },
    ]),
  ),
};

/**
 * Starts what is asked for. Gives the environment variables that name it, the names of what could not be had with the
 * reason, `restart(name)`, which kills a server with SIGKILL and starts it again on its data, and `stop`.
 */
export async function startServices(names) {
  const started = [];
  const byName = new Map();
  const env = {};
  const skipped = {};
  const stop = async () => {
    for (const { stop: stopOne } of started.splice(0).reverse()) await stopOne();
  };
  try {
    for (const name of names) {
      const service = SERVICES[name];
      if (service === undefined)
        throw new Error(`No service is named "${name}". Expected some of: ${Object.keys(SERVICES).join(', ')}.`);
      if (process.env[service.variable]) {
        env[service.variable] = process.env[service.variable];
        continue;
      }
      try {
        await makeAvailable(service);
        const running = await service.start();
        started.push(running);
        byName.set(name, running);
        env[service.variable] = running.url;
        Object.assign(env, running.env);
      } catch (error) {
        if (process.env.CI === 'true') throw error;
        skipped[name] = error.message;
        console.warn(`SKIPPED ${name}: ${error.message}`);
      }
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { env, skipped, stop, restart: (name) => byName.get(name).restart() };
}

async function makeAvailable({ program, debian }) {
  if (program.startsWith('/') ? existsSync(program) : has(program) && (program !== 'python3' || (await canMakeVenv())))
    return;
  if (!has('apt-get') || process.getuid?.() !== 0) {
    throw new Error(`${program} is not installed. Install it, or set the URL of a running server.`);
  }
  console.log(`Installing ${debian} ...`);
  await aptInstall(debian);
}

async function canMakeVenv() {
  return (await run('python3', ['-c', 'import venv, ensurepip'], { quiet: true })).code === 0;
}

async function aptInstall(name) {
  // A package must not start its server by itself: ours run with folders and ports of their own.
  const policy = '/usr/sbin/policy-rc.d';
  const ours = !existsSync(policy);
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    const install = ['install', '-y', '--no-install-recommends', name];
    if ((await run('apt-get', install, { env, quiet: true })).code !== 0) {
      await must('apt-get', ['update'], { env, quiet: true });
      await must('apt-get', install, { env, quiet: true });
    }
  } finally {
    if (ours) rmSync(policy);
  }
}

async function startRedis(persistence = ['--appendonly', 'no']) {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-redis-'));
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', ...persistence];
  return server('redis-server', args, { dir, port, url: `redis://127.0.0.1:${port}/0` });
}

async function startRabbit() {
  const [port, dist, epmd] = await Promise.all([freePort(), freePort(), freePort()]);
  const dir = mkdtempSync(join(tmpdir(), 'lovage-rabbit-'));
  writeFileSync(join(dir, 'rabbitmq.conf'), `listeners.tcp.local = 127.0.0.1:${port}\n`);
  writeFileSync(join(dir, 'enabled_plugins'), '[].\n');
  mkdirSync(join(dir, 'home'));
  const env = {
    ...process.env,
    HOME: join(dir, 'home'),
    ERL_EPMD_PORT: String(epmd),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `lovage-${port}@localhost`,
    RABBITMQ_DIST_PORT: String(dist),
    RABBITMQ_CONFIG_FILE: join(dir, 'rabbitmq.conf'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'enabled_plugins'),
    RABBITMQ_MNESIA_BASE: join(dir, 'mnesia'),
    RABBITMQ_LOG_BASE: join(dir, 'log'),
    RABBITMQ_PID_FILE: join(dir, 'pid'),
  };
  const running = await server('/usr/lib/rabbitmq/bin/rabbitmq-server', [], {
    dir,
    port,
    env,
    url: `amqp://guest:guest@127.0.0.1:${port}//`,
    deadlineMs: 90_000,
  });
  // What a fault test needs to command this very node.
  const control = { HOME: env.HOME, ERL_EPMD_PORT: env.ERL_EPMD_PORT, RABBITMQ_NODENAME: env.RABBITMQ_NODENAME };
  return {
    ...running,
    env: { LOVAGE_TEST_RABBITMQCTL_ENV: JSON.stringify(control) },
    async stop() {
      await running.stop();
      // The port mapper was started by our node and serves it alone.
      await run('epmd', ['-port', String(epmd), '-kill'], { env, quiet: true }).catch(() => undefined);
    },
  };
}

async function preparePython(name, requirements) {
  const dir = join(root, '.venv', name);
  const python = join(dir, 'bin/python');
  const wanted = readFileSync(join(root, requirements), 'utf8');
  const stamp = join(dir, 'installed.txt');
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
    console.log(`Installing the Python peer (${requirements}) ...`);
    await must('python3', ['-m', 'venv', '--clear', dir], { quiet: true });
    await must(
      python,
      ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', join(root, requirements)],
      { quiet: true },
    );
    writeFileSync(stamp, wanted);
  }
  return { url: python, stop: async () => {} };
}

/** Starts a server, waits until its port answers, and stops it by its own pid. */
async function server(command, args, { dir, port, url, env = process.env, deadlineMs = 20_000 }) {
  const log = join(dir, 'output.log');
  let child;
  let exit;
  let ended = true;

  async function start() {
    const output = openSync(log, 'a');
    child = spawn(command, args, { cwd: dir, env, stdio: ['ignore', output, output], detached: true });
    closeSync(output);
    ended = false;
    exit = once(child, 'exit').finally(() => (ended = true));
    const deadline = Date.now() + deadlineMs;
    while (!(await answers(port))) {
      if (ended || Date.now() > deadline) {
        const text = readFileSync(log, 'utf8').slice(-2000);
        await stop();
        throw new Error(`${command} did not come up:\n${text}`);
      }
      await sleep(50);
    }
  }

  async function stop() {
    if (!ended) {
      process.kill(-child.pid, 'SIGTERM');
      if ((await Promise.race([exit, sleep(15_000, 'late', { ref: false })])) === 'late')
        process.kill(-child.pid, 'SIGKILL');
      await exit;
    }
    rmSync(dir, { recursive: true, force: true });
  }

  async function restart() {
    process.kill(-child.pid, 'SIGKILL');
    await exit;
    // The shell that was started first may be gone before the server it started.
    while (await answers(port)) await sleep(20);
    await start();
  }

  await start();
  return { url, stop, restart };
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

if (process.argv[1] === import.meta.filename) {
  const args = process.argv.slice(2);
  const split = args.indexOf('--');
  const names = split < 0 ? args : args.slice(0, split);
  const command = split < 0 ? [] : args.slice(split + 1);
  const { env, stop } = await startServices(names);
  if (command.length > 0) {
    const { code } = await run(command[0], command.slice(1), { cwd: process.cwd(), env: { ...process.env, ...env } });
    await stop();
    process.exitCode = code;
  } else {
    for (const [name, value] of Object.entries(env)) console.log(`export ${name}='${value}'`);
    const wait = setInterval(() => {}, 1 << 30);
    for (const signal of ['SIGINT', 'SIGTERM']) {
      process.once(signal, () => {
        clearInterval(wait);
        void stop();
      });
    }
  }
}
