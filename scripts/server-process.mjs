// One server as a process of its own: started, waited for, killed and started again, stopped by its own pid.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Starts a server, waits until its port answers, and stops it by its own pid. `dir` holds its data and is removed at
 * the end; `beforeStart` runs before each start. Gives `url`, `stop` and `restart` (SIGKILL, then a start on its data).
 */
export async function server(
  command,
  args,
  { dir, port, url, env = process.env, deadlineMs = 60_000, beforeStart = async () => {}, uid, gid },
) {
  const log = join(dir, 'output.log');
  let child;
  let exit;
  let ended = true;

  async function start() {
    await beforeStart();
    const output = openSync(log, 'a');
    child = spawn(command, args, { cwd: dir, env, stdio: ['ignore', output, output], detached: true, uid, gid });
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

export function answers(port) {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/**
 * A port that nobody listens on. It is none of those that systems give out by themselves, to whoever connects or listens
 * on port 0: until its server starts, which may take a while, it stays free.
 */
export async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const probe = createServer();
    const isFree = await new Promise((resolve) => {
      probe.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
}
