import { currentTask } from '../app/current-task.ts';
import type { Lovage } from '../app/lovage.ts';
import { ConfigError, IncompleteStreamError, TimeoutError } from '../errors.ts';
import { acrossCopies } from '../internal/across-copies.ts';
import { taskFailure } from '../protocol/exception-info.ts';
import { toResultTuple, type ResultTuple } from '../protocol/result-tuple.ts';
import type { TaskMeta, TaskState } from '../protocol/task-meta.ts';
import { EXCEPTION_STATES, PROPAGATE_STATES, READY_STATES } from './states.ts';
import { unended } from './workflow-tree.ts';

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
  static {
    acrossCopies(AsyncResult, 'result');
  }

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
   * failed or was revoked, or, in a chain, when one before it was: it will never run then.
   */
  async get({ timeout, signal, ...options }: GetOptions = {}): Promise<R> {
    this.refuseInsideTask(options);
    if (this.#final !== undefined || this.parent === undefined || options.propagate === false) {
      return this.join({
        ...options,
        ...(timeout === undefined ? {} : { timeout }),
        ...(signal === undefined ? {} : { signal }),
      });
    }
    const limit = waitSignal(timeout, signal, this.id);
    const end = new AbortController();
    const stop = (): void => end.abort(limit.signal?.reason);
    if (limit.signal?.aborted) stop();
    limit.signal?.addEventListener('abort', stop, { once: true });
    const watching = this.#watchParents((error) => end.abort(error));
    try {
      return await this.join({ ...options, signal: end.signal });
    } finally {
      watching.end();
      limit.signal?.removeEventListener('abort', stop);
      limit.release();
    }
  }

  /** {@link get} that looks at nothing but this very result. */
  async join({ timeout, signal, propagate = true, ...options }: GetOptions = {}): Promise<R> {
    this.refuseInsideTask(options);
    const meta = await this.#waitForEnd(timeout, signal);
    if (!PROPAGATE_STATES.has(meta.status)) return meta.result as R;
    const error = taskFailure(meta);
    if (propagate) throw error;
    return error as R;
  }

  protected refuseInsideTask({ allowInsideTask = false }: GetOptions): void {
    if (allowInsideTask || currentTask.getStore() === undefined) return;
    throw new ConfigError(
      'get() inside a task can deadlock the workers. Link the tasks with a callback instead, or pass { allowInsideTask: true }.',
      { facts: { taskId: this.id } },
    );
  }

  /** The ids under which states are stored: its own, or those of a group's members. */
  taskIds(): readonly string[] {
    return [this.id];
  }

  /** The same as {@link get}; Celery's older name. */
  wait(options?: GetOptions): Promise<R> {
    return this.get(options);
  }

  async state(): Promise<TaskState> {
    return (await this.loadMeta()).status;
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
    const meta = await this.loadMeta();
    return EXCEPTION_STATES.has(meta.status) && meta.result !== null ? taskFailure(meta) : meta.result;
  }

  /** The same as {@link result}; Celery's name for it while a task runs. */
  info(): Promise<unknown> {
    return this.result();
  }

  async traceback(): Promise<string | undefined> {
    return (await this.loadMeta()).traceback ?? undefined;
  }

  /** When it ended. */
  async dateDone(): Promise<Date | undefined> {
    const text = (await this.loadMeta()).date_done;
    // Celery <= 5.2 writes UTC without saying so.
    return text ? new Date(/(?:Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`) : undefined;
  }

  /** What the task published while it ran. */
  async children(): Promise<readonly AsyncResult[]> {
    const { children } = await this.loadMeta();
    return (children ?? []).map((tuple) => this.app.resultFromTuple(tuple));
  }

  /**
   * Goes through this result and, as each has ended, through what it led to: the tree in breadth, each with the one it
   * is a child of. Throws `IncompleteStreamError` at one that has not ended, unless `intermediate` is true.
   * Source: celery/result.py, iterdeps.
   */
  async *iterdeps({ intermediate = false } = {}): AsyncGenerator<readonly [AsyncResult | undefined, AsyncResult]> {
    const left: [AsyncResult | undefined, AsyncResult][] = [[undefined, this]];
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      yield next;
      const [, node] = next;
      if (await node.ready())
        left.push(...(await node.children()).map((child): [AsyncResult, AsyncResult] => [node, child]));
      else if (!intermediate)
        throw new IncompleteStreamError(`Result ${node.id} has not ended.`, { facts: { taskId: node.id } });
    }
  }

  /** This result and all that it led to, each with its value. Waits for each. Source: celery/result.py, collect. */
  async *collect(options: GetOptions = {}): AsyncGenerator<readonly [AsyncResult, unknown]> {
    const left: AsyncResult[] = [this];
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      yield [next, await next.get(options)];
      left.push(...(await next.children()));
    }
  }

  /** The value at the end of what this result led to. Waits for all. Source: celery/result.py, get_leaf. */
  async getLeaf(options: GetOptions = {}): Promise<unknown> {
    let leaf: unknown;
    for await (const [, value] of this.collect(options)) leaf = value;
    return leaf;
  }

  /** What led to what, by id. Source: celery/result.py, build_graph. */
  async graph(options: { readonly intermediate?: boolean } = {}): Promise<ReadonlyMap<string, readonly string[]>> {
    const graph = new Map<string, string[]>();
    for await (const [parent, node] of this.iterdeps(options)) {
      if (!graph.has(node.id)) graph.set(node.id, []);
      if (parent !== undefined) graph.get(parent.id)?.push(node.id);
    }
    return graph;
  }

  /** Removes the stored result. */
  async forget(): Promise<void> {
    this.#final = undefined;
    await (await this.app.requireBackend('forget a result')).forget([this.id]);
  }

  /** Marks it as REVOKED and tells Python workers to skip it, with `terminate` to stop it; see {@link Lovage.revoke}. */
  revoke(options: RevokeOptions = {}): Promise<void> {
    return this.app.revoke(this.taskIds(), options);
  }

  /**
   * Revokes the workflow that ends with this result: itself and all that comes before it, members of groups and parts of
   * chords with what comes before them, and whatever tasks of it have published meanwhile, as far as it has not ended.
   */
  async cancel(options: RevokeOptions = {}): Promise<void> {
    const backend = await this.app.requireBackend('cancel a workflow');
    const revoked = new Set<string>();
    for (;;) {
      const found = await unended(this, backend);
      const fresh = found.filter((id) => !revoked.has(id));
      if (fresh.length === 0) return;
      await this.app.revoke(fresh, options);
      for (const id of fresh) revoked.add(id);
      // Once more: what ended meanwhile has published what follows it.
    }
  }

  /** The same result, known to come after `parent`. */
  withParent(parent: AsyncResult): AsyncResult<R> {
    return new AsyncResult(this.app, this.id, parent);
  }

  /** The form in which results refer to results. Source: celery/result.py, as_tuple. */
  toTuple(): ResultTuple {
    return toResultTuple({ id: this.id, parent: this.parent === undefined ? null : this.parent.toTuple() });
  }

  /** Throws `DecodeError` when it is no result tuple. */
  static fromTuple(app: Lovage, tuple: unknown): AsyncResult {
    return app.resultFromTuple(tuple);
  }

  /** What the store has of it. */
  protected async loadMeta(): Promise<TaskMeta> {
    if (this.#final !== undefined) return this.#final;
    const backend = await this.app.requireBackend('read a result');
    const [meta] = await backend.load([this.id]);
    return this.#remember(
      meta ?? { status: 'PENDING', result: null, traceback: null, children: null, date_done: null, task_id: this.id },
    );
  }

  async #waitForEnd(timeout: number | undefined, signal: AbortSignal | undefined): Promise<TaskMeta> {
    const end = waitSignal(timeout, signal, this.id);
    try {
      return this.#final ?? (await this.#waitUntil(end.signal));
    } finally {
      end.release();
    }
  }

  async #waitUntil(signal: AbortSignal | undefined): Promise<TaskMeta> {
    const waiter = await orAborted(this.app.resultWaiter(), signal);
    return this.#remember(await waiter.wait(this.id, signal));
  }

  /** Calls `fail` when something that this one waits for has failed, and this one has not ended in spite of it. */
  #watchParents(fail: (error: Error) => void): { end(): void } {
    const ids: string[] = [];
    for (let at = this.parent; at !== undefined; at = at.parent) ids.unshift(...at.taskIds());
    let isOver = false;
    let unwatch: (() => void) | undefined;
    this.app.resultWaiter().then(
      ({ parents }) => {
        if (!isOver) unwatch = parents.watch(ids, fail);
      },
      () => {}, // who waits for the result itself is told why
    );
    return {
      end() {
        isOver = true;
        unwatch?.();
      },
    };
  }

  #remember(meta: TaskMeta): TaskMeta {
    if (READY_STATES.has(meta.status)) this.#final = meta;
    return meta;
  }
}

/** A signal that fires on the caller's signal or when the time has passed; undefined: neither can be. */
export function waitSignal(
  timeout: number | undefined,
  signal: AbortSignal | undefined,
  taskId: string,
): { readonly signal: AbortSignal | undefined; release(): void } {
  if (timeout !== undefined && !(typeof timeout === 'number' && timeout >= 0)) {
    throw new ConfigError(`The timeout of get() is ${String(timeout)}. Expected a number of seconds from 0 up.`, {
      facts: { taskId },
    });
  }
  if (timeout === undefined || timeout === Number.POSITIVE_INFINITY) return { signal, release() {} };
  // AbortSignal.any would leave something on a signal that outlives the wait.
  const end = new AbortController();
  const forward = (): void => end.abort(signal?.reason);
  const expire = (): void => {
    const message = `Task ${taskId} has not ended within ${timeout} s. It may still run, or no worker takes from its queue: wait again, or revoke it.`;
    end.abort(new TimeoutError(message, { facts: { taskId } }));
  };
  if (signal?.aborted) forward();
  signal?.addEventListener('abort', forward, { once: true });
  const timer = setTimeout(expire, Math.min(timeout * 1000, MAX_TIMER_MS));
  return {
    signal: end.signal,
    release() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', forward);
    },
  };
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
