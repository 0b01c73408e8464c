import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const UP_MS = 60_000;
const LOOK_MS = 20;
const SHOWN_CHARS = 2000;

/** Where a server listens on 127.0.0.1, and the folder that it has to itself. */
export interface ServerPlace {
  readonly port: number;
  readonly dir: string;
}

export interface ServerProcessOptions {
  readonly args: (place: ServerPlace) => readonly string[];
  /** Written into the folder before the first start. */
  readonly files?: (place: ServerPlace) => Readonly<Record<string, string | Uint8Array>>;
  /** Default: one that is free. */
  readonly port?: number;
  /** `accepts` connections (default), or `greets` whoever connects. */
  readonly isUpWhenIt?: 'accepts' | 'greets';
  /** What `stop` sends. Default SIGKILL. */
  readonly stopSignal?: NodeJS.Signals;
}

/** A server of one test's own, to be frozen, killed and started again. */
export interface ServerProcess extends ServerPlace {
  readonly pid: number;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL, then a start on what is on the disk. */
  restart(): Promise<void>;
  /** Ends it, frozen or not, and removes its folder. Twice is fine. */
  stop(): Promise<void>;
}

/** Starts a program that listens on 127.0.0.1. Rejects with its output when it does not come up within a minute. */
export async function startServerProcess(
  command: string,
  { args, files, port: given, isUpWhenIt = 'accepts', stopSignal = 'SIGKILL' }: ServerProcessOptions,
): Promise<ServerProcess> {
  const place = { port: given ?? (await freePort()), dir: mkdtempSync(join(tmpdir(), 'lovage-server-')) };
  for (const [name, content] of Object.entries(files?.(place) ?? {})) writeFileSync(join(place.dir, name), content);
  let output = '';
  let child: ChildProcess;
  const start = async (): Promise<void> => {
    child = spawn(command, args(place), { cwd: place.dir, stdio: ['ignore', 'pipe', 'pipe'] });
    const keep = (text: Buffer): void => void (output = (output + text.toString()).slice(-SHOWN_CHARS));
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    let failure: Error | undefined;
    child.once('error', (error) => (failure = error));
    for (const deadline = Date.now() + UP_MS; !(await isUp(place.port, isUpWhenIt)); await sleep(LOOK_MS)) {
      if (failure === undefined && child.exitCode === null && Date.now() < deadline) continue;
      await stop();
      throw new Error(`${command} did not come up: ${failure?.message ?? output}`);
    }
  };
  const kill = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill(signal);
    await exit;
  };
  const stop = async (): Promise<void> => {
    await kill(stopSignal);
    rmSync(place.dir, { recursive: true, force: true });
  };
  await start();
  return {
    ...place,
    get pid() {
      return child.pid as number;
    },
    signal: (signal) => void child.kill(signal),
    restart: async () => {
      await kill('SIGKILL');
      await start();
    },
    stop,
  };
}

/**
 * A port of 127.0.0.1 on which nobody listens. It is none of those that systems give out by themselves, to whoever
 * connects or listens on port 0: until its server starts, which may take a while, it stays free.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const probe = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
}

function isUp(port: number, when: NonNullable<ServerProcessOptions['isUpWhenIt']>): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once(when === 'greets' ? 'data' : 'connect', () => end(true));
    for (const event of ['error', 'close']) socket.once(event, () => end(false));
  });
}
