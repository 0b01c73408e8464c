import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export interface ControlMeeting {
  readonly broker: string;
  readonly backend: string;
  readonly python: string;
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Python's `celery` command, its process kept from one run to the next. */
export class CeleryCommand {
  readonly #child: ChildProcess;
  readonly #answers: ((answer: Ran) => void)[] = [];

  constructor(meeting: ControlMeeting) {
    this.#child = spawn(meeting.python, ['commands.py'], {
      cwd: here('../python'),
      env: environment(meeting, 'nobody'),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) =>
      this.#answers.shift()?.(JSON.parse(line) as Ran),
    );
  }

  run(...args: string[]): Promise<Ran> {
    const answer = new Promise<Ran>((resolve) => this.#answers.push(resolve));
    this.#child.stdin?.write(`${JSON.stringify(['-A', 'control_tasks', ...args])}\n`);
    return answer;
  }

  async close(): Promise<void> {
    this.#child.stdin?.end();
    await ended(this.#child, 5000);
  }
}

export interface Peer {
  readonly child: ChildProcess;
  output(): string;
  stop(): Promise<void>;
}

export function startPython(
  meeting: ControlMeeting,
  node: string,
  queue: string,
  extra: readonly string[],
): Promise<Peer> {
  const args = ['-m', 'celery', '-A', 'control_tasks', 'worker', '-l', 'info', '-n', node, ...extra];
  return startPeer(meeting.python, args, environment(meeting, queue), / ready\./);
}

export function startLovage(
  meeting: ControlMeeting,
  node: string,
  queue: string,
  extra: readonly string[],
): Promise<Peer> {
  const bin = here('../../packages/cli/dist/bin.js');
  const args = [bin, '--log-format', 'line', '-A', here('../control/tasks.ts'), 'worker', '-l', 'info', '-n', node];
  return startPeer(process.execPath, [...args, ...extra], environment(meeting, queue), / ready/);
}

export async function startPeer(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  sign: RegExp,
): Promise<Peer> {
  const child = spawn(program, args, { cwd: here('../python'), env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const ready = new Promise<void>((resolve, reject) => {
    const take = (chunk: Buffer): void => {
      if (process.env.INTEROP_LOG) process.stderr.write(chunk);
      output += chunk.toString();
      if (sign.test(output)) resolve();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code} before it was ready:\n${output}`)));
  });
  const late = sleep(60_000, undefined, { ref: false }).then(() => {
    throw new Error(`${program} was not ready within 60 s:\n${output}`);
  });
  await Promise.race([ready, late]);
  return {
    child,
    output: () => output,
    stop: async () => {
      child.kill('SIGTERM');
      await ended(child, 15_000);
    },
  };
}

export function environment({ broker, backend }: ControlMeeting, queue: string): NodeJS.ProcessEnv {
  return { ...process.env, BROKER: broker, BACKEND: backend, QUEUE: queue, PYTHONUNBUFFERED: '1', NO_COLOR: '1' };
}

export async function ended(child: ChildProcess, withinMs: number): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const exit = once(child, 'exit');
    if ((await Promise.race([exit, sleep(withinMs, 'late', { ref: false })])) === 'late') {
      child.kill('SIGKILL');
      await exit;
    }
  }
  return child.exitCode;
}

/** Waits until `probe` gives something; fails after a while. */
export async function until<T>(
  probe: () => Promise<T | undefined> | T | undefined,
  what: string,
  ms = 20_000,
): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`There was no ${what} within ${ms} ms.`);
    await sleep(50);
  }
}
