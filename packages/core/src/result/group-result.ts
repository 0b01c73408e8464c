import { setMaxListeners } from 'node:events';
import type { Lovage } from '../app/lovage.ts';
import { acrossCopies } from '../internal/across-copies.ts';
import { toResultTuple, type ResultTuple } from '../protocol/result-tuple.ts';
import type { TaskState } from '../protocol/task-meta.ts';
import { AsyncResult, waitSignal, type GetOptions } from './async-result.ts';

/**
 * The results of a group: one of each member, in the members' order. Everything that is asked of it is asked of them.
 * Source: celery/result.py, GroupResult.
 */
export class GroupResult<R extends readonly unknown[] = unknown[]> extends AsyncResult<R> {
  static {
    acrossCopies(GroupResult, 'group-result');
  }

  readonly results: readonly AsyncResult[];

  constructor(app: Lovage, id: string, results: readonly AsyncResult[], parent?: AsyncResult) {
    super(app, id, parent);
    this.results = results;
  }

  get length(): number {
    return this.results.length;
  }

  [Symbol.iterator](): IterableIterator<AsyncResult> {
    return this.results[Symbol.iterator]();
  }

  /**
   * Waits for all and gives their values in the members' order. Rejects as soon as one of them failed or was revoked;
   * with `propagate: false` its error stands in its place. Results are read and waited for together.
   */
  override async join({ timeout, signal, ...options }: GetOptions = {}): Promise<R> {
    this.refuseInsideTask(options);
    const wait = this.#wait(timeout, signal);
    try {
      const own = { ...options, signal: wait.signal };
      return (await Promise.all(this.results.map((result) => result.join(own)))) as unknown as R;
    } finally {
      wait.end();
    }
  }

  /** Gives each member as it ends, with its value: the first to end comes first. Failures as {@link get}. */
  async *iterate({ timeout, signal, ...options }: GetOptions = {}): AsyncGenerator<{
    readonly index: number;
    readonly result: AsyncResult;
    readonly value: R[number];
  }> {
    this.refuseInsideTask(options);
    const wait = this.#wait(timeout, signal);
    const arrived: { index: number; value?: unknown; error?: unknown; isFailed: boolean }[] = [];
    let wake: (() => void) | undefined;
    const arrive = (item: (typeof arrived)[number]): void => {
      arrived.push(item);
      wake?.();
    };
    for (const [index, result] of this.results.entries()) {
      result.join({ ...options, signal: wait.signal }).then(
        (value) => arrive({ index, value, isFailed: false }),
        (error: unknown) => arrive({ index, error, isFailed: true }),
      );
    }
    try {
      for (let left = this.results.length; left > 0; left--) {
        if (arrived.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        const { index, value, error, isFailed } = arrived.shift() as (typeof arrived)[number];
        if (isFailed) throw error;
        yield { index, result: this.results[index] as AsyncResult, value: value as R[number] };
      }
    } finally {
      wait.end();
    }
  }

  /** How many have succeeded. */
  async completedCount(): Promise<number> {
    return (await this.#states()).filter((state) => state === 'SUCCESS').length;
  }

  /** True while one of them has not ended. */
  async waiting(): Promise<boolean> {
    return !(await this.ready());
  }

  /** SUCCESS when all succeeded, FAILURE or REVOKED as soon as one did, else PENDING. */
  override async state(): Promise<TaskState> {
    const states = await this.#states();
    return (
      states.find((state) => state === 'FAILURE' || state === 'REVOKED') ??
      (states.every((state) => state === 'SUCCESS') ? 'SUCCESS' : 'PENDING')
    );
  }

  /** True when all have ended, well or not. */
  override async ready(): Promise<boolean> {
    const states = await this.#states();
    return states.every((state) => state === 'SUCCESS' || state === 'FAILURE' || state === 'REVOKED');
  }

  /** True when all have succeeded. */
  override async successful(): Promise<boolean> {
    return (await this.#states()).every((state) => state === 'SUCCESS');
  }

  /** True when one has failed. */
  override async failed(): Promise<boolean> {
    return (await this.#states()).includes('FAILURE');
  }

  /** What is known of each by now. */
  override result(): Promise<unknown> {
    return Promise.all(this.results.map((result) => result.result()));
  }

  override async children(): Promise<readonly AsyncResult[]> {
    return this.results;
  }

  /** Removes the stored results of all of them. */
  override async forget(): Promise<void> {
    await Promise.all(this.results.map((result) => result.forget()));
  }

  /** Keeps which results belong together, so that {@link Lovage.restoreGroup} finds them by the group's id. */
  async save(): Promise<void> {
    await (await this.app.requireBackend('save a group')).saveGroup(this.id, this.toTuple());
  }

  /** Removes what {@link save} has kept; the results themselves stay. */
  async delete(): Promise<void> {
    await (await this.app.requireBackend('delete a saved group')).forgetGroup(this.id);
  }

  override withParent(parent: AsyncResult): GroupResult<R> {
    return new GroupResult<R>(this.app, this.id, this.results, parent);
  }

  override toTuple(): ResultTuple {
    return toResultTuple({
      id: this.id,
      parent: this.parent === undefined ? null : this.parent.toTuple(),
      children: this.results.map((result) => result.toTuple()),
    });
  }

  override taskIds(): readonly string[] {
    return this.results.flatMap((result) => result.taskIds());
  }

  async #states(): Promise<readonly TaskState[]> {
    const plain = this.results.every((result) => result.constructor === AsyncResult);
    if (!plain) return Promise.all(this.results.map((result) => result.state()));
    const backend = await this.app.requireBackend('read results');
    const metas = await backend.load(this.results.map(({ id }) => id));
    return metas.map((meta) => meta?.status ?? 'PENDING');
  }

  /** A signal for the waits of all members; `end` ends those that are left. */
  #wait(
    timeout: number | undefined,
    signal: AbortSignal | undefined,
  ): { readonly signal: AbortSignal; readonly end: () => void } {
    const limit = waitSignal(timeout, signal, this.id);
    if (limit.signal !== undefined) setMaxListeners(0, limit.signal);
    const own = new AbortController();
    setMaxListeners(0, own.signal);
    const stop = (): void => own.abort(limit.signal?.reason);
    if (limit.signal?.aborted) stop();
    limit.signal?.addEventListener('abort', stop, { once: true });
    const end = (): void => {
      limit.signal?.removeEventListener('abort', stop);
      limit.release();
      own.abort(new Error('Nobody waits any more.'));
    };
    return { signal: own.signal, end };
  }
}
