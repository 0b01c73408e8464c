import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TestServer {
  readonly port: number;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL, then a start on what is on the disk. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const PROGRAM = '/usr/bin/beanstalkd';

/** False where tests that need a server of their own have to be skipped. */
export const hasBeanstalkd: boolean = existsSync(PROGRAM);

/** Starts a server on a free port of the loopback; with `isDurable` what it confirmed is on the disk. */
export async function startBeanstalkd(args: readonly string[] = [], isDurable = false): Promise<TestServer> {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-beanstalk-test-'));
  const all = ['-l', '127.0.0.1', '-p', String(port), ...(isDurable ? ['-b', dir, '-f0'] : []), ...args];
  const start = () => spawn(PROGRAM, all, { stdio: 'ignore' });
  let child = start();
  const kill = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  };
  await answers(port);
  return {
    port,
    signal: (signal) => {
      child.kill(signal);
    },
    async restart() {
      await kill('SIGKILL');
      child = start();
      await answers(port);
    },
    async stop() {
      await kill('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function answers(port: number): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    const socket = connect({ host: '127.0.0.1', port });
    const isUp = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (isUp) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('beanstalkd did not come up.');
}
