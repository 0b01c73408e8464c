import { Worker as Thread } from 'node:worker_threads';
import { builtModule, type ConnectOptions } from '@lovage/core/transport';

/** What the thread is started with. */
export interface RivalData {
  readonly module: string;
  readonly url: string;
  readonly connect: ConnectOptions;
  readonly queue: string;
  /** How many messages it got. */
  readonly state: Int32Array;
}

/** Somebody else who consumes from the same queue, on another thread: it goes on while this one stands still. */
export class Rival {
  readonly #thread: Thread;
  readonly #state: Int32Array;
  readonly consuming: Promise<void>;

  constructor(data: Omit<RivalData, 'state'>) {
    this.#state = new Int32Array(new SharedArrayBuffer(4));
    this.#thread = new Thread(new URL(builtModule('./rival-thread.js', import.meta.url)), {
      workerData: { ...data, state: this.#state } satisfies RivalData,
      execArgv: [],
    });
    this.consuming = new Promise((resolve, reject) => {
      this.#thread.once('message', () => resolve());
      this.#thread.once('error', reject);
    });
    this.consuming.catch(() => {});
  }

  /** Stops the event loop of this thread for so long; false: the rival got something meanwhile. */
  standStill(ms: number): boolean {
    return Atomics.wait(this.#state, 0, 0, ms) === 'timed-out';
  }

  get taken(): number {
    return Atomics.load(this.#state, 0);
  }

  async end(): Promise<void> {
    await this.#thread.terminate();
  }
}
