import { url as inspectorUrl } from 'node:inspector';
import { Worker as Thread } from 'node:worker_threads';
import type { Logger } from '@lovage/core';

/** What the thread is started with. */
export interface WatchdogData {
  /** At 0: counts up while the event loop turns. At 1: 1 while a debugger may be there, which stops it at will. */
  readonly beats: Int32Array;
  readonly thresholdMs: number;
  readonly pid: number;
}

/** Who stood in the way, as the thread saw it. */
export interface Blockage {
  readonly blockedMs: number;
  /** undefined: no task, or it could not be seen. */
  readonly task: string | undefined;
  readonly taskId: string | undefined;
  /** The innermost functions, `name file:line`. */
  readonly stack: readonly string[];
}

const ENTRY = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/pools/watchdog-thread.js' : './watchdog-thread.js',
  import.meta.url,
);
const BEATS = 4;

/**
 * Names the task that keeps the event loop from turning, and for how long: a thread asks the debugger of this one whose
 * code it is in. While the loop stands, it writes to standard error; when it turns again, the logger is told.
 *
 * Not while the process listens for a debugger (`--inspect`): at a breakpoint every loop stands, and asking would go on.
 */
export class Watchdog {
  readonly #thread: Thread;
  readonly #timer: NodeJS.Timeout;

  constructor(logger: Logger, thresholdMs: number) {
    const beats = new Int32Array(new SharedArrayBuffer(8));
    const data: WatchdogData = { beats, thresholdMs, pid: process.pid };
    this.#thread = new Thread(ENTRY, { workerData: data });
    this.#thread.unref();
    this.#thread.on('message', ({ blockedMs, task, taskId, stack }: Blockage) => {
      const who = task === undefined ? 'Code outside of any task' : `Task ${task}[${taskId}]`;
      logger.warn(
        { task, taskId, blockedMs, stack },
        `${who} kept the event loop from turning for ${(blockedMs / 1000).toFixed(1)}s. Run what computes in the pool "threads" or "processes".`,
      );
    });
    this.#thread.on('error', (error) => logger.warn({ err: error }, 'The watchdog of the event loop ended.'));
    const beat = (): void => {
      Atomics.store(beats, 1, inspectorUrl() === undefined ? 0 : 1);
      Atomics.add(beats, 0, 1);
    };
    beat();
    this.#timer = setInterval(beat, thresholdMs / BEATS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    void this.#thread.terminate();
  }
}
