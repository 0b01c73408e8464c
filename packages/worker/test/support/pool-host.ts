import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { WorkerOptions } from '../../src/worker.ts';

const program = fileURLToPath(new URL('./pool-host.mjs', import.meta.url));

interface Answer {
  readonly call?: number;
  readonly value?: unknown;
  readonly error?: string;
  readonly ready?: true;
  readonly failed?: string;
}

/** A worker in a process of its own. See `pool-host.mjs`. */
export class PoolHost {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  readonly ready: Promise<void>;
  /** Everything that it has written. */
  output = '';
  #calls = 0;
  readonly #waiting = new Map<number, (answer: Answer) => void>();

  constructor(
    appModule: string,
    options: WorkerOptions,
    { env = {}, heapMiB = 400 }: { readonly env?: NodeJS.ProcessEnv; readonly heapMiB?: number } = {},
  ) {
    this.child = fork(program, [JSON.stringify({ appModule, options })], {
      execArgv: [`--max-old-space-size=${heapMiB}`],
      env: { ...process.env, ...env },
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (text: Buffer) => void (this.output += text.toString()));
    }
    this.exited = once(this.child, 'exit').then(([code]) => code as number | null);
    this.ready = new Promise((resolve, reject) => {
      this.child.on('message', (message) => {
        const answer = message as unknown as Answer;
        if (answer.ready) resolve();
        else if (answer.failed !== undefined) reject(new Error(answer.failed));
        else this.#waiting.get(answer.call as number)?.(answer);
      });
      void this.exited.then((code) => reject(new Error(`The host exited with ${code}: ${this.output}`)));
    });
    this.ready.catch(() => {});
  }

  get isAlive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Calls a method of the worker, or reads a property. */
  async call<T = unknown>(name: string, ...args: readonly unknown[]): Promise<T> {
    const call = this.#calls++;
    const answer = await new Promise<Answer>((resolve, reject) => {
      this.#waiting.set(call, resolve);
      void this.exited.then((code) => reject(new Error(`The host exited with ${code}: ${this.output}`)));
      this.child.send({ call, name, args }, () => {});
    });
    this.#waiting.delete(call);
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.value as T;
  }

  async end(): Promise<void> {
    if (!this.isAlive) return;
    const late = setTimeout(() => this.child.kill('SIGKILL'), 5000);
    await this.call('stop', 'cold').catch(() => {});
    await this.exited;
    clearTimeout(late);
  }
}
