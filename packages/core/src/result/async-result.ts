import { currentTask } from '../app/current-task.ts';
import type { Lovage } from '../app/lovage.ts';
import { ConfigError, TimeoutError } from '../errors.ts';
import { taskFailure } from '../protocol/exception-info.ts';
import { fromResultTuple, toResultTuple, type ResultTuple } from '../protocol/result-tuple.ts';
import type { TaskMeta, TaskState } from '../protocol/task-meta.ts';
import { EXCEPTION_STATES, PROPAGATE_STATES, READY_STATES } from './states.ts';

export interface GetOptions {
  /** Seconds to wait; default: for ever. `TimeoutError` when they have passed. */
  readonly timeout?: number;
  /** Ends the waiting, not the task; rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Raise the task's failure. Default true; false resolves with the error instead. */
  readonly propagate?: boolean;
  /**
   * Inside a task, waiting for another one can deadlock when every slot of the workers waits; Celery refuses it and so
   * does this, unless it is true.
   */
  readonly allowInsideTask?: boolean;
}

export interface RevokeOptions {
  /** Also stop it if it runs already. Default false. */
  readonly terminate?: boolean;
  /** Signal for workers that run tasks in processes. Default `SIGTERM`. */
  readonly signal?: string;
}

/**
 * What became of a task, by its id. Everything asks the result store, so everything is a promise; what is final is
 * remembered. An id that nothing is known of is PENDING, as in Celery.
 */
export class AsyncResult<R = unknown> {
  readonly app: Lovage;
  readonly id: string;
  /** The result before this one in a chain. */
  readonly parent: AsyncResult | undefined;
  #final: TaskMeta | undefined;

  constructor(app: Lovage, id: string, parent?: AsyncResult) {
    this.app = app;
    this.id = id;
    this.parent = parent;
  }

  /**
   * Waits for the end and gives the return value. Rejects with `TaskFailedError` (`ERR_TASK_FAILED`) when the task
   * failed or was revoked.
   */
  async get({ timeout, signal, propagate = true, allowInsideTask = false }: GetOptions = {}): Promise<R> {
    if (!allowInsideTask && currentTask.getStore() !== undefined) {
      throw new ConfigError(
        'get() inside a task can deadlock the workers. Link the tasks with a callback instead, or pass { allowInsideTask: true }.',
        { facts: { taskId: this.id } },
      );
    }
    const meta = await this.#waitForEnd(timeout, signal);
    if (!PROPAGATE_STATES.has(meta.status)) return meta.result as R;
    const error = taskFailure(meta);
    if (propagate) throw error;
    return error as R;
  }

  /** The same as {@link get}; Celery's older name. */
  wait(options?: GetOptions): Promise<R> {
    return this.get(options);
  }

  async state(): Promise<TaskState> {
    return (await this.#meta()).status;
  }

  /** The same as {@link state}. */
  status(): Promise<TaskState> {
    return this.state();
  }

  /** True when the task has ended, well or not. */
  async ready(): Promise<boolean> {
    return READY_STATES.has(await this.state());
  }

  async successful(): Promise<boolean> {
    return (await this.state()) === 'SUCCESS';
  }

  async failed(): Promise<boolean> {
    return (await this.state()) === 'FAILURE';
  }

  /** The value kept with the state: the return value, an error, or what `updateState` was given. Does not wait. */
  async result(): Promise<unknown> {
    const meta = await this.#meta();
    return EXCEPTION_STATES.has(meta.status) && meta.result !== null ? taskFailure(meta) : meta.result;
  }

  /** The same as {@link result}; Celery's name for it while a task runs. */
  info(): Promise<unknown> {
    return this.result();
  }

  async traceback(): Promise<string | undefined> {
    return (await this.#meta()).traceback ?? undefined;
  }

  /** When it ended. */
  async dateDone(): Promise<Date | undefined> {
    const text = (await this.#meta()).date_done;
    // Celery <= 5.2 writes UTC without saying so.
    return text ? new Date(/(?:Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`) : undefined;
  }

  /** What the task published while it ran. */
  async children(): Promise<readonly AsyncResult[]> {
    const { children } = await this.#meta();
    return (children ?? []).map((tuple) => AsyncResult.fromTuple(this.app, tuple));
  }

  /** Removes the stored result. */
  async forget(): Promise<void> {
    this.#final = undefined;
    await (await this.app.requireBackend('forget a result')).forget([this.id]);
  }

  /** Marks it as REVOKED and tells Python workers to skip it, with `terminate` to stop it; see {@link Lovage.revoke}. */
  revoke(options: RevokeOptions = {}): Promise<void> {
    return this.app.revoke([this.id], options);
  }

  /** The form in which results refer to results. Source: celery/result.py, as_tuple. */
  toTuple(): ResultTuple {
    return toResultTuple({ id: this.id, parent: this.parent === undefined ? null : this.parent.toTuple() });
  }

  /** Throws `DecodeError` when it is no result tuple. */
  static fromTuple(app: Lovage, tuple: unknown): AsyncResult {
    const { id, parent } = fromResultTuple(tuple);
    return new AsyncResult(app, id, parent === null ? undefined : AsyncResult.fromTuple(app, parent));
  }

  async #meta(): Promise<TaskMeta> {
    if (this.#final !== undefined) return this.#final;
    const backend = await this.app.requireBackend('read a result');
    const [meta] = await backend.load([this.id]);
    return this.#remember(
      meta ?? { status: 'PENDING', result: null, traceback: null, children: null, date_done: null, task_id: this.id },
    );
  }

  async #waitForEnd(timeout: number | undefined, signal: AbortSignal | undefined): Promise<TaskMeta> {
    if (timeout !== undefined && !(typeof timeout === 'number' && timeout >= 0)) {
      throw new ConfigError(`The timeout of get() is ${String(timeout)}. Expected a number of seconds from 0 up.`, {
        facts: { taskId: this.id },
      });
    }
    if (this.#final !== undefined) return this.#final;
    if (timeout === undefined || timeout === Number.POSITIVE_INFINITY) return this.#waitUntil(signal);
    // AbortSignal.any would leave something on a signal that outlives the wait.
    const end = new AbortController();
    const forward = (): void => end.abort(signal?.reason);
    const expire = (): void => {
      const message = `Task ${this.id} has not ended within ${timeout} s. It may still run: wait again, or revoke it.`;
      end.abort(new TimeoutError(message, { facts: { taskId: this.id } }));
    };
    if (signal?.aborted) forward();
    signal?.addEventListener('abort', forward, { once: true });
    const timer = setTimeout(expire, Math.min(timeout * 1000, MAX_TIMER_MS));
    try {
      return await this.#waitUntil(end.signal);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', forward);
    }
  }

  async #waitUntil(signal: AbortSignal | undefined): Promise<TaskMeta> {
    const waiter = await orAborted(this.app.resultWaiter(), signal);
    return this.#remember(await waiter.wait(this.id, signal));
  }

  #remember(meta: TaskMeta): TaskMeta {
    if (READY_STATES.has(meta.status)) this.#final = meta;
    return meta;
  }
}

/** The longest that `setTimeout` can wait; beyond it, it would not wait at all. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Rejects with the signal's reason when that comes first: opening a store can take long. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
