import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** False where tests that need a server of their own have to be skipped; CI promises to have it. */
export const hasRedisServer: boolean =
  spawnSync('redis-server', ['--version']).status === 0 ||
  (() => {
    if (process.env['CI'] === 'true') throw new Error('redis-server is not installed.');
    return false;
  })();

export interface TestServer {
  readonly port: number;
  readonly dir: string;
  readonly pid: number;
  /** Kills it and starts it again, on the same port and folder. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Starts a server of our own on a free port of the loopback, with a folder of its own; `{dir}` in arguments names it. */
export async function startRedis(args: readonly string[] = [], portOption = '--port'): Promise<TestServer> {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-redis-test-'));
  const own = [portOption, String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', ''];
  return start('redis-server', [...own, ...args.map((arg) => arg.replace('{dir}', dir))], port, dir, {});
}

/** A sentinel that watches one master, with a quorum of one. */
export async function startSentinel(masterName: string, masterPort: number): Promise<TestServer> {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-sentinel-test-'));
  const config = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${dir}`,
    `sentinel monitor ${masterName} 127.0.0.1 ${masterPort} 1`,
    `sentinel down-after-milliseconds ${masterName} 500`,
    `sentinel failover-timeout ${masterName} 3000`,
  ].join('\n');
  return start('redis-server', [join(dir, 'sentinel.conf'), '--sentinel'], port, dir, { 'sentinel.conf': config });
}

async function start(
  command: string,
  args: readonly string[],
  port: number,
  dir: string,
  files: Readonly<Record<string, string>>,
): Promise<TestServer> {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  let child: ChildProcess;
  let exit: Promise<unknown>;
  const kill = async (): Promise<void> => {
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await exit;
  };
  const stop = async (): Promise<void> => {
    await kill();
    rmSync(dir, { recursive: true, force: true });
  };
  const run = async (): Promise<void> => {
    child = spawn(command, args, { cwd: dir, stdio: ['ignore', 'pipe', 'inherit'] });
    exit = once(child, 'exit');
    let output = '';
    child.stdout?.on('data', (data: Buffer) => (output += data.toString()));
    const deadline = Date.now() + 10_000;
    while (!(await answers(port))) {
      if (child.exitCode !== null || Date.now() > deadline) {
        await stop();
        throw new Error(`${command} did not come up:\n${output}`);
      }
    }
  };
  await run();
  return {
    port,
    dir,
    get pid() {
      return child.pid as number;
    },
    restart: async () => {
      await kill();
      await run();
    },
    stop,
  };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => setTimeout(resolve, 20, false));
  });
}
