import { isLovageError, type Logger, type LovageError } from '@lovage/core';
import type { ResultBackend, ResultWrite } from '@lovage/core/backend';
import { atTurnEnd } from '@lovage/core/transport';
import type { Clock } from '../clock.ts';

/** Told once whether the state is kept. `error` is why not. */
export type Written = (error?: unknown) => void;

interface Pending {
  readonly write: ResultWrite;
  readonly written: Written;
  /** Monotonic. */
  readonly deadline: number;
}

export interface ResultWriterOptions {
  /** Opens the store; called again after a failure. */
  readonly open: () => Promise<ResultBackend>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  /** How long a write is tried. */
  readonly deadlineMs: number;
}

/** More are joined meanwhile, so a slow store gets larger batches and not more of them. */
const BATCHES_AT_ONCE = 4;
const LARGEST_BATCH = 500;
/** A worker that dies meanwhile has the task run again, and what follows it: so no longer than pays. */
const LINGER_MS = 5;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5000;

/**
 * Writes states: those of one turn of the event loop as one batch. A store that is away is tried again, with growing
 * pauses, until the deadline of each write; a write that fails for its own sake does not hurt the others.
 */
export class ResultWriter {
  readonly #options: ResultWriterOptions;
  #queue: Pending[] = [];
  #scheduled = false;
  #flying = 0;
  #backend: ResultBackend | undefined;
  #stopped: unknown;
  readonly #idle: (() => void)[] = [];
  #cancelLinger: (() => void) | undefined;
  readonly #wakes = new Set<() => void>();

  constructor(options: ResultWriterOptions) {
    this.#options = options;
  }

  /** Writes that wait or are under way. */
  get isIdle(): boolean {
    return this.#flying === 0 && this.#queue.length === 0;
  }

  /** `mayLinger`: nobody waits for it, so it may be joined with what comes in the next moment. */
  write(write: ResultWrite, written: Written, mayLinger = false): void {
    if (this.#stopped !== undefined) {
      written(this.#stopped);
      return;
    }
    this.#queue.push({ write, written, deadline: this.#options.clock.monotonic() + this.#options.deadlineMs });
    if (mayLinger) this.#cancelLinger ??= this.#options.clock.after(LINGER_MS, () => this.#flush());
    else {
      this.#endLinger();
      this.#schedule();
    }
  }

  /** Resolves when nothing waits or is under way. */
  drained(): Promise<void> {
    if (this.#cancelLinger !== undefined) this.#schedule();
    return this.isIdle ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Ends all trying: what is not kept by now is told `reason`. */
  stop(reason: unknown): void {
    this.#stopped = reason;
    this.#endLinger();
    const queue = this.#queue;
    this.#queue = [];
    this.#tell(queue, reason);
    for (const wake of this.#wakes) wake();
    this.#landed();
  }

  #schedule(): void {
    if (this.#scheduled || this.#flying >= BATCHES_AT_ONCE) return;
    this.#scheduled = true;
    // What this turn sends goes first: the next task of a chain is on its way while the result of the last one is written.
    atTurnEnd(() => {
      setImmediate(() => {
        this.#scheduled = false;
        this.#flush();
      });
    });
  }

  #endLinger(): void {
    this.#cancelLinger?.();
    this.#cancelLinger = undefined;
  }

  #flush(): void {
    this.#endLinger();
    while (this.#queue.length > 0 && this.#flying < BATCHES_AT_ONCE) {
      const batch = this.#queue.length <= LARGEST_BATCH ? this.#queue : this.#queue.slice(0, LARGEST_BATCH);
      this.#queue = batch === this.#queue ? [] : this.#queue.slice(LARGEST_BATCH);
      this.#flying++;
      void this.#store(batch).finally(() => {
        this.#flying--;
        if (this.#queue.length > 0 && this.#cancelLinger === undefined) this.#schedule();
        this.#landed();
      });
    }
  }

  #landed(): void {
    if (!this.isIdle) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  async #store(batch: readonly Pending[]): Promise<void> {
    let left = batch;
    for (let attempt = 0; ; attempt++) {
      let failure: unknown;
      try {
        this.#backend ??= await this.#options.open();
        await this.#backend.store(left.map(({ write }) => write));
      } catch (error) {
        failure = error ?? new TypeError('The store failed and gave no reason.');
      }
      if (failure === undefined) {
        this.#tell(left);
        return;
      }
      if (!isPassing(failure)) {
        if (left.length > 1) {
          await this.#storeEach(left);
          return;
        }
        this.#tell(left, failure);
        return;
      }
      left = this.#withTimeLeft(left, failure);
      if (left.length === 0) return;
      await this.#pause(attempt, failure, left.length);
      if (this.#stopped !== undefined) {
        this.#tell(left, this.#stopped);
        return;
      }
    }
  }

  /** What goes wrong behind one of them says nothing of the store, nor of the others. */
  #tell(batch: readonly Pending[], failure?: unknown): void {
    for (const { written } of batch) {
      try {
        written(failure);
      } catch (error) {
        this.#options.logger.error({ err: error }, 'What follows the write of a result failed in an unexpected way.');
      }
    }
  }

  /** Each for itself, to learn which one it is; a store joins what comes in one tick. */
  async #storeEach(batch: readonly Pending[]): Promise<void> {
    await Promise.all(batch.map((one) => this.#store([one])));
  }

  #withTimeLeft(batch: readonly Pending[], failure: unknown): readonly Pending[] {
    const now = this.#options.clock.monotonic();
    const late = batch.filter(({ deadline }) => deadline <= now);
    this.#tell(late, failure);
    return late.length === 0 ? batch : batch.filter(({ deadline }) => deadline > now);
  }

  async #pause(attempt: number, error: unknown, writes: number): Promise<void> {
    const { clock, random, logger } = this.#options;
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
    const delayMs = Math.round(longest * (0.5 + random() / 2));
    logger.warn({ err: error, writes, delayMs }, 'The result store did not take results. They are tried again.');
    await new Promise<void>((resolve) => {
      const cancel = clock.after(delayMs, wake);
      const wakes = this.#wakes;
      wakes.add(wake);
      function wake(): void {
        cancel();
        wakes.delete(wake);
        resolve();
      }
    });
  }
}

/** True when the same write may be taken later. Errors that are not ours are a store's defect: once is enough. */
function isPassing(error: unknown): error is LovageError {
  return isLovageError(error) && error.retryable;
}
