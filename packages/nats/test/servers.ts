import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TestServer {
  readonly port: number;
  readonly dir: string;
  /** SIGKILL, then a start on what is on the disk. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const PROGRAM = process.env['LOVAGE_TEST_NATS_SERVER'];

/** False where tests that need a server of their own have to be skipped. */
export const hasNatsServer: boolean = PROGRAM !== undefined;

/** Starts a server on a free port of the loopback with this configuration; `{dir}` in it is its folder. */
export async function startNats(
  config = '',
  {
    jetstream = true,
    domain,
    port: given,
    files = {},
  }: {
    jetstream?: boolean;
    domain?: string;
    port?: number;
    files?: Readonly<Record<string, Uint8Array | string>>;
  } = {},
): Promise<TestServer> {
  const port = given ?? (await freePort());
  const dir = mkdtempSync(join(tmpdir(), 'lovage-nats-test-'));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(dir, name), content);
  const lines = [
    `listen: "127.0.0.1:${port}"`,
    jetstream ? `jetstream { store_dir: "${dir}/jetstream"${domain === undefined ? '' : `, domain: ${domain}`} }` : '',
    config.replaceAll('{dir}', dir),
  ];
  writeFileSync(join(dir, 'nats.conf'), lines.join('\n'));
  const start = () => spawn(PROGRAM ?? 'nats-server', ['-c', join(dir, 'nats.conf')], { stdio: 'ignore' });
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
    dir,
    async restart() {
      await kill('SIGKILL');
      child = start();
      await answers(port);
    },
    async stop() {
      await kill('SIGTERM');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export async function freePort(): Promise<number> {
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
    const isUp = await Promise.race([
      once(socket, 'data').then(() => true),
      once(socket, 'error').then(
        () => false,
        () => false,
      ),
    ]).catch(() => false);
    socket.destroy();
    if (isUp) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('nats-server did not come up.');
}
