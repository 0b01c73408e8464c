import type { ResultBackend, Subscription } from '../backend/contract.ts';
import type { Logger } from '../internal/log.ts';
import type { TaskMeta } from '../protocol/task-meta.ts';
import { ParentWatch } from './parent-watch.ts';
import { READY_STATES } from './states.ts';

/** How often results that are still waited for are read again, in case a notification was lost. */
const REREAD_MS = 5000;

/** Ids that were asked for in one tick. */
interface Batch {
  readonly taskIds: string[];
  /** How many of them are still waited for. */
  left: number;
  subscription: Subscription | undefined;
}

interface Waited {
  readonly batch: Batch;
  readonly waiters: Set<Waiter>;
}

interface Waiter {
  readonly resolve: (meta: TaskMeta) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Waits for final states on behalf of every `get()` of a process: ids asked for in one tick share one subscription
 * and one read, and one timer reads again what is still waited for.
 */
export class ResultWaiter {
  readonly parents: ParentWatch;
  readonly #backend: ResultBackend;
  readonly #logger: Logger;
  readonly #waited = new Map<string, Waited>();
  #fresh: Batch | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(backend: ResultBackend, logger: Logger) {
    this.#backend = backend;
    this.#logger = logger;
    this.parents = new ParentWatch(this, backend, logger);
  }

  /** Resolves with the final state. Rejects with the signal's reason, or when the store cannot be asked. */
  wait(taskId: string, signal?: AbortSignal): Promise<TaskMeta> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const release = (): void => {
        signal?.removeEventListener('abort', onAbort);
        this.#remove(taskId, waiter);
      };
      const waiter: Waiter = {
        resolve: (meta) => {
          release();
          resolve(meta);
        },
        reject: (error) => {
          release();
          reject(error as Error);
        },
      };
      const onAbort = (): void => waiter.reject(signal?.reason);
      signal?.addEventListener('abort', onAbort, { once: true });
      const present = this.#waited.get(taskId);
      if (present !== undefined) {
        present.waiters.add(waiter);
        return;
      }
      this.#waited.set(taskId, { batch: this.#join(taskId), waiters: new Set([waiter]) });
      this.#timer ??= setInterval(() => void this.#reread(), REREAD_MS);
    });
  }

  /** Ends every wait with `error`. */
  close(error: Error): void {
    for (const taskId of this.#waited.keys()) this.#fail(taskId, error);
    this.#stopTimer();
  }

  #join(taskId: string): Batch {
    let batch = this.#fresh;
    if (batch === undefined) {
      batch = this.#fresh = { taskIds: [], left: 0, subscription: undefined };
      queueMicrotask(() => void this.#begin());
    }
    batch.taskIds.push(taskId);
    batch.left++;
    return batch;
  }

  async #begin(): Promise<void> {
    const batch = this.#fresh as Batch;
    this.#fresh = undefined;
    try {
      // Subscribe first, then read: a state stored in between is seen by one of the two.
      batch.subscription = await this.#backend.subscribe(batch.taskIds, (meta) => this.#settle(meta));
      if (batch.left === 0) return batch.subscription.unsubscribe();
      const open = batch.taskIds.filter((id) => this.#waited.get(id)?.batch === batch);
      for (const meta of await this.#backend.load(open)) if (meta !== undefined) this.#settle(meta);
    } catch (error) {
      for (const taskId of batch.taskIds) if (this.#waited.get(taskId)?.batch === batch) this.#fail(taskId, error);
    }
  }

  async #reread(): Promise<void> {
    try {
      for (const meta of await this.#backend.load([...this.#waited.keys()])) if (meta !== undefined) this.#settle(meta);
    } catch (error) {
      this.#logger.warn({ err: error }, 'results could not be read again; will try in a few seconds');
    }
  }

  #settle(meta: TaskMeta): void {
    if (!READY_STATES.has(meta.status)) return;
    for (const waiter of this.#waited.get(meta.task_id)?.waiters ?? []) waiter.resolve(meta);
  }

  #fail(taskId: string, error: unknown): void {
    for (const waiter of this.#waited.get(taskId)?.waiters ?? []) waiter.reject(error);
  }

  #remove(taskId: string, waiter: Waiter): void {
    const waited = this.#waited.get(taskId);
    if (waited === undefined || !waited.waiters.delete(waiter) || waited.waiters.size > 0) return;
    this.#waited.delete(taskId);
    if (--waited.batch.left === 0) waited.batch.subscription?.unsubscribe();
    if (this.#waited.size === 0) this.#stopTimer();
  }

  #stopTimer(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
