import type { Lovage } from '../app/lovage.ts';
import { taskFailure } from '../protocol/exception-info.ts';
import type { TaskMeta, TaskState } from '../protocol/task-meta.ts';
import { AsyncResult, type GetOptions } from './async-result.ts';
import { PROPAGATE_STATES } from './states.ts';

/**
 * What became of a task that ran in this process, by `apply()` or `taskAlwaysEager`. It has ended already, and no
 * store is asked. Source: celery/result.py, EagerResult.
 */
export class EagerResult<R = unknown> extends AsyncResult<R> {
  /** What the task has returned or thrown, as it is. */
  readonly value: unknown;
  readonly #meta: TaskMeta;

  constructor(app: Lovage, meta: TaskMeta, value: unknown, parent?: AsyncResult) {
    super(app, meta.task_id, parent);
    this.#meta = meta;
    this.value = value;
  }

  override async get({ propagate = true }: GetOptions = {}): Promise<R> {
    if (!PROPAGATE_STATES.has(this.#meta.status)) return this.value as R;
    const error = this.value instanceof Error ? this.value : taskFailure(this.#meta);
    if (propagate) throw error;
    return error as R;
  }

  override join(options?: GetOptions): Promise<R> {
    return this.get(options);
  }

  override async state(): Promise<TaskState> {
    return this.#meta.status;
  }

  override async result(): Promise<unknown> {
    return this.value;
  }

  override withParent(parent: AsyncResult): EagerResult<R> {
    return new EagerResult(this.app, this.#meta, this.value, parent);
  }

  override async forget(): Promise<void> {}

  protected override async loadMeta(): Promise<TaskMeta> {
    return this.#meta;
  }
}
