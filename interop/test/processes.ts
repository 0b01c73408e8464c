// The processes on the other side of the tests, and how one waits for them: until something is so, never for a guess.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** What happens at once on an idle machine may take so long on a loaded one. */
export const PATIENCE_SECONDS = 60;
const PATIENCE_MS = PATIENCE_SECONDS * 1000;

export const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** A Python program that answers each line of JSON with one. */
export class PythonProgram {
  readonly #child: ChildProcess;
  readonly #waiting: { readonly resolve: (answer: unknown) => void; readonly reject: (error: Error) => void }[] = [];
  #end: Error | undefined;

  constructor(python: string, script: string, env: NodeJS.ProcessEnv) {
    this.#child = spawn(python, [script], { cwd: here('../python'), env, stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) =>
      this.#waiting.shift()?.resolve(JSON.parse(line)),
    );
    // A write that it does not read any more fails; its end says so better.
    this.#child.stdin?.on('error', () => {});
    this.#child.once('close', (code, signal) => {
      this.#end = new Error(`${script} ended with ${code ?? signal}.`);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#end);
    });
  }

  ask(question: unknown): Promise<unknown> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    const answer = new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#child.stdin?.write(`${JSON.stringify(question)}\n`);
    return answer;
  }

  async close(): Promise<void> {
    this.#child.stdin?.end();
    await ended(this.#child);
  }
}

/** A worker or another server. */
export interface Running {
  readonly child: ChildProcess;
  output(): string;
  isAlive(): boolean;
  /** SIGTERM, and SIGKILL when that does not help. */
  stop(): Promise<void>;
}

/** Starts a program in the folder of the Python files; resolves when its output has the sign. */
export async function start(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  sign: RegExp,
): Promise<Running> {
  const child = spawn(program, args, { cwd: here('../python'), env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const take = (chunk: Buffer): void => {
    if (process.env.INTEROP_LOG) process.stderr.write(chunk);
    output += chunk.toString();
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  const isAlive = (): boolean => child.exitCode === null && child.signalCode === null;
  await until(
    () => {
      if (isAlive()) return sign.test(output);
      throw new Error(`${program} ended with ${child.exitCode} before it was ready:\n${output}`);
    },
    () => `sign that ${program} is ready:\n${output}`,
  ).catch((error: unknown) => {
    child.kill('SIGKILL');
    throw error;
  });
  return {
    child,
    output: () => output,
    isAlive,
    stop: async () => {
      child.kill('SIGTERM');
      await ended(child);
    },
  };
}

/** Waits for its end, and brings it about when that takes too long. Gives its exit code. */
export async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const exit = once(child, 'exit');
    if ((await Promise.race([exit, sleep(PATIENCE_MS, 'late', { ref: false })])) === 'late') {
      child.kill('SIGKILL');
      await exit;
    }
  }
  return child.exitCode;
}

/** Waits until the probe gives something: what another process brings about. */
export async function until<T>(
  probe: () => Promise<T | undefined> | T | undefined,
  what: string | (() => string) = 'such state',
): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await probe();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline)
      throw new Error(`There was no ${typeof what === 'string' ? what : what()} within ${PATIENCE_SECONDS} s.`);
    await sleep(50);
  }
}
