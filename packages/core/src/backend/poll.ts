import type { Logger } from '../internal/log.ts';
import type { TaskMeta } from '../protocol/task-meta.ts';
import type { Subscription } from './contract.ts';

export interface ResultPollOptions {
  /** Reads states, in the order asked. A rejection is logged and counts as "nothing new". */
  readonly load: (taskIds: readonly string[]) => Promise<readonly (TaskMeta | undefined)[]>;
  readonly logger: Logger;
  /** Default 5. */
  readonly shortestMs?: number;
  /** Default 500. */
  readonly longestMs?: number;
  /** For tests: calls back once; the function returned takes it back. */
  readonly after?: (ms: number, callback: () => void) => () => void;
  /** For tests: milliseconds, from whenever. */
  readonly now?: () => number;
}

interface Polled {
  readonly listeners: Set<(meta: TaskMeta) => void>;
  /** What was told last, to tell changes. */
  seen: string | undefined;
  /** Nothing overwrites a SUCCESS: there is nothing left to see. */
  isFinal: boolean;
}

const READ_AT_ONCE = 1000;

/**
 * Subscriptions for a store that cannot notify: one timer for all of them reads what is subscribed, first soon, then
 * less and less often while nothing changes, and soon again after a change or a new subscription.
 * A listener hears of a state that was stored before it subscribed as well.
 */
export class ResultPoll {
  readonly #options: Required<ResultPollOptions>;
  readonly #polled = new Map<string, Polled>();
  #delayMs: number;
  #cancelTimer: (() => void) | undefined;
  #isReading = false;
  #isWoken = false;

  constructor(options: ResultPollOptions) {
    this.#options = { shortestMs: 5, longestMs: 500, after: afterTimeout, now: () => performance.now(), ...options };
    this.#delayMs = this.#options.shortestMs;
  }

  subscribe(taskIds: readonly string[], listener: (meta: TaskMeta) => void): Subscription {
    for (const taskId of taskIds) {
      const polled = this.#polled.get(taskId);
      if (polled === undefined)
        this.#polled.set(taskId, { listeners: new Set([listener]), seen: undefined, isFinal: false });
      else polled.listeners.add(listener);
    }
    if (taskIds.length > 0) this.wake();
    return {
      unsubscribe: () => {
        for (const taskId of taskIds) {
          const polled = this.#polled.get(taskId);
          if (polled?.listeners.delete(listener) === true && polled.listeners.size === 0) this.#polled.delete(taskId);
        }
        if (this.#polled.size === 0) this.#stop();
      },
    };
  }

  /** There may be something new: read after the shortest delay. */
  wake(): void {
    this.#delayMs = this.#options.shortestMs;
    if (this.#isReading) this.#isWoken = true;
    else this.#schedule();
  }

  /** Ends all subscriptions. */
  close(): void {
    this.#polled.clear();
    this.#stop();
  }

  #stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #schedule(): void {
    this.#stop();
    if (![...this.#polled.values()].some(({ isFinal }) => !isFinal)) return;
    this.#cancelTimer = this.#options.after(this.#delayMs, () => void this.#read());
  }

  async #read(): Promise<void> {
    this.#cancelTimer = undefined;
    this.#isReading = true;
    this.#isWoken = false;
    const open = [...this.#polled].filter(([, { isFinal }]) => !isFinal).map(([taskId]) => taskId);
    let isChanged = false;
    const startedAt = this.#options.now();
    try {
      for (let start = 0; start < open.length; start += READ_AT_ONCE) {
        for (const meta of await this.#options.load(open.slice(start, start + READ_AT_ONCE))) {
          if (meta !== undefined && this.#tell(meta)) isChanged = true;
        }
      }
    } catch (error) {
      this.#options.logger.warn({ err: error, taskIds: open.length }, 'results could not be read; trying again');
    }
    this.#isReading = false;
    const { shortestMs, longestMs, now } = this.#options;
    const nextMs = isChanged || this.#isWoken ? shortestMs : this.#delayMs * 2;
    // A store that takes its time to answer is not asked all the time.
    this.#delayMs = Math.min(longestMs, Math.max(nextMs, now() - startedAt));
    this.#schedule();
  }

  #tell(meta: TaskMeta): boolean {
    const polled = this.#polled.get(meta.task_id);
    const state = JSON.stringify([meta.status, meta.date_done, meta.status === 'SUCCESS' ? null : meta.result]);
    if (polled === undefined || polled.seen === state) return false;
    polled.seen = state;
    polled.isFinal = meta.status === 'SUCCESS';
    for (const listener of polled.listeners) {
      try {
        listener(meta);
      } catch (error) {
        this.#options.logger.error({ err: error, taskId: meta.task_id }, 'a listener for results threw');
      }
    }
    return true;
  }
}

function afterTimeout(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}
