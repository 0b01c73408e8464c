import type { SqlTransaction, SqlTransactionOptions } from './database.ts';

/** Work that is to be done in a transaction, and whom to tell. */
export interface Call {
  run(transaction: SqlTransaction): Promise<void>;
  commit(): void;
  fail(error: unknown): void;
  /** Epoch milliseconds. */
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
  /** Whether it has to be on the disk when it is done. */
  readonly isSynced: boolean;
}

/**
 * Transactions that are asked for: those of one turn of the event loop, and those that come while others run, are flushed
 * together. One flush at a time.
 */
export class JoinedCalls {
  /** Asked for, and not yet taken. */
  waiting: Call[] = [];
  readonly #flush: () => Promise<void>;
  #running: Promise<void> | undefined;
  #isScheduled = false;

  /** `flush` takes what waits and answers every call. Never rejects. */
  constructor(flush: () => Promise<void>) {
    this.#flush = flush;
  }

  /** The flush that is under way. */
  get running(): Promise<void> | undefined {
    return this.#running;
  }

  /** Resolves with what `work` gave, once it is committed; `explain` makes an error of ours of any other. */
  add<T>(
    work: (transaction: SqlTransaction) => Promise<T>,
    { deadlineMs, signal, durability }: SqlTransactionOptions,
    { busyTimeoutMs, explain = (error) => error }: { busyTimeoutMs: number; explain?: (error: unknown) => unknown },
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      signal?.throwIfAborted();
      let result: T;
      this.waiting.push({
        deadline: Date.now() + (deadlineMs ?? busyTimeoutMs),
        signal,
        isSynced: durability !== 'ordered',
        run: async (transaction) => {
          result = await work(transaction);
        },
        commit: () => resolve(result),
        fail: (error) => reject(explain(error) as Error),
      });
      this.#schedule();
    });
  }

  /** Takes all that waits. */
  take(): readonly Call[] {
    const calls = this.waiting;
    this.waiting = [];
    return calls;
  }

  /** Resolves when nothing waits and nothing runs. */
  async idle(): Promise<void> {
    while (this.waiting.length > 0 || this.#running !== undefined) {
      await (this.#running ?? new Promise<void>((resolve) => setImmediate(resolve)));
    }
  }

  #schedule(): void {
    if (this.#isScheduled || this.#running !== undefined) return;
    this.#isScheduled = true;
    // The end of the turn: whatever its callbacks asked for goes into one transaction.
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.waiting.length === 0) return;
      this.#running = this.#flush().finally(() => {
        this.#running = undefined;
        if (this.waiting.length > 0) this.#schedule();
      });
    });
  }
}
