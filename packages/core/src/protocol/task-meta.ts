/** Celery's states, and any upper-case text of the user's own. Source: celery/states.py. */
export type TaskState =
  | 'PENDING'
  | 'RECEIVED'
  | 'STARTED'
  | 'SUCCESS'
  | 'FAILURE'
  | 'REVOKED'
  | 'REJECTED'
  | 'RETRY'
  | 'IGNORED'
  // Keeps the completion of the known ones while any text is allowed.
  | (string & {});

/**
 * What a result store keeps of a task. Keys are the wire's. Source: celery/backends/base.py, _get_result_meta.
 * `result` is the value as it was before serialization; of an exception, its {@link ExceptionInfo}.
 */
export interface TaskMeta {
  readonly status: TaskState;
  readonly result: unknown;
  readonly traceback: string | null;
  /** Result tuples of what the task published: `[[id, parent], children]`. */
  readonly children: readonly unknown[] | null;
  /** ISO 8601; naive means UTC (Celery <= 5.2). Only for SUCCESS, FAILURE, REVOKED. */
  readonly date_done: string | null;
  readonly group_id?: string;
  readonly parent_id?: string;
  /** With `result_extended`. */
  readonly name?: string | null;
  readonly args?: unknown;
  readonly kwargs?: unknown;
  readonly worker?: string | null;
  readonly retries?: number | null;
  readonly queue?: string | null;
  readonly task_id: string;
}

/** An exception as results carry it. Source: celery/backends/base.py, prepare_exception. */
export interface ExceptionInfo {
  /** Qualified class name. */
  readonly exc_type: string;
  /** Constructor arguments; a scalar from some peers. */
  readonly exc_message: unknown;
  readonly exc_module: string | null;
}
