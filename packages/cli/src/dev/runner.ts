import { type ChildProcess, spawn } from 'node:child_process';

export interface RunnerOptions {
  /** What Node runs: a script and its arguments. */
  readonly args: readonly string[];
  /** Before a start, and what came of one that ended by itself. */
  readonly onStart: (isRestart: boolean) => void;
  readonly onEnd: (code: number | null, signal: NodeJS.Signals | null) => void;
}

/**
 * One child that is started again on demand. The old one gets SIGTERM and ends what it runs before the new one starts; one
 * that ends by itself stays down until the next `restart()`.
 */
export class Runner {
  readonly #options: RunnerOptions;
  #child: ChildProcess | undefined;
  #isWanted = false;
  #isStopping = false;
  #starts = 0;
  #ended: Promise<void> = Promise.resolve();

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** Starts the child, or asks it to end and starts it after. Calls in between are one. */
  restart(): void {
    if (this.#isStopping) return;
    if (this.#child === undefined) return this.#start();
    this.#isWanted = true;
    this.#child.kill('SIGTERM');
  }

  /** Ends the child by a signal, for good; resolves when it is gone. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    this.#isStopping = true;
    this.#child?.kill(signal);
    await this.#ended;
  }

  #start(): void {
    const { args, onStart, onEnd } = this.#options;
    this.#isWanted = false;
    onStart(this.#starts++ > 0);
    // In a group of its own, so that Ctrl+C comes through `stop` alone; the channel tells it when this process is gone.
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], detached: true });
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        this.#child = undefined;
        if (this.#isWanted && !this.#isStopping) this.#start();
        else if (!this.#isStopping) onEnd(code, signal);
        resolve();
      });
    });
  }
}
