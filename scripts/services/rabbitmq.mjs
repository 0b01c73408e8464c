import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { debianProgram } from '../provide.mjs';
import { run } from '../run.mjs';
import { answers, freePort, server } from '../server-process.mjs';

/** `plugins`: what is enabled, and its lines of configuration. */
async function startRabbit(plugins = [], configuration = []) {
  const program = await debianProgram('/usr/lib/rabbitmq/bin/rabbitmq-server', 'rabbitmq-server');
  const [port, dist, epmd] = await Promise.all([freePort(), freePort(), freePort()]);
  const dir = mkdtempSync(join(tmpdir(), 'lovage-rabbit-'));
  const lines = [`listeners.tcp.local = 127.0.0.1:${port}`, ...configuration];
  writeFileSync(join(dir, 'rabbitmq.conf'), `${lines.join('\n')}\n`);
  writeFileSync(join(dir, 'enabled_plugins'), `[${plugins.join(', ')}].\n`);
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
  const running = await server(program, [], {
    dir,
    port,
    env,
    url: `amqp://guest:guest@127.0.0.1:${port}//`,
    deadlineMs: 180_000,
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

/** With the HTTP API of the management plugin, at `LOVAGE_TEST_AMQP_API_URL`. */
async function startManagement() {
  const port = await freePort();
  const running = await startRabbit(
    ['rabbitmq_management'],
    [
      `management.tcp.port = ${port}`,
      'management.tcp.ip = 127.0.0.1',
      // What is declared is told without them.
      'management_agent.disable_metrics_collector = true',
    ],
  );
  const deadline = Date.now() + 30_000;
  while (!(await answers(port))) {
    if (Date.now() > deadline) {
      await running.stop();
      throw new Error('The management plugin of RabbitMQ did not come up.');
    }
    await sleep(50);
  }
  return { ...running, env: { ...running.env, LOVAGE_TEST_AMQP_API_URL: `http://guest:guest@127.0.0.1:${port}` } };
}

export default {
  amqp: { variable: 'LOVAGE_TEST_AMQP_URL', start: () => startRabbit() },
  // For tests that kill the server: nobody else uses it.
  'amqp-private': { variable: 'LOVAGE_TEST_AMQP_PRIVATE_URL', start: () => startRabbit() },
  'amqp-management': { variable: 'LOVAGE_TEST_AMQP_MANAGEMENT_URL', start: startManagement },
};
